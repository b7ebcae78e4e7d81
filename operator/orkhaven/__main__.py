"""`orkhaven operator | hub | simulate | crds | version`. Each command imports only what it needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orkhaven import __version__


def main(argv: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="orkhaven", description="Sweeps of GPU training jobs on Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("operator", help="run the operator; settings come from the environment (ORKHAVEN_...)")
    commands.add_parser("hub", help="run the hub; settings come from the environment (ORKHAVEN_...)")
    crds = commands.add_parser("crds", help="print the CustomResourceDefinitions, or write one file each")
    crds.add_argument("--output", type=Path, help="folder to write to")
    # Its options are its own.
    commands.add_parser("simulate", add_help=False, help="what the queue would do with a trace of runs")
    commands.add_parser("version", help="print the version")
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["simulate"]:
        from orkhaven.simulate.command import main as simulate

        return simulate(argv[1:])
    arguments = parser.parse_args(argv)
    match arguments.command:
        case "operator":
            from orkhaven.operator_main import main as operator

            return _settled(operator)
        case "hub":
            from orkhaven.hub.server import main as hub

            return _settled(hub)
        case "crds":
            return _crds(arguments.output)
        case _:
            print(__version__)
            return 0


def _settled(command: object) -> int:
    """Run a service; wrong settings are a sentence for people, not a traceback."""
    from pydantic import ValidationError

    assert callable(command)
    try:
        return int(command() or 0)
    except ValidationError as error:
        for problem in error.errors():
            name = "ORKHAVEN_" + "_".join(str(part) for part in problem["loc"]).upper() if problem["loc"] else ""
            print(f"orkhaven: {name}: {problem['msg']}" if name else f"orkhaven: {problem['msg']}", file=sys.stderr)
        return 78
    except KeyboardInterrupt:
        return 130


def _crds(output: Path | None) -> int:
    from orkhaven.api.crd import render_crds

    files = render_crds()
    if output is None:
        print("---\n".join(files.values()), end="")
        return 0
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (output / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
