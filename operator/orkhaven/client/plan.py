"""What submitting a file would do: how many trials, which of them are the same run as one that is there already, and
what `dedupe` does about these.

The same run: parameters, seed, image, command and data are the same, as in an Experiment's runHash. That hash itself
is known only to the operator (it fills in the default image), so what stands in the specs is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orkhaven.api import Reason, SweepSpec
from orkhaven.api.container import DataVolume
from orkhaven.api.experiment import Dedupe, Objective
from orkhaven.client.dedupe import Group, decision, listed_twice, sentences, way_of
from orkhaven.client.errors import Invalid
from orkhaven.client.kube import Body
from orkhaven.core.identity import judged_alike, run_hash, seed_of_repeat
from orkhaven.core.search import Asked, TrialSource, trial_params
from orkrun.contract import LABEL_SWEEP, LABEL_TRIAL

MOST_COMPARED = 20_000
"""Trials that are compared, about a second; the rest of a larger search is said to be uncompared."""
MOST_TRIES = 2000
"""Draws for one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Counts of trials."""

    trials: int
    new: int = 0
    mine: int = 0
    """Made by this Sweep already."""
    done: int = 0
    """Another Experiment has succeeded with the same run."""
    open: int = 0
    """Another Experiment is at the same run, or waits for it."""
    failed: int = 0
    """Another Experiment has failed with the same run."""
    pruned: int = 0
    """Another Experiment with the same run was stopped early."""
    apart: int = 0
    """Another Experiment has the same run, but is judged by another objective or writes to another volume."""
    later: int = 0
    """Chosen as the results of others come in: nobody knows their parameters yet."""
    uncompared: int = 0
    notes: Sequence[str] = ()
    """What becomes of the identical ones, and which trials of a List are the same."""

    def sentence(self) -> str:
        """As `submit` prints it."""
        said = "1 trial" if self.trials == 1 else f"{self.trials:,} trials"
        parts = [
            f"{count:,} {words}"
            for count, words in (
                (self.new, "new"),
                (self.mine, "made already"),
                (self.done, "identical to a run that has succeeded"),
                (self.open, "identical to a run that is under way"),
                (self.failed, "identical to a run that has failed"),
                (self.pruned, "identical to a run that was stopped early"),
                (self.apart, "identical to a run with another objective or output volume"),
                (self.later, "chosen later, by the results of these"),
                (self.uncompared, "not compared"),
            )
            if count
        ]
        return f"{said}: {', '.join(parts)}"


def trials_of(body: Body) -> TrialSource:
    """The trials of a Sweep. Raises Invalid where a dotted name leads nowhere."""
    spec = body["spec"]
    try:
        return trial_params(SweepSpec.model_validate(spec), (spec.get("template") or {}).get("params") or {})
    except ValueError as error:
        raise Invalid(str(error)) from error


def plan(body: Body, there: Iterable[Body]) -> Plan:
    """`body` has been checked; `there` are the namespace's Experiments. Raises Invalid as `trials_of` does."""
    seen = _Seen.of(body, there)
    total, later, runs = _runs(body)
    counts = dict.fromkeys((*_ORDER, "new"), 0)
    groups = {word: Group() for word in _ORDER}
    for digest in runs:
        twin = seen.known.get(digest) if digest else None
        counts[twin.verdict if twin else "new"] += 1
        if twin and twin.verdict != "mine":
            groups[twin.verdict].add(twin.name)
    if later:
        # What was chosen already is this Sweep's own.
        made = sum(len(runs) <= number < total for number in seen.numbers)
        later, counts["mine"] = later - made, counts["mine"] + made
    uncompared = total - later - sum(counts.values())
    notes = sentences(way_of(body, seen.decided), groups, first=len(runs) if uncompared else None)
    if twice := listed_twice(body):
        notes.insert(0, twice)
    return Plan(trials=total, later=later, uncompared=uncompared, notes=notes, **counts)


_ORDER = ("apart", "failed", "pruned", "open", "done", "mine")
"""Where several Experiments are the same run, the last of these counts."""


@dataclass(frozen=True, slots=True)
class _Twin:
    """An Experiment that is the same run as a trial may be."""

    verdict: str
    name: str
    rank: tuple[int, bool]


@dataclass(slots=True)
class _Seen:
    """What is in the namespace."""

    known: dict[str, _Twin] = field(default_factory=dict)
    """By run."""
    numbers: set[int] = field(default_factory=set)
    """Of this Sweep's trials."""
    decided: tuple[Dedupe, str] | None = None
    """What the operator's default image came to for the latest run that tells it, and that run's name."""

    @classmethod
    def of(cls, body: Body, there: Iterable[Body]) -> _Seen:
        seen, latest = cls(), ""
        template = body["spec"] if body["kind"] == "Experiment" else body["spec"].get("template") or {}
        mine = (_objective(body["spec"]), (template.get("output") or {}).get("claim"))
        for experiment in there:
            meta, status = experiment["metadata"], experiment.get("status") or {}
            name, labels = meta["name"], meta.get("labels") or {}
            sweep = labels.get(LABEL_SWEEP)
            own = sweep == body["metadata"]["name"] if body["kind"] == "Sweep" else name == body["metadata"]["name"]
            if own and (number := labels.get(LABEL_TRIAL, "")).isdecimal():
                seen.numbers.add(int(number))
            made = str(meta.get("creationTimestamp") or "")
            if made >= latest and (how := decision(experiment)) is not None:
                latest, seen.decided = made, (how, name)
            verdict = "mine" if own else _verdict(experiment, *mine)
            digest = _run_of(experiment["spec"], experiment["spec"].get("params") or {}) if verdict else None
            if not verdict or not digest:
                continue
            rank = (_ORDER.index(verdict), status.get("reason") != Reason.REUSED)
            if digest not in seen.known or rank > seen.known[digest].rank:
                seen.known[digest] = _Twin(verdict, name, rank)
        return seen


def _verdict(experiment: Body, objective: Objective | None, claim: str | None) -> str | None:
    """What it means for a run that is judged by `objective` and writes to `claim`. None: nothing."""
    state = (experiment.get("status") or {}).get("state")
    if state == "Skipped" or experiment["metadata"].get("deletionTimestamp"):
        return None
    spec = experiment["spec"]
    if (spec.get("output") or {}).get("claim") != claim or not judged_alike(_objective(spec), objective):
        return "apart"
    return {"Succeeded": "done", "Failed": "failed", "Pruned": "pruned"}.get(str(state), "open")


def _objective(spec: Mapping[str, Any]) -> Objective | None:
    """Of a Sweep or an Experiment. None: it has none, or one that was stored before a rule existed."""
    told = spec.get("objective") or {}
    try:
        return Objective.model_validate({key: told[key] for key in ("metric", "direction") if key in told})
    except ValueError:
        return None


def first_trials(source: TrialSource, most: int) -> Iterator[dict[str, Any]]:
    """The parameters of the first trials, and then `source.total` is what is known of their number. Fewer than `most`
    also where constraints refuse nearly all draws, since a person is waiting, and where the rest depend on results."""
    for index in range(most):
        if not source.look_ahead(index + 1, tries=MOST_TRIES) or index >= source.total or not source.is_known(index):
            return
        yield source.params(index)


def _runs(body: Body) -> tuple[int, int, list[str | None]]:
    """How many trials, how many of them depend on results, and the others as runs."""
    spec = body["spec"]
    if body["kind"] == "Experiment":
        return 1, 0, [_run_of(spec, spec.get("params") or {})]
    source = trials_of(body)
    template = spec.get("template") or {}
    repeats, first = (spec.get("search") or {}).get("repeats") or 1, template.get("seed") or 0
    runs = [
        _run_of({**template, "seed": seed_of_repeat(first, repeat)}, params)
        for params in first_trials(source, MOST_COMPARED // repeats)
        for repeat in range(repeats)
    ]
    later = max(0, source.total - source.known) if isinstance(source, Asked) else 0
    return source.total * repeats, later * repeats, runs


def _run_of(spec: Mapping[str, Any], params: Mapping[str, Any]) -> str | None:
    try:
        return run_hash(
            params=params,
            seed=spec.get("seed") or 0,
            image=spec.get("image") or "",
            command=spec.get("command") or (),
            data=[DataVolume.model_validate(volume) for volume in spec.get("data") or ()],
        )
    except ValueError:
        return None  # stored before a rule existed: the same as nothing
