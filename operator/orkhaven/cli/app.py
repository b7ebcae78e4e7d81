"""`kubectl ork`: runs a verb, turns what went wrong into a sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys

from orkhaven.cli.verbs import app


def main() -> None:
    """Exit codes: 0 well, 1 not, 2 wrong usage, 3 it ended, but with failures."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # An end in order: sockets, and files that a browser was sent to, are removed.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code."""
    try:
        app(arguments, prog_name="kubectl ork")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `| head` has seen enough. What Python would flush at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        from orkhaven.client.errors import OrkhavenError

        if not isinstance(error, OrkhavenError):
            raise
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint:  {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    main()
