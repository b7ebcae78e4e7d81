"""Is this run there already? What becomes of one whose twin, an Experiment with the same run hash, is in its namespace.

Asked once, before a run's first attempt; one that has begun never takes anything over. What is taken over is copied, so
that it stands whatever becomes of its source.

A run waits only for twins that are ahead of it: those that have begun, then the older ones, then by name. So no two
wait for each other, and of several one always goes on. One that holds no GPU for `Defaults.twin_patience_seconds` is
not waited for any more: it may be suspended. One that fits no node, where this one may, is not waited for at all.

Two runs in one folder at a time would overwrite each other's checkpoints. So a run that goes on beside a living twin,
or that shall not see what is in the folder (Never, another objective), gets a folder of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.experiment import TERMINAL_STATES, Dedupe, State
from orkhaven.core.identity import dedupe_by, judged_alike, run_hash
from orkhaven.core.job import image_of
from orkhaven.core.status import holds
from orkhaven.core.views import Defaults, ExperimentView

FOLDER_CHARACTERS = 64
"""As many as the run hash has."""
OWN_DIGITS = 8
COPIED = ("objective", "metrics", "progress")
"""What the hub, or the final record, wrote about the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """Another Experiment of the namespace with the same run hash."""

    exp: ExperimentView
    begun: bool
    """It has had an attempt, or its first Job is being made."""

    @property
    def living(self) -> bool:
        return self.exp.status.state not in TERMINAL_STATES and not holds(self.exp.status.conditions, "Finished")

    @property
    def active(self) -> bool:
        """Whether an attempt of it is under way, so that something may be written into its folder."""
        attempts = self.exp.status.attempts
        return self.living and self.begun and (not attempts or attempts[-1].reason is None)


class Step(StrEnum):
    BEGIN = "begin"
    WAIT = "wait"
    REUSE = "reuse"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a run that has not begun does."""

    step: Step
    twin: ExperimentView | None = None
    """On WAIT, REUSE and SKIP: because of it."""
    own_folder: bool = False
    """On BEGIN: not in the folder that is named by the run hash."""
    recheck: float | None = None
    """Seconds until time alone changes the answer."""


def run_of(exp: ExperimentView, defaults: Defaults) -> str | None:
    """Its run hash: what the status says, else what the spec comes to. None where that cannot be read."""
    if exp.status.run_hash is not None:
        return exp.status.run_hash
    spec = exp.spec
    if spec is None:
        return None
    try:
        return run_hash(
            params=spec.params,
            seed=spec.seed,
            image=image_of(spec, defaults),
            command=spec.command,
            data=spec.data,
        )
    except ValueError:
        return None


def dedupe_of(spec: ExperimentSpec, defaults: Defaults) -> Dedupe:
    """As the spec says, or as the image does."""
    return spec.dedupe if spec.dedupe is not None else dedupe_by(image_of(spec, defaults))


def own_folder(run: str, uid: str) -> str:
    """A folder that no other Experiment has, beside that of the run hash."""
    digits = hashlib.sha256(uid.encode()).hexdigest()[:OWN_DIGITS]
    return f"{run[: FOLDER_CHARACTERS - OWN_DIGITS - 1]}-{digits}"


def answer(
    exp: ExperimentView, spec: ExperimentSpec, *, twins: Sequence[Twin], defaults: Defaults, now: datetime
) -> Answer:
    """What `exp`, which has not begun, does about its `twins`."""
    how = dedupe_of(spec, defaults)
    if how is Dedupe.NEVER:
        return Answer(step=Step.BEGIN, own_folder=True)
    near = [
        twin
        for twin in twins
        if twin.exp.meta.uid != exp.meta.uid
        and twin.exp.spec is not None
        and _claim(twin.exp.spec, defaults) == _claim(spec, defaults)
    ]
    there = [twin for twin in near if not twin.exp.meta.deleting and _judged_alike(twin.exp, spec)]
    if how is Dedupe.SKIP:
        first = min((twin for twin in there if _counts(twin, exp)), key=_order, default=None)
        if first is not None:
            return Answer(step=Step.SKIP, twin=first.exp)
    elif (source := source_of(spec, there)) is not None:
        return Answer(step=Step.REUSE, twin=source)
    elif (wait := _wait(exp, there, defaults=defaults, now=now)) is not None:
        return wait
    return Answer(step=Step.BEGIN, own_folder=any(_is_in_the_way(twin, spec) for twin in near))


def gone_on_from(spec: ExperimentSpec, *, twins: Sequence[Twin], defaults: Defaults) -> ExperimentView | None:
    """The Experiment that spec.resumeFrom names, where it is the same run on the same volume."""
    return next(
        (
            twin.exp
            for twin in twins
            if twin.exp.meta.key.name == spec.resume_from
            and not twin.exp.meta.deleting
            and twin.exp.spec is not None
            and _claim(twin.exp.spec, defaults) == _claim(spec, defaults)
        ),
        None,
    )


def in_folder(
    exp: ExperimentView, spec: ExperimentSpec, *, twins: Sequence[Twin], defaults: Defaults, folder: str | None = None
) -> str | None:
    """Who is at work in the folder (None: of the run hash) where this run, which has begun before or goes on from
    another, would go on. It waits for an attempt's end only, never for a result: of two that have begun one is at work
    at a time."""
    there = [twin for twin in twins if twin.active and twin.exp.status.output_folder == folder]
    there = [t for t in there if t.exp.spec is not None and _claim(t.exp.spec, defaults) == _claim(spec, defaults)]
    first = min((t for t in there if t.exp.meta.uid != exp.meta.uid), key=_order, default=None)
    return first.exp.meta.key.name if first is not None else None


def source_of(spec: ExperimentSpec, twins: Sequence[Twin], name: str | None = None) -> ExperimentView | None:
    """The twin whose result can be taken over: the one that did the work, where it is still there. `name`: that one's
    result and no other's."""
    fitting = [
        twin
        for twin in twins
        if twin.exp.status.state is State.SUCCEEDED
        and not twin.exp.meta.deleting
        and _judged_alike(twin.exp, spec)
        and (spec.objective is None or twin.exp.status.objective is not None)
        and name in (None, worker_of(twin.exp))
    ]
    best = min(fitting, key=lambda twin: (twin.exp.status.reason == Reason.REUSED, _order(twin)), default=None)
    return best.exp if best is not None else None


def worker_of(source: ExperimentView) -> str:
    """Who did the work: a copy may be copied."""
    copied = source.status.reused_from if source.status.reason == Reason.REUSED else None
    return copied or source.meta.key.name


def cost_of(source: ExperimentView) -> float:
    """GPU-seconds that the work has taken, whoever did it."""
    copied = source.status.saved_gpu_seconds if source.status.reason == Reason.REUSED else None
    return source.status.gpu_seconds if copied is None else copied


def copied_fields(source: ExperimentView, raw_status: Mapping[str, Any]) -> dict[str, Any]:
    """The hub's part of the source's status, as far as `raw_status` does not have it yet."""
    fields = {name: source.raw_status[name] for name in COPIED if source.raw_status.get(name)}
    if "progress" in fields:
        fields["progress"] = {key: value for key, value in fields["progress"].items() if key not in ("eta", "silent")}
    same = all(raw_status.get(name) == value for name, value in fields.items())
    return {} if same else fields


# --- who comes first --------------------------------------------------------------------------------------------------


def _wait(exp: ExperimentView, there: Sequence[Twin], *, defaults: Defaults, now: datetime) -> Answer | None:
    living = sorted((twin for twin in there if twin.living), key=_order)
    running = [twin for twin in living if twin.exp.status.state in (State.STARTING, State.RUNNING)]
    if running:
        return Answer(step=Step.WAIT, twin=running[0].exp)
    mine = _order(Twin(exp=exp, begun=False))
    for twin in living:
        left = defaults.twin_patience_seconds - (now - _still_since(twin.exp, exp)).total_seconds()
        # One that fits no node will not come to a result by waiting.
        hopeless = twin.exp.status.reason == Reason.NO_FITTING_NODE
        if _order(twin) < mine and left > 0 and not hopeless:
            return Answer(step=Step.WAIT, twin=twin.exp, recheck=left)
    return None


def _order(twin: Twin) -> tuple[bool, datetime, str]:
    return (not twin.begun, twin.exp.meta.created, twin.exp.meta.key.name)


def _still_since(twin: ExperimentView, exp: ExperimentView) -> datetime:
    """Since when `exp` has seen that `twin` holds no GPU."""
    stopped = [c.last_transition_time for c in twin.status.conditions if c.type == "Running" and c.status != "True"]
    return max(exp.meta.created, *stopped, twin.meta.created)


def _counts(twin: Twin, exp: ExperimentView) -> bool:
    """Whether `exp` is not run because of it."""
    if not twin.living:
        return twin.exp.status.state is not State.SKIPPED
    return _order(twin) < _order(Twin(exp=exp, begun=False))


def _is_in_the_way(twin: Twin, spec: ExperimentSpec) -> bool:
    """Whether the folder of the run hash holds what must not be touched, or what would be taken for this run's."""
    if not twin.begun or twin.exp.status.output_folder is not None:
        return False
    return twin.living or not _judged_alike(twin.exp, spec)


def _judged_alike(twin: ExperimentView, spec: ExperimentSpec) -> bool:
    """Whether the twin's objective is this run's too."""
    return judged_alike(twin.spec.objective if twin.spec else None, spec.objective)


def _claim(spec: ExperimentSpec, defaults: Defaults) -> str | None:
    """Its output volume; None: it has none."""
    return spec.output.claim if spec.output else defaults.output_claim
