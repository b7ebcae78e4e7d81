"""`usage`: where the GPU-hours went, as the hub has them."""

from __future__ import annotations

from typing import Any

from orkhaven.api.usage import SAVED, Spent
from orkhaven.cli.output import Column, Format, Row, View, emit
from orkhaven.cli.session import Session
from orkhaven.client.wire import segment

ALWAYS = (Spent.USEFUL, Spent.FAILED)


def usage(session: Session, *, by: str | None, since: str, until: str | None, per: str | None, everywhere: bool) -> int:
    by = by or ("namespace" if everywhere else "user")
    query = {"by": by, "since": since, "until": until, "per": per}
    if everywhere:
        answer = session.hub.get_all("usage", **query)
    else:
        answer = session.hub.get(f"{segment(session.kube.namespace)}/usage", **query)
    rows: list[Row] = answer["periods"] if per else answer["rows"]
    key = "start" if per else by
    first = Column("FROM" if per else by.upper(), key, shrink=True)
    with_sum = session.output is Format.TABLE and len(rows) > 1  # a program adds up by itself
    shown = [*rows, {**answer["total"], key: "all"}] if with_sum else rows
    emit(
        View(
            [first, *_columns(answer["total"])],
            shown if answer["total"]["total"] or answer["total"][SAVED] else [],
            data=answer,
            empty=f"no GPU was held from {answer['since']} to {answer['until']}",
        ),
        session.output,
    )
    return 0


def _columns(total: dict[str, Any]) -> list[Column]:
    """GPU-hours: of the outcomes those that there is something of."""
    parts = [spent.value for spent in Spent if spent in ALWAYS or total[spent.value]]
    beside = [part for part in ("lost", SAVED) if total[part]]
    return [_hours(part) for part in ("total", *parts, *beside)]


def _hours(part: str) -> Column:
    return Column(part.upper(), part, right=True, show=lambda hours: f"{hours:.2f}")
