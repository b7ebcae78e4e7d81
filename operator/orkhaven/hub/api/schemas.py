"""The JSON of the answers, for the OpenAPI document: camelCase outside."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from orkrun import contract

JsonNumber = Annotated[
    float | str | None,
    Field(description='A number, or "NaN", "Infinity", "-Infinity", which JSON has no numbers for.'),
]


class Schema(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class ErrorDetail(Schema):
    code: Annotated[str, Field(description="One word for programs.")]
    message: Annotated[str, Field(description="What is wrong, and what would be right.")]
    where: Annotated[str | None, Field(description="Line, field, header or parameter.")] = None


class ErrorBody(Schema):
    error: ErrorDetail


class Rejection(Schema):
    line: Annotated[int, Field(description="Counts from 1.")]
    field: Annotated[str, Field(description="Empty: the whole line.")]
    message: str


class IngestAnswer(Schema):
    accepted: Annotated[int, Field(description="New lines, committed.")]
    duplicates: Annotated[int, Field(description="Lines that were there before.")]
    rejected: Annotated[int, Field(description="Bad lines and bad fields.")]
    last_seq: Annotated[int | None, Field(description="Largest seq stored of the newest attempt.")]
    rejections: Annotated[list[Rejection], Field(description="The first 100.")] = []
    error: ErrorDetail | None = None


class SweepItem(Schema):
    namespace: str
    name: str
    uid: str
    created: Annotated[str | None, Field(description="RFC 3339, UTC.")]
    objective: dict[str, Any]
    status: Annotated[dict[str, Any], Field(description="As in the Sweep resource.")]


class SweepDetail(SweepItem):
    spec: dict[str, Any]


class ObjectiveItem(Schema):
    metric: str
    direction: str
    value: Annotated[float | None, Field(description="Best value so far.")] = None
    step: int | None = None


class ExperimentItem(Schema):
    namespace: str
    name: str
    uid: str
    created: Annotated[str | None, Field(description="RFC 3339, UTC.")]
    sweep: str | None
    trial: Annotated[int | None, Field(description="Index in the sweep's search.")]
    state: str | None
    reason: str | None
    message: str | None
    params: dict[str, Any]
    objective: ObjectiveItem | None
    progress: dict[str, Any] | None


class ExperimentDetail(ExperimentItem):
    spec: dict[str, Any]
    status: dict[str, Any]
    metrics: list[MetricItem]


class MetricItem(Schema):
    name: str
    count: Annotated[int, Field(description="Points.")]
    last: JsonNumber
    last_step: int
    best: Annotated[float | None, Field(description="Best finite value, by the objective's direction or the name's.")]
    best_step: int | None
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None


class MetricList(Schema):
    namespace: str
    experiment: str
    uid: str
    items: list[MetricItem]


class Series(Schema):
    """Columns, one entry per point."""

    namespace: str
    experiment: str
    uid: str
    metric: str
    total: Annotated[int, Field(description="Points of the curve from from_step on, before thinning out.")]
    step: list[int]
    value: list[JsonNumber]
    time: Annotated[list[float], Field(description="Seconds since the epoch, by the trainer's clock.")]
    attempt: list[int]


class SweepList(Schema):
    items: list[SweepItem]
    next: Annotated[str | None, Field(description="Cursor of the next page; none: this is the last.")] = None


class ExperimentList(Schema):
    items: list[ExperimentItem]
    next: Annotated[str | None, Field(description="Cursor of the next page; none: this is the last.")] = None


def json_number(value: float | None) -> float | str:
    """A stored value (None is NaN) as JSON can carry it."""
    return "NaN" if value is None else contract.encode_number(value)
