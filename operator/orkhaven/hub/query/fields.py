"""What a run can be filtered and sorted by and shown with: names, kinds, labels. Pure.

A reference is a field (`state`), a parameter (`params.optimizer.lr`), a metric's number (`metrics["val/dice"].best`)
or a number over repeats (`repeats.mean`); its canonical text is the key of its column everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orkhaven.api.experiment import State
from orkhaven.hub.query.rows import ExperimentRow


class Kind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    """RFC 3339 in UTC: its order is that of the text."""
    JSON = "json"
    """A parameter: any of them."""


class Group(StrEnum):
    FIELD = "field"
    PARAM = "params"
    METRIC = "metrics"
    REPEATS = "repeats"


@dataclass(frozen=True, slots=True)
class Field:
    kind: Kind
    label: str
    get: Callable[[ExperimentRow], Any] | None
    """None: the table knows it, not the row alone."""
    choices: tuple[str, ...] = ()


def _progress(row: ExperimentRow) -> float | None:
    return row.step / row.total_steps if row.step is not None and row.total_steps else None


FIELDS: dict[str, Field] = {
    "name": Field(Kind.TEXT, "Name", lambda row: row.name),
    "sweep": Field(Kind.TEXT, "Sweep", lambda row: row.sweep),
    "trial": Field(Kind.NUMBER, "Trial", lambda row: row.trial),
    "state": Field(Kind.TEXT, "State", lambda row: row.state, tuple(State)),
    "reason": Field(Kind.TEXT, "Reason", lambda row: row.reason),
    "message": Field(Kind.TEXT, "Message", lambda row: row.message),
    "objective": Field(Kind.NUMBER, "Objective", None),
    "objectiveStep": Field(Kind.NUMBER, "Objective's step", None),
    "step": Field(Kind.NUMBER, "Step", lambda row: row.step),
    "totalSteps": Field(Kind.NUMBER, "Steps in all", lambda row: row.total_steps),
    "progress": Field(Kind.NUMBER, "Progress", _progress),
    "attempts": Field(Kind.NUMBER, "Attempts", lambda row: row.attempts),
    "node": Field(Kind.TEXT, "Node", lambda row: row.node),
    "gpu": Field(Kind.TEXT, "GPU", lambda row: row.gpu_model),
    "exitCode": Field(Kind.NUMBER, "Exit code", lambda row: row.exit_code),
    "gpuSeconds": Field(Kind.NUMBER, "GPU seconds", lambda row: row.gpu_seconds),
    "created": Field(Kind.TIME, "Created", lambda row: row.created),
    "started": Field(Kind.TIME, "Started", lambda row: row.started),
    "ended": Field(Kind.TIME, "Ended", lambda row: row.ended),
    "seconds": Field(Kind.NUMBER, "Seconds", lambda row: row.seconds),
    "seed": Field(Kind.NUMBER, "Seed", lambda row: row.seed),
    "paramHash": Field(Kind.TEXT, "Parameters' hash", lambda row: row.param_hash),
    "uid": Field(Kind.TEXT, "UID", lambda row: row.uid),
}
METRIC_PARTS = ("last", "lastStep", "best", "bestStep", "min", "minStep", "max", "maxStep", "count")
REPEAT_PARTS = {"n": "Repeats", "mean": "Mean", "std": "Std"}

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Ref:
    """One column."""

    group: Group
    name: str
    """Of the field, parameter (dotted) or metric; for repeats the part."""
    part: str = ""
    """Of a metric."""

    @property
    def key(self) -> str:
        """The canonical text: what the language reads back as the same reference."""
        match self.group:
            case Group.FIELD:
                return self.name
            case Group.REPEATS:
                return f"repeats.{self.name}"
            case Group.METRIC:
                return f"metrics[{json.dumps(self.name, ensure_ascii=False)}].{self.part}"
        if all(_PLAIN.fullmatch(part) for part in self.name.split(".")):
            return f"params.{self.name}"
        return f"params[{json.dumps(self.name, ensure_ascii=False)}]"

    @property
    def label(self) -> str:
        """For people."""
        match self.group:
            case Group.FIELD:
                return FIELDS[self.name].label
            case Group.REPEATS:
                return REPEAT_PARTS[self.name]
            case Group.METRIC:
                return f"{self.name} {self.part}"
        return self.name

    @property
    def kind(self) -> Kind:
        if self.group is Group.FIELD:
            return FIELDS[self.name].kind
        return Kind.JSON if self.group is Group.PARAM else Kind.NUMBER


def field(name: str) -> Ref:
    return Ref(Group.FIELD, name)


def param(name: str) -> Ref:
    return Ref(Group.PARAM, name)


def metric(name: str, part: str) -> Ref:
    return Ref(Group.METRIC, name, part)
