"""What the folder of a run says about it: how it went, what it held out, which threshold it has chosen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orkrun
from ctseg.metrics.threshold import Threshold
from ctseg.report import schema
from orkrun.contract import decode_number
from orkrun.lifecycle import IDENTITY
from orkrun.spool import parse_lines

FOLDER = "report"
RESULT = "result.json"
SUMMARY = "training.json"
SPLIT = "split.json"
_METRICS = re.compile(r"metrics-(\d+)\.jsonl")


def history(run: Path) -> dict[int, dict[str, float]]:
    """The metrics of each epoch, by its number. What two attempts did twice is as the later one says."""
    files = [(int(match[1]), path) for path in run.iterdir() if (match := _METRICS.fullmatch(path.name))]
    epochs: dict[int, dict[str, float]] = {}
    for _, path in sorted(files):
        for line in parse_lines(path.read_bytes()):
            epochs[line["step"]] = {name: decode_number(value) for name, value in line["metrics"].items()}
    return dict(sorted(epochs.items()))


def training(run: Path) -> schema.Training | None:
    """None where the folder does not say: of another version, or never trained to the end of an epoch."""
    try:
        about = json.loads((run / SUMMARY).read_bytes())
        told = {name: about[name] for name in schema.Training.model_fields if name in about}
        seconds = sum(values.get("epoch_seconds", 0.0) for values in history(run).values())
        return schema.Training(**told, seconds=seconds, seed=_seed(run))
    except (OSError, ValueError, TypeError):  # ValueError: what is missing too
        return None


def _seed(run: Path) -> int | None:
    try:
        found = json.loads((run / IDENTITY).read_bytes()).get("seed")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None


def split(run: Path) -> dict[str, Any]:
    """The content of split.json. Raises orkrun.DataError."""
    path = run / SPLIT
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        for name in ("train", "val", "hashes", "groups", "by", "leaky", "settings"):
            content[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise orkrun.DataError(path, f"cannot be read: {error}; it says which slices were held out") from error
    return content


def split_part(content: Mapping[str, Any]) -> schema.Split:
    """Of what `split` gives."""
    groups = content["groups"]
    numbers = {f"{part}_slices": len(content[part]) for part in ("train", "val")}
    numbers |= {f"{part}_groups": len({groups[name] for name in content[part]}) for part in ("train", "val")}
    return schema.Split(
        by=content["by"],
        leaky=content["leaky"],
        settings=content["settings"],
        learn_only=content.get("extra", 0),
        left_out=len(content.get("left_out", ())),
        **numbers,
    )


def digest(parts: Mapping[str, Mapping[str, str]]) -> str:
    """One SHA-256 of parts of slices (name to content): of the lines `part name content`, joined by tabs, sorted."""
    lines = sorted(f"{part}\t{name}\t{content}\n" for part, slices in parts.items() for name, content in slices.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def result(run: Path, *, epoch: int) -> schema.Result | None:
    """The report of the run's own held-out slices, of the weights after `epoch`; None where there is none of these."""
    try:
        found = schema.loads((run / FOLDER / RESULT).read_bytes())
    except (OSError, ValueError):
        return None
    return found if found.part == "validation" and found.model.epoch == epoch else None


def threshold(run: Path, *, epoch: int) -> Threshold | None:
    """The one that the run's validation part has chosen for its weights after `epoch`; None where nothing has.

    The report is the one place where it is kept.
    """
    found = result(run, epoch=epoch)
    if found is None or found.figures.chosen is None:
        return None
    kept = found.figures.chosen.threshold
    return Threshold(kept.value, kept.rule)
