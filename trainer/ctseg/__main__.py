"""`ctseg`: the command line of the trainer. Imports torch only where a command needs it."""

from __future__ import annotations

import os
import signal

if os.getpid() == 1:
    # The kernel drops what the first process of a container has no handler for: a pod that is deleted just after its
    # start would go on until it is killed. There is nothing to save yet; a training puts its own handler here.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

import argparse
import sys
from collections.abc import Sequence

import orkrun
from ctseg.commands import check, evaluate, export, labels, models, phantom, predict, train

COMMANDS = (train, evaluate, predict, export, check, labels, phantom, models)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; a training ends the process itself, as the contract says."""
    parser = argparse.ArgumentParser(prog="ctseg", description="Trains segmentation networks on CT slices.")
    commands = parser.add_subparsers(required=True)
    for command in COMMANDS:
        command.add(commands)
    arguments = parser.parse_args(argv)
    try:
        result: int = arguments.command(arguments)
    except orkrun.RunError as error:
        print(f"ctseg: {error}", file=sys.stderr)
        return int(error.exit_code)
    return result


if __name__ == "__main__":
    sys.exit(main())
