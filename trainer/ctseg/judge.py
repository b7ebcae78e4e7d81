"""A run's best model on slices, and the report of it: what `ctseg evaluate` does, and a training at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

import orkrun
from ctseg import inference, models, report
from ctseg.data.samples import Samples
from ctseg.labels import join
from ctseg.report import run_folder, schema
from ctseg.training.precision import Precision


def judge(
    run: Path,
    trained: inference.Trained,
    samples: Samples,
    *,
    own: bool,
    output: Path,
    device: torch.device,
    batch_size: int | None = None,
    flips: bool = False,
    between: Callable[[], None] = lambda: None,
) -> schema.Result:
    """Of `samples`, labels not joined yet, writes the report into `output` and returns the result. `own`: they are what
    the run in the folder `run` held out, and choose its threshold; else it has had no part in them. `between` is called
    now and then and may raise. Raises orkrun.DataError, orkrun.OutputError.
    """
    started = time.monotonic()
    params = trained.params
    if samples.channels != trained.channels:
        raise orkrun.DataError(samples.source, f"has {samples.channels} channels, the model {trained.channels}")
    annotators = samples.annotators
    samples = join.to_judge(samples, params.data.annotators.rule)
    model = trained.model.to(device)
    probability = inference.probabilities(
        model,
        samples.images,
        batch_size=batch_size or params.batch_size,
        flips=flips,
        between=between,
        autocast=Precision(params, device).autocast,
    )
    kept = run_folder.split(run)
    if own:
        parts = {part: {name: kept["hashes"].get(name, "") for name in kept[part]} for part in ("train", "val")}
    else:
        parts = {"other": dict(zip(samples.names, samples.hashes, strict=False))}
    known = set(kept["hashes"].values())
    dumped = params.model_dump(mode="json")
    dumped["model"]["weights"] = trained.pretrained
    about = report.About(
        model=schema.Model(
            architecture=params.model.architecture,
            encoder=params.model.encoder,
            parameters=models.parameter_count(model),
            epoch=trained.epoch,
            selected="last" if trained.last else "best",
            weights=trained.weights,
            pretrained=trained.pretrained,
        ),
        params=dumped,
        annotators=annotators,
        digest=run_folder.digest(parts),
        of_run=sum(content in known for content in samples.hashes),
        tta=flips,
        split=run_folder.split_part(kept) if own else None,
        training=run_folder.training(run),
        history=run_folder.history(run),
        threshold=None if own else trained.threshold,
    )
    return report.write(output, probability=probability, samples=samples, about=about, started=started, between=between)
