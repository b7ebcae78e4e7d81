"""What a person reads: progress lines with durations, errors that say what would be right."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

Say = Callable[[str], None]


class ImageError(RuntimeError):
    """An image could not be built or run; the text says why in a way that a person can act on."""


def to_stderr(line: str) -> None:
    print(f"[images] {line}", file=sys.stderr, flush=True)


@contextmanager
def timed(say: Say, what: str) -> Iterator[None]:
    """Says what begins and, if it took a second or more, how long it was."""
    say(f"{what} ...")
    started = time.monotonic()
    yield
    if (seconds := time.monotonic() - started) >= 1:
        say(f"{what}: {seconds:.0f} s")


def run(
    argv: Sequence[str | Path],
    *,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
    timeout: float | None = None,
) -> str:
    """Runs a command and returns what it printed, standard error included; `log` gets it too, line by line.

    Raises ImageError with the command's last lines where it fails, is missing, or takes more than `timeout` seconds.
    """
    command = [str(part) for part in argv]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
        )
    except FileNotFoundError as error:
        raise ImageError(f"{command[0]} is not installed") from error
    lines: list[str] = []
    expired = threading.Event()
    with process:

        def expire() -> None:
            expired.set()
            process.kill()

        alarm = threading.Timer(timeout or 0, expire)
        if timeout:
            alarm.start()
        if process.stdin:
            process.stdin.write(input or "")
            process.stdin.close()
        assert process.stdout is not None
        with open(log or "/dev/null", "a") as sink:
            for line in process.stdout:
                lines.append(line)
                sink.write(line)
                if on_line:
                    on_line(line.rstrip("\n"))
        code = process.wait()
        alarm.cancel()
    if expired.is_set():
        raise ImageError(f"{' '.join(command[:3])} did not end within {timeout:.0f} s")
    if code != 0:
        last = "".join(f"    {line}" for line in lines[-25:])
        where = f"; the whole output: {log}" if log else ""
        raise ImageError(f"{' '.join(command[:3])} failed with exit code {code}{where}\n{last}")
    return "".join(lines)
