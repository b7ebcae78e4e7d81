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


StaleSeconds = Annotated[
    float, Field(description="For how long the API server has not been heard; 0: this is up to date.")
]


class SweepList(Schema):
    items: list[SweepItem]
    next: Annotated[str | None, Field(description="Cursor of the next page; none: this is the last.")] = None
    stale_seconds: StaleSeconds = 0


class ExperimentList(Schema):
    items: list[ExperimentItem]
    total: Annotated[int, Field(description="Experiments in all.")]
    matched: Annotated[int, Field(description="Experiments that the filter fits.")]
    next: Annotated[str | None, Field(description="Cursor of the next page; none: this is the last.")] = None
    stale_seconds: StaleSeconds = 0


class Column(Schema):
    key: Annotated[str, Field(description="As `filter`, `sort` and `columns` write it; the key in the items too.")]
    label: Annotated[str, Field(description="For people.")]
    kind: Annotated[str, Field(description="text, number, time (RFC 3339, UTC) or json (a parameter).")]
    group: Annotated[str, Field(description="field, params, metrics or repeats.")]


class ColumnNames(Schema):
    """Names of what can be filtered and sorted by."""

    fields: list[Column]
    params: Annotated[list[str], Field(description="Dotted names; params.NAME in a filter.")]
    varying: Annotated[list[str], Field(description="Those of `params` that differ between runs.")]
    metrics: Annotated[list[str], Field(description='metrics["NAME"].PART in a filter.')]
    metric_parts: Annotated[list[str], Field(description="What there is of each metric.")]


class Leaderboard(Schema):
    columns: list[Column]
    items: Annotated[
        list[dict[str, Any]],
        Field(
            description='The runs, by column key. null: there is none; "NaN", "Infinity" and "-Infinity" are numbers '
            "that JSON has no way to write."
        ),
    ]
    pinned: Annotated[list[dict[str, Any]], Field(description="The pinned runs, in the order asked for.")]
    total: Annotated[int, Field(description="Runs in all.")]
    matched: Annotated[int, Field(description="Runs that the filter fits.")]
    next: Annotated[str | None, Field(description="Cursor of the next page; none: this is the last.")]
    stale_seconds: StaleSeconds


class CurveItem(Schema):
    experiment: str
    x: list[float]
    y: Annotated[list[JsonNumber], Field(description="null is NaN: a gap.")]
    total: Annotated[int, Field(description="Points before thinning out.")]


class CurveList(Schema):
    metric: str
    x: Annotated[str, Field(description="step, epoch or time.")]
    curves: list[CurveItem]
    missing: Annotated[list[str], Field(description="Experiments that reported no such metric.")]


class BandItem(Schema):
    label: str
    value: Annotated[Any, Field(description="Of the group.")]
    experiments: list[str]
    x: list[float]
    mean: list[float]
    std: Annotated[list[float], Field(description="Of the sample; 0 where one run is alone.")]
    low: Annotated[list[float], Field(description="The smallest value.")]
    high: Annotated[list[float], Field(description="The largest value.")]
    n: Annotated[list[int], Field(description="Runs that reported something there.")]


class BandList(Schema):
    metric: str
    x: Annotated[str, Field(description="step, epoch or time.")]
    group: Annotated[str, Field(description="The column that the runs are grouped by.")]
    runs: Annotated[int, Field(description="Runs in the bands.")]
    matched: Annotated[int, Field(description="Runs that the filter fits.")]
    bands: list[BandItem]


class UsageReport(Schema):
    since: Annotated[str, Field(description="First day, in UTC.")]
    until: Annotated[str, Field(description="Last day.")]
    by: Annotated[str, Field(description="namespace, user, sweep, model or cause.")]
    per: Annotated[str, Field(description="day, week or month.")]
    total: Annotated[dict[str, float], Field(description="GPU-hours: see docs/usage.md for each name.")]
    rows: Annotated[
        list[dict[str, Any]], Field(description="The same for each value of `by`, which is in it; the largest first.")
    ]
    periods: Annotated[
        list[dict[str, Any]], Field(description="The same for each period, whose first day is `start`; oldest first.")
    ]


def json_number(value: float | None) -> float | str:
    """A stored value (None is NaN) as JSON can carry it."""
    return "NaN" if value is None else contract.encode_number(value)
