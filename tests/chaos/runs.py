"""What the runs left on the output volume: the curve of each, and what was done twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orkrun.spool import parse_lines

TIMES = "seconds"
"""Part of the names of metrics that measure the machine."""


@dataclass(slots=True)
class Curve:
    """Of one run, over all its attempts."""

    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    again: int = 0
    """Steps that a later attempt did once more, because the one before had reported but not saved them."""
    differ: list[str] = field(default_factory=list)
    """Steps whose second time came to something else."""


def curve_of(folder: Path) -> Curve:
    """Reads the lines of all attempts, as the hub would get them."""
    found = Curve()
    spools = sorted(folder.glob("metrics-*.jsonl"), key=lambda path: int(path.stem.removeprefix("metrics-")))
    for spool in spools:
        for line in parse_lines(spool.read_bytes()):
            values = {name: value for name, value in line["metrics"].items() if TIMES not in name}
            _add(found, line["step"], values, spool)
    return found


def _add(curve: Curve, step: int, values: Mapping[str, float], spool: Path) -> None:
    before = curve.steps.setdefault(step, {})
    shared = before.keys() & values.keys()
    curve.again += bool(shared)
    curve.differ += [f"{spool}: step {step}, {name}" for name in sorted(shared) if before[name] != values[name]]
    before.update(values)
