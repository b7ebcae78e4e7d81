"""Which failed trials are run once more, and the Experiment that each becomes.

What an entry of spec.rerun selects is written into the status before anything is made of it, as the numbers of its
trials. A number leaves that list with the status write that follows the making of its Experiment; one that is in the
list and has its Experiment (by the labels) is not made again. So a crash between any two writes loses and repeats
nothing, and what fails later is not drawn in. Entries are taken one after the other: the next once all Experiments of
the one before it are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from orkhaven.api import ExperimentSpec, SweepSpec
from orkhaven.api.experiment import TERMINAL_STATES, Dedupe, State
from orkhaven.api.rerun import MAX_RERUNS, MAX_WAITING, Rerun, RerunOverrides, RerunSelect, RerunStatus, selects
from orkhaven.api.rules import problems
from orkhaven.core.actions import CreateExperiment, Note
from orkhaven.core.failures.clusters import cluster_of
from orkhaven.core.identity import NAME_DIGITS, digest
from orkhaven.core.search.space import lay_over
from orkhaven.core.status import clip, whole_seconds
from orkhaven.core.sweep.child import child_body
from orkhaven.core.sweep.lineage import Lineage
from orkhaven.core.views import ExperimentView, SweepView
from orkrun.contract import LABEL_RERUN, LABEL_RERUN_OF

MAX_MADE = 500
"""Experiments made in one plan. More than of new trials: between two plans those that were just made have their turn
with two writes each, and all have to be there within seconds."""
SAID = 3
"""Names in a message."""
MESSAGE = 1000
MOST_IN_A_RANGE = 10_000_000
"""As many trials as a sweep can have: a status that was edited by hand must not keep the operator busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reruns:
    """The reruns of one look."""

    records: tuple[RerunStatus, ...] = ()
    """With what this look is the first to see."""
    fresh: frozenset[str] = frozenset()
    """Ids that the stored status does not know yet: nothing is made of them before it does."""

    @property
    def pending(self) -> RerunStatus | None:
        """The one whose Experiments are being made."""
        return next((record for record in self.records if record.waiting), None)

    @property
    def waiting(self) -> frozenset[int]:
        return frozenset(number for record in self.records for number in numbers_of(record.waiting))


def waiting_again(sweep: SweepView, family: Lineage) -> frozenset[int]:
    """Numbers of the trials that are selected by the stored status and whose Experiment is not made yet."""
    return Reruns(records=tuple(_counted(record, family) for record in sweep.status.reruns)).waiting


def unseen(sweep: SweepView) -> bool:
    """Whether the status lacks an entry, or has one of which Experiments are still to be made."""
    if sweep.spec is None:
        return False
    known = {record.id for record in sweep.status.reruns}
    pending = any(record.waiting for record in sweep.status.reruns)
    return pending or any(entry.id not in known for entry in sweep.spec.rerun)


def look_at(sweep: SweepView, spec: SweepSpec, family: Lineage, *, now: datetime) -> Reruns:
    """The stored records, brought up to date, and the first entries that are not among them."""
    records = [_counted(record, family) for record in sweep.status.reruns]
    known = {record.id for record in records}
    fresh = []
    for entry in spec.rerun:
        if any(record.waiting for record in records):
            break
        if entry.id not in known:
            made = family.by_rerun.get(entry.id, ())
            record = _recalled(entry, made, now) if made else _select(entry, family.current, now)
            records.append(_counted(record, family))
            fresh.append(entry.id)
    return Reruns(records=_latest(records, spec), fresh=frozenset(fresh))


def _latest(records: list[RerunStatus], spec: SweepSpec) -> tuple[RerunStatus, ...]:
    """At most so many as a status holds: of entries that are gone from the spec the oldest go."""
    listed = {entry.id for entry in spec.rerun}
    while len(records) > MAX_RERUNS:
        gone = next((record for record in records if record.id not in listed and not record.waiting), records[0])
        records.remove(gone)
    return tuple(records)


def _recalled(entry: Rerun, made: Sequence[ExperimentView], now: datetime) -> RerunStatus:
    """The record is lost, e.g. because a status was removed by hand: what was made says that it was done."""
    return RerunStatus(id=entry.id, time=whole_seconds(now), selected=len(made))


def _counted(record: RerunStatus, family: Lineage) -> RerunStatus:
    made = family.by_rerun.get(record.id, ())
    there = {child.trial for child in made}
    waiting = [number for number in numbers_of(record.waiting) if number not in there] if record.waiting else []
    states = [child.status.state for child in made]
    return record.model_copy(
        update={
            "waiting": ranges(waiting),
            "created": max(record.created, len(made)),
            "done": sum(state in TERMINAL_STATES for state in states),
            "succeeded": sum(state is State.SUCCEEDED for state in states),
            "failed": sum(state is State.FAILED for state in states),
        }
    )


# --- selection --------------------------------------------------------------------------------------------------------


def _select(entry: Rerun, current: Sequence[ExperimentView], now: datetime) -> RerunStatus:
    chosen: list[int] = []
    refused: list[str] = []
    for child in sorted(current, key=lambda child: (child.trial or 0, child.meta.key.name)):
        if child.trial is None or child.meta.deleting or not _is_selected(entry.select, child):
            continue
        problem = _problem(child, entry)
        if problem:
            refused.append(f"{child.meta.key.name}: {problem}")
        else:
            chosen.append(child.trial)
    words = [*_unmatched(entry.select, current)]
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        words.insert(0, f"cannot be run so: {refused[0]}{more}")
    while len(text := ranges(chosen)) > MAX_WAITING:
        # Only where thousands are selected that are no neighbours.
        chosen = chosen[: len(chosen) * 3 // 4]
        words.append(f"only the first {len(chosen)}: select the rest with another id")
    if not chosen and not words:
        words.append("none of the failed trials is selected")
    return RerunStatus(
        id=entry.id,
        time=whole_seconds(now),
        selected=len(chosen),
        waiting=text,
        message=clip("; ".join(words), MESSAGE),
    )


def _is_selected(select: RerunSelect, child: ExperimentView) -> bool:
    """`child` stands for its trial."""
    if child.status.state is not State.FAILED or child.spec is None:
        return False
    return selects(
        select,
        name=child.meta.key.name,
        reason=child.status.reason,
        cluster=cluster_of(child),
        params=child.spec.params,
    )


def _unmatched(select: RerunSelect, current: Sequence[ExperimentView]) -> Iterator[str]:
    """What was named and is not there to be run again."""
    if select.names:
        states = {child.meta.key.name: child.status.state for child in current}
        odd = [
            f"{name} is {states[name] or 'Queued'}" if name in states else f"{name} is none of its trials"
            for name in dict.fromkeys(select.names)
            if states.get(name) is not State.FAILED
        ]
        if odd:
            more = f" and {len(odd) - SAID} more" if len(odd) > SAID else ""
            yield f"select.names: {', '.join(odd[:SAID])}{more}, only what has failed is run again"
    if select.clusters:
        there = {cluster_of(child) for child in current if child.status.state is State.FAILED}
        missing = [one for one in select.clusters if one not in there]
        if missing:
            yield f"select.clusters: no failed trial is of {', '.join(missing[:SAID])}"
    if select.reasons:
        reasons = {child.status.reason for child in current if child.status.state is State.FAILED}
        missing = [one for one in select.reasons if one not in reasons]
        if missing:
            yield f"select.reasons: no trial has failed with {', '.join(missing[:SAID])}"


def _problem(child: ExperimentView, entry: Rerun) -> str:
    """Why this child cannot be run with what is to change; empty: it can."""
    try:
        spec = respec(child, entry)
    except ValueError as error:
        return str(error).replace("spec.template.params", "spec.params")
    try:
        ExperimentSpec.model_validate(spec)
    except ValueError as error:  # pydantic's ValidationError is one
        return problems(cast(Any, error), root="spec")[0]
    return ""


# --- what is made -----------------------------------------------------------------------------------------------------


def next_reruns(
    sweep: SweepView, spec: SweepSpec, reruns: Reruns, *, family: Lineage, most: int
) -> tuple[list[CreateExperiment], Reruns, bool]:
    """Experiments to be made, at most so many; the records as they are once that is done; whether more are to come."""
    record = reruns.pending
    if record is None:
        return [], reruns, False
    if record.id in reruns.fresh:
        return [], reruns, True
    entry = next((entry for entry in spec.rerun if entry.id == record.id), None)
    numbers = list(numbers_of(record.waiting))
    made: list[CreateExperiment] = []
    if entry is None:
        done = record.model_copy(
            update={
                "waiting": "",
                "message": f"taken out of spec.rerun before {len(numbers)} of {record.selected} were made",
            }
        )
        return [], _with(reruns, done), False
    of_trial = {child.trial: child for child in family.current}
    left: list[int] = []
    lost = 0
    for number in numbers:
        if len(made) == most:
            left.append(number)
            continue
        child = of_trial.get(number)
        # Its Experiment was deleted meanwhile, which makes the trial anew.
        if child is None or child.status.state is not State.FAILED or child.spec is None:
            lost += 1
        else:
            made.append(CreateExperiment(_body(sweep, child, entry)))
    changes: dict[str, Any] = {"waiting": ranges(left), "created": record.created + len(made)}
    if lost:
        gone = f"{lost} were deleted before they could be run again"
        changes["message"] = clip("; ".join(filter(None, (record.message, gone))), MESSAGE)
    return made, _with(reruns, record.model_copy(update=changes)), bool(left)


def _with(reruns: Reruns, record: RerunStatus) -> Reruns:
    records = tuple(record if old.id == record.id else old for old in reruns.records)
    return Reruns(records=records, fresh=reruns.fresh)


def rerun_name(sweep: str, *, rerun: str, old: str) -> str:
    """By what it is, so that it is the same whoever computes it, however often."""
    return f"{sweep}-{digest({'rerun': rerun, 'of': old})[:NAME_DIGITS]}"


def respec(child: ExperimentView, entry: Rerun) -> dict[str, Any]:
    """The spec of the new Experiment: the old one's, with what is to change.

    Raises ValueError where a parameter cannot be set.
    """
    old = child.spec
    if old is None:
        raise ValueError("its spec cannot be read")
    spec = {
        key: value for key, value in old.to_dict().items() if key not in ("suspend", "prune", "resumeFrom", "debug")
    }
    # A dump drops the nulls among the parameters.
    spec["params"] = lay_over(old.params, entry.overrides.params)
    _override(spec, entry.overrides)
    if entry.goes_on:
        spec["resumeFrom"] = child.meta.key.name
    elif entry.is_same_run:
        spec["dedupe"] = Dedupe.NEVER.value
    return spec


def _override(spec: dict[str, Any], overrides: RerunOverrides) -> None:
    if overrides.image is not None:
        spec["image"] = overrides.image
    if overrides.resources is not None:
        spec["resources"] = {**spec.get("resources", {}), **overrides.resources.to_dict()}
    if overrides.env:
        entries = {entry["name"]: entry for entry in spec.get("env", ())}
        entries |= {variable.name: variable.to_dict() for variable in overrides.env}
        spec["env"] = list(entries.values())


def _body(sweep: SweepView, old: ExperimentView, entry: Rerun) -> dict[str, Any]:
    name = rerun_name(sweep.meta.key.name, rerun=entry.id, old=old.meta.key.name)
    labels = {LABEL_RERUN: entry.id, LABEL_RERUN_OF: old.meta.key.name}
    return child_body(sweep, name, respec(old, entry), trial=old.trial or 0, labels=labels)


# --- words ------------------------------------------------------------------------------------------------------------


def rerun_notes(stored: Sequence[RerunStatus], records: Iterable[RerunStatus]) -> list[Note]:
    """Events: what an entry has selected, and how it ended."""
    before = {record.id: record for record in stored}
    notes = []
    for record in records:
        old = before.get(record.id)
        if old is None:
            trials = "1 trial is" if record.selected == 1 else f"{record.selected} trials are"
            words = f"{record.id}: {trials} run again" + (f"; {record.message}" if record.message else "")
            kind = "Normal" if record.selected else "Warning"
            notes.append(Note(type=kind, reason="Rerun", message=clip(words, MESSAGE)))
        if _is_done(record) and record.selected and (old is None or not _is_done(old)):
            words = f"{record.id}: {record.succeeded} of {record.selected} succeeded, {record.failed} failed again"
            kind = "Warning" if record.failed else "Normal"
            notes.append(Note(type=kind, reason="RerunDone", message=words))
    return notes


def _is_done(record: RerunStatus) -> bool:
    return not record.waiting and record.done >= record.created


# --- numbers of trials as a text --------------------------------------------------------------------------------------


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers: "3,7-9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def numbers_of(text: str) -> Iterator[int]:
    """What `ranges` wrote. What cannot be read is left out: a status may have been edited by hand."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            yield from range(int(first), min(int(last or first), int(first) + MOST_IN_A_RANGE) + 1)
