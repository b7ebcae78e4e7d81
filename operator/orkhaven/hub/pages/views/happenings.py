"""Kubernetes Events of a run, its Jobs and its pods, as rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orkhaven.hub.pages.text import parse_time

OF_ATTEMPTS = 2
"""The Jobs and pods of so many last attempts are asked for: Events live for an hour, each object costs a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    time: str | None
    is_warning: bool
    reason: str
    about: str
    message: str
    count: int
    source: str


def objects_of(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(kind, name) of what has Events about this run."""
    attempts = sorted((body.get("status") or {}).get("attempts") or [], key=lambda one: -int(one.get("number") or 0))
    found = [("Experiment", str(body["metadata"]["name"]))]
    for one in attempts[:OF_ATTEMPTS]:
        found += [(kind, str(one[key])) for kind, key in (("Job", "job"), ("Pod", "pod")) if one.get(key)]
    return list(dict.fromkeys(found))


def event_views(events: Iterable[Mapping[str, Any]], *, most: int = 100) -> tuple[EventView, ...]:
    """Newest first."""
    views = [_view(one) for one in events]
    return tuple(sorted(views, key=lambda one: _moment(one.time), reverse=True)[:most])


def _moment(text: str | None) -> float:
    time = parse_time(text)
    return 0.0 if time is None else time.timestamp()


def _view(event: Mapping[str, Any]) -> EventView:
    about, series = event.get("involvedObject") or {}, event.get("series") or {}
    # Which of them is set depends on who wrote it: the old API counts, the new one has series.
    times = (
        series.get("lastObservedTime"),
        *(event.get(key) for key in ("lastTimestamp", "eventTime", "firstTimestamp")),
        event["metadata"].get("creationTimestamp"),
    )
    return EventView(
        time=next((str(time) for time in times if time), None),
        is_warning=event.get("type") == "Warning",
        reason=str(event.get("reason") or ""),
        about=f"{about.get('kind', '')} {about.get('name', '')}".strip(),
        message=str(event.get("message") or ""),
        count=int(series.get("count") or event.get("count") or 1),
        source=str(event.get("reportingComponent") or (event.get("source") or {}).get("component") or ""),
    )
