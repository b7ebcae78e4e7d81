"""The failures a training can name. Owns the exceptions of the contract and the exit code of each; standard library
only.

Their qualified names ("orkrun.InvalidParams") are part of the contract: the operator reads them in the final record.
"""

from __future__ import annotations

import os

from orkrun.contract import ExitCode


class RunError(Exception):
    """A failure with an exit code of its own. The message is for the user: what is wrong, where, what would be
    right.
    """

    exit_code: ExitCode = ExitCode.INTERNAL


class InvalidParams(RunError):
    """A parameter of the run is wrong. `param` is its dotted name: "optimizer.lr"."""

    exit_code = ExitCode.INVALID_PARAMS

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


class DataError(RunError):
    """The data is missing, unreadable or refused by a check. `path` is the file or folder that is to be looked at."""

    exit_code = ExitCode.DATA_ERROR

    def __init__(self, path: str | os.PathLike[str], message: str) -> None:
        super().__init__(f"{os.fspath(path)}: {message}")
        self.path = os.fspath(path)


class Diverged(RunError):
    """The loss, a gradient or a metric is not a finite number any more."""


class OutputError(RunError):
    """The output folder cannot be written: no space, read-only, no permission."""

    exit_code = ExitCode.CANNOT_CREATE


class TryAgain(RunError):
    """Nothing is wrong with the run, it cannot go on just now: another process holds its output folder."""

    exit_code = ExitCode.TRY_AGAIN


class ConfigError(RunError):
    """The run's config file is missing, unreadable, of a newer version, or contradicts what the output folder holds."""

    exit_code = ExitCode.CONFIG_ERROR


class Interrupted(RunError):
    """SIGTERM was seen and a checkpoint is saved. Raise it to end the run: the same config goes on from there."""

    exit_code = ExitCode.INTERRUPTED

    def __init__(
        self, message: str = "interrupted; the same config and output folder go on from the last checkpoint"
    ) -> None:
        super().__init__(message)


# The name of the package is the name of the contract; the file they are in is not.
for _class in (RunError, InvalidParams, DataError, Diverged, OutputError, TryAgain, ConfigError, Interrupted):
    _class.__module__ = "orkrun"
