"""The contract between Orkhaven and a training container, for any training script. Standard library only.

import orkrun

with orkrun.run() as run:
    for step in range(start, 100):
        ...
        run.report(step, {"val/dice": dice}, total_steps=100)
        if run.interrupted:
            save(run.output / "checkpoint.pt")
            raise orkrun.Interrupted
"""

from orkrun.artifacts import digest
from orkrun.config import identity, local_config
from orkrun.contract import Config, ExitCode, Objective, Outcome
from orkrun.errors import (
    ConfigError,
    DataError,
    Diverged,
    Interrupted,
    InvalidParams,
    OutputError,
    RunError,
    TryAgain,
)
from orkrun.files import write_atomic
from orkrun.handle import Run
from orkrun.lifecycle import run

__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "Diverged",
    "ExitCode",
    "Interrupted",
    "InvalidParams",
    "Objective",
    "Outcome",
    "OutputError",
    "Run",
    "RunError",
    "TryAgain",
    "digest",
    "identity",
    "local_config",
    "run",
    "write_atomic",
]
