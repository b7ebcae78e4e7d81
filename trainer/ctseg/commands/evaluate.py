"""`ctseg evaluate`: the report of a run's best model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import orkrun


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="report figures and overlays of a run's best model",
        description="On the slices the run held out, or with --data on all slices of another folder.",
        epilog="Example: `ctseg evaluate run --out figures`. Exit codes: 0 written, 65 no model or wrong data, 73 the "
        "report cannot be written.",
    )
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--data", metavar="ROOT", help="judge on all labelled slices of this folder instead")
    parser.add_argument("--tta", action="store_true", help="mean over the four flips of each slice")
    parser.add_argument("--out", type=Path, help="folder of the report; default RUN_FOLDER/report, or report-data")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    from ctseg import inference, models, report
    from ctseg.data.load import load
    from ctseg.labels import join
    from ctseg.metrics import threshold as thresholds

    if not arguments.run.is_dir():
        raise orkrun.DataError(arguments.run, "there is no such folder; the output folder of a training is needed")
    trained = inference.load(arguments.run)
    params = trained.params
    data = params.data
    if arguments.data:
        split = data.split.model_copy(update={"published": False})
        data = data.model_copy(update={"root": arguments.data, "kind": "auto", "split": split})
    samples = load(data, mount=None, workers=params.workers)
    about: dict[str, Any] = {"epoch": trained.epoch, "tta": arguments.tta}
    about["parameters"] = models.parameter_count(trained.model)
    if not arguments.data:
        kept = _json(arguments.run / "split.json")
        names = {name: i for i, name in enumerate(samples.names)}
        missing = [name for name in kept["val"] if name not in names]
        if missing:
            raise orkrun.DataError(samples.source, f"lacks {len(missing)} held-out slices, {missing[0]} the first")
        samples = samples.take([names[name] for name in kept["val"]])
        about |= {"leaky": kept.get("leaky", ""), "split_by": kept.get("by")}
    samples = join.to_judge(samples, data.annotators.rule)
    if samples.channels != trained.channels:
        raise orkrun.DataError(samples.source, f"has {samples.channels} channels, the model {trained.channels}")
    probability = inference.probabilities(
        trained.model, samples.images, batch_size=params.batch_size, flips=arguments.tta
    )
    # The slices that are judged choose nothing: that would flatter.
    fixed = thresholds.Threshold(thresholds.FIXED, "fixed, chosen by nothing")
    place = arguments.out or arguments.run / (f"{report.FOLDER}-data" if arguments.data else report.FOLDER)
    result = report.write(
        place,
        probability=probability,
        samples=samples,
        threshold=fixed,
        params=params.model_dump(mode="json"),
        about=about,
    )
    for level in ("pooled", "slice", "case"):
        dice = result["figures"][level]["dice"]
        interval = f" ({dice['interval'][0]:.3f} to {dice['interval'][1]:.3f})" if dice["interval"] else ""
        print(f"Dice {level}: {dice['value']:.3f}{interval}, n {dice['n']}")
    print(f"{place}: result.json, overlays.png, model-card.md")
    return 0


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise orkrun.DataError(path, f"cannot be read: {error}; it says which slices were held out") from error
    return content
