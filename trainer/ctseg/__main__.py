"""`ctseg`: the command line of the trainer. Imports torch only where a command needs it."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orkrun
from ctseg import config


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; a training ends the process itself, as the contract says."""
    arguments = _parser().parse_args(argv)
    try:
        result: int = arguments.command(arguments)
    except orkrun.RunError as error:
        print(f"ctseg: {error}", file=sys.stderr)
        return int(error.exit_code)
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ctseg", description="Trains segmentation networks on CT slices.")
    commands = parser.add_subparsers(required=True)

    train = commands.add_parser(
        "train",
        help="train one network",
        description="In a pod of Orkhaven all parameters come with the experiment. Elsewhere they come from "
        "--config and --set, the rest has defaults: `ctseg train --output run` learns from generated patients.",
    )
    train.add_argument("--config", type=Path, help="parameters as YAML or JSON")
    train.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="one parameter: optimizer.lr=0.001 (repeatable)"
    )
    train.add_argument("--output", type=Path, help="folder of the run; the same one again resumes it")
    train.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    train.set_defaults(command=_train)

    phantom = commands.add_parser("phantom", help="write generated chest-CT volumes with masks, as NIfTI and DICOM")
    phantom.add_argument("out", type=Path, metavar="OUT")
    defaults = config.Phantom()
    for name in ("patients", "slices", "size", "seed"):
        text = "pixels of a side" if name == "size" else f"default {getattr(defaults, name)}"
        phantom.add_argument(f"--{name}", type=int, default=getattr(defaults, name), help=text)
    phantom.set_defaults(command=_phantom)

    models = commands.add_parser("models", help="list architectures and encoders")
    models.add_argument("--encoders", action="store_true", help="every encoder by name, timm's included")
    models.set_defaults(command=_models)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    faulthandler.enable(sys.__stderr__ or 2)  # a crash in native code still says where
    with orkrun.run(_local_config(arguments), packages=("ctseg", "orkrun")) as run:
        params = config.parse(run.params)
        from ctseg.data.load import load

        mount = run.data[0]["mountPath"] if run.data else None
        samples = load(params.data, mount=mount, workers=params.workers)
        run.check_interrupted()
        # Threads that wait sleep. Spinning, as is the default, costs several times the run where trials share CPUs:
        # three at once on 2 busy CPUs took 88 s instead of 397. Read when torch loads; what the user has set stays.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # torch last: wrong parameters and bad data are told within a second.
        from ctseg.train import train

        train(run, params, samples)
    return 0


def _local_config(arguments: argparse.Namespace) -> orkrun.Config | None:
    """None: in a pod, where the operator's config is the only source."""
    if arguments.config is None and not arguments.set and arguments.output is None:
        return None
    params = _read_params(arguments.config) if arguments.config else {}
    for assignment in arguments.set:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise orkrun.InvalidParams("--set", f"{assignment!r} is not of the form a.b=value")
        config.set_dotted(params, name, _yaml(text, f"--set {name}"))
    objective: orkrun.Objective = {"metric": "val/dice_case", "direction": "Maximize"}
    local = orkrun.local_config(params, output=arguments.output or "", seed=arguments.seed, objective=objective)
    if arguments.output is None:
        local["output"] = str(Path("runs") / orkrun.identity(local)[:12])
    return local


def _read_params(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise orkrun.InvalidParams("--config", f"{path} cannot be read: {error}") from error
    params = _yaml(text, str(path))
    if not isinstance(params, dict):
        raise orkrun.InvalidParams("--config", f"{path} holds {type(params).__name__}, not a mapping of parameters")
    return params


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise orkrun.InvalidParams(where, f"is not YAML: {error}") from error


def _phantom(arguments: argparse.Namespace) -> int:
    from ctseg.phantom.write import write_phantom

    sizes = config.parse(
        {"data": {"phantom": {name: getattr(arguments, name) for name in ("patients", "slices", "size", "seed")}}}
    ).data.phantom
    try:
        rows = write_phantom(
            arguments.out, patients=sizes.patients, slices=sizes.slices, size=sizes.size, seed=sizes.seed
        )
    except OSError as error:
        raise orkrun.OutputError(f"{arguments.out} cannot be written: {error}") from error
    healthy = sum(row["slices_without_lesion"] == row["slices"] for row in rows)
    print(f"{arguments.out}: {len(rows)} patients, {healthy} without a lesion; see patients.csv")
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from ctseg import models

    if arguments.encoders:
        print("\n".join(models.encoder_names(with_timm=True)))
        return 0
    own, every = models.encoder_names(with_timm=False), models.encoder_names(with_timm=True)
    print("architectures, with the million parameters each has over the default encoder:")
    for name in config.ARCHITECTURES:
        print(f"  {name:<14} {_size(name)}")
    print(
        f"encoders: {len(every)}; {len(own)} by name ({', '.join(own[:6])}, ...), "
        f"{len(every) - len(own)} of timm's as tu-..."
    )
    print("`ctseg models --encoders` lists them all")
    return 0


def _size(architecture: str) -> str:
    from ctseg import models

    encoder = "tu-vit_tiny_patch16_224" if architecture == "DPT" else config.Model().encoder
    chosen = config.Model.model_validate({"architecture": architecture, "encoder": encoder})
    return f"{models.parameter_count(models.build(chosen, image_size=128)) / 1e6:6.1f}  {encoder}"


if __name__ == "__main__":
    sys.exit(main())
