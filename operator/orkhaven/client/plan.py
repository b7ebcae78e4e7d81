"""What submitting a file would do: how many trials, and which of them are the same run as one that is there already.

The same run: parameters, seed, image, command and data are the same, as in an Experiment's runHash. That hash itself
is known only to the operator (it fills in the default image), so what stands in the specs is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orkhaven.api import SweepSpec
from orkhaven.api.container import DataVolume
from orkhaven.client.errors import Invalid
from orkhaven.client.kube import Body
from orkhaven.core.identity import run_hash, seed_of_repeat
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
    later: int = 0
    """Chosen as the results of others come in: nobody knows their parameters yet."""
    uncompared: int = 0

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
    """`body` has been checked; `there` are the namespace's Experiments."""
    name = body["metadata"]["name"]
    known: dict[str, tuple[int, str]] = {}
    numbers: set[int] = set()
    for experiment in there:
        labels = experiment["metadata"].get("labels") or {}
        own = labels.get(LABEL_SWEEP) == name if body["kind"] == "Sweep" else experiment["metadata"]["name"] == name
        verdict = "mine" if own else _verdict(experiment)
        if own and (number := (experiment["metadata"].get("labels") or {}).get(LABEL_TRIAL, "")).isdecimal():
            numbers.add(int(number))
        digest = _run_of(experiment["spec"], experiment["spec"].get("params") or {})
        if digest:
            known[digest] = max(known.get(digest, (-1, "")), (_ORDER.index(verdict), verdict))
    total, later, runs = _runs(body)
    counts = dict.fromkeys((*_ORDER, "new"), 0)
    for digest in runs:
        counts[known[digest][1] if digest in known else "new"] += 1
    if later:
        # What was chosen already is this Sweep's own.
        made = sum(len(runs) <= number < total for number in numbers)
        later, counts["mine"] = later - made, counts["mine"] + made
    return Plan(trials=total, later=later, uncompared=total - later - sum(counts.values()), **counts)


_ORDER = ("failed", "pruned", "open", "done", "mine")
"""Where several Experiments are the same run, the last of these counts."""


def _verdict(experiment: Body) -> str:
    state = (experiment.get("status") or {}).get("state")
    return {"Succeeded": "done", "Failed": "failed", "Pruned": "pruned"}.get(str(state), "open")


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
