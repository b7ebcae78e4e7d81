"""`ctseg train`: one training, in a pod of Orkhaven or anywhere else."""

from __future__ import annotations

import argparse
import errno
import faulthandler
import os
import sys
from pathlib import Path
from typing import Any

import orkrun
from ctseg import config, launch
from ctseg.commands import params as sources
from orkrun.config import read_config


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train one network",
        description="In a pod of Orkhaven all parameters come with the experiment. Elsewhere they come from "
        "--config and --set, the rest has defaults.",
        epilog="Example: `ctseg train --output run` learns from generated patients.",
    )
    sources.add_arguments(parser)
    parser.add_argument("--output", type=Path, help="folder of the run; the same one again resumes it")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """The run itself ends the process, as the contract says."""
    faulthandler.enable(sys.__stderr__ or 2)  # a crash in native code still says where
    local = _local_config(arguments)
    count = _processes(local)
    if count > 1:
        return launch.run(count)
    launch.end_with_parent()
    reports = launch.place().rank == 0
    with orkrun.run(local, packages=("ctseg", "orkrun"), reports=reports) as run:
        params = config.parse(run.params)
        from ctseg.data import cache
        from ctseg.data.load import load

        mount = run.data[0]["mountPath"] if run.data else None
        samples = load(
            params.data,
            mount=mount,
            workers=params.workers,
            cache_folder=cache.folder_for(params.data.cache, run.output),
            between=run.check_interrupted,
        )
        run.check_interrupted()
        # Threads that wait sleep. Spinning, as is the default, costs several times the run where trials share CPUs:
        # three at once on 2 busy CPUs took 88 s instead of 397. Read when torch loads; what the user has set stays.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # torch last: wrong parameters and bad data are told within a second.
        from ctseg.training.loop import train

        try:
            train(run, params, samples)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise orkrun.OutputError(
                f"{run.output} cannot be written: {error.strerror}; with space there the same command goes on from "
                "the newest checkpoint"
            ) from error
    return 0


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def _processes(local: orkrun.Config | None) -> int:
    """How many to start. What is wrong with the parameters is told by the run itself, with a record."""
    try:
        found = local if local is not None else read_config(os.environ)
        return launch.processes(config.parse(found["params"]))
    except orkrun.RunError:
        return 1


def _local_config(arguments: argparse.Namespace) -> orkrun.Config | None:
    """None: in a pod, where the operator's config is the only source."""
    if arguments.config is None and not arguments.set and arguments.output is None:
        return None
    params = sources.read(arguments.config, arguments.set)
    objective: orkrun.Objective = {"metric": "val/dice_case", "direction": "Maximize"}
    local = orkrun.local_config(params, output=arguments.output or "", seed=arguments.seed, objective=objective)
    if arguments.output is None:
        local["output"] = str(Path("runs") / orkrun.identity(local)[:12])
    return local
