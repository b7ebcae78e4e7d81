"""An Experiment's attempts as lines of the ledger, one per pod that held GPUs. Pure.

What a status says is of attempts: an attempt that was suspended has had several pods, and its status sums them up. What
is known of its earlier pods is in the lines that there are already. Whatever was missed meanwhile, the lines of an
Experiment add up to its `gpuSeconds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orkhaven.api.usage import SAVED, Spent, spent_on
from orkhaven.hub.query.rows import ExperimentRow, HeldRow, seconds_of

EARLIER = "Earlier"
"""Cause of what attempts have spent that nobody has seen one by one. None of them has ended well."""
UNSEEN = 0
SAVING = -1
LEAST = 0.5
"""GPU-seconds. Less than that is rounding."""

Key = tuple[int, str]
"""Attempt and pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """As in storage.kept.Usage."""

    uid: str
    attempt: int
    pod: str
    namespace: str
    name: str
    creator: str
    sweep: str
    model: str
    spent: str
    cause: str
    gpus: int
    began: float
    ended: float | None
    gpu_seconds: float
    lost: float | None = None

    @property
    def key(self) -> Key:
        return self.attempt, self.pod


def lines_of(row: ExperimentRow, known: Mapping[Key, Line]) -> list[Line]:
    """The lines that are new or other than before. `known`: those that there are of it."""
    found: dict[Key, Line] = {}
    for held in row.held:
        found |= _of_attempt(row, held, {key: line for key, line in known.items() if key[0] == held.number})
    found |= _unseen(row, known)
    if row.saved_gpu_seconds:
        at = seconds_of(row.ended or row.created or "1970-01-01T00:00:00Z")
        found[SAVING, ""] = _line(row, SAVING, "", SAVED, began=at, ended=at, gpu_seconds=row.saved_gpu_seconds)
    return [line for key, line in found.items() if line != known.get(key)]


def _of_attempt(row: ExperimentRow, held: HeldRow, known: Mapping[Key, Line]) -> dict[Key, Line]:
    spent = spent_on(held.reason, suspended=row.state == "Suspended")
    cause = "" if spent is Spent.USEFUL else held.reason or ""
    before = {key: line for key, line in known.items() if line.pod != held.pod}
    booked = max(held.gpu_seconds - sum(line.gpu_seconds for line in before.values() if line.ended is not None), 0.0)
    runs = held.start is not None and held.end is None
    started = held.start if held.start is not None else held.end
    own = 0.0 if runs or started is None else booked
    found: dict[Key, Line] = {}
    missed = next((line for line in before.values() if line.ended is None), None)
    if missed is not None:
        # Its end was not seen: what is booked beside the latest pod's own time is of it.
        if held.end is not None and started is not None:
            own = min(booked, (held.end - started) * row.gpus)
        late = booked - own
        ended = missed.began + late / max(missed.gpus, 1)
        found[missed.key] = replace(missed, ended=ended, gpu_seconds=late)
        booked = own
    for key, line in before.items():
        found[key] = replace(found.get(key, line), spent=spent, cause=cause)
    if started is not None and (runs or booked > 0):
        began = started if held.start is not None else started - booked / max(row.gpus, 1)
        made = _line(row, held.number, held.pod, spent, began=began, ended=held.end, gpu_seconds=booked)
        old = known.get((held.number, held.pod))
        lost = old.lost if old is not None else None
        gpus = old.gpus if old is not None else row.gpus  # of the Job: the spec may be edited meanwhile
        found[made.key] = replace(made, cause=cause, model=held.gpu_model or "", lost=lost, gpus=gpus)
    return found


def _unseen(row: ExperimentRow, known: Mapping[Key, Line]) -> dict[Key, Line]:
    """What attempts have spent that the status lists no more, as far as there are no lines of them."""
    first = row.held[0] if row.held else None
    if first is None or first.number <= 1:
        return {}
    gone = [line for line in known.values() if UNSEEN < line.attempt < first.number]
    closed = {line.key: line for line in gone if line.ended is not None}
    rest = row.gpu_seconds - sum(one.gpu_seconds for one in row.held) - sum(li.gpu_seconds for li in closed.values())
    found: dict[Key, Line] = {}
    for line in gone:
        if line.spent in (Spent.RUNNING, Spent.SUSPENDED):
            found[line.key] = replace(line, spent=Spent.FAILED, cause=EARLIER)
    for line in gone:
        if line.ended is None:
            found[line.key] = replace(found[line.key], ended=line.began, gpu_seconds=0.0)
    if rest > LEAST:
        at = first.start or first.end or seconds_of(row.created or "1970-01-01T00:00:00Z")
        began = at - rest / max(row.gpus, 1)
        line = _line(row, UNSEEN, "", Spent.FAILED, began=began, ended=at, gpu_seconds=round(rest, 1))
        found[line.key] = replace(line, cause=EARLIER)
    return found


def _line(
    row: ExperimentRow, attempt: int, pod: str, spent: str, *, began: float, ended: float | None, gpu_seconds: float
) -> Line:
    return Line(
        uid=row.uid,
        attempt=attempt,
        pod=pod,
        namespace=row.namespace,
        name=row.name,
        creator=row.created_by,
        sweep=row.sweep or "",
        model="",
        spent=spent,
        cause="",
        gpus=row.gpus,
        began=began,
        ended=ended,
        gpu_seconds=gpu_seconds,
    )
