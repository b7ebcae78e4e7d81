"""Which Experiment stands for each trial, where failed ones were run once more.

A rerun's Experiment has the trial's number, and by its labels the rerun's id and the Experiment in whose place it is.
Of a trial the last one counts: for the counters, the leaderboard, the clusters, the search. What it replaced keeps its
attempts, and only its GPU-hours are still counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orkhaven.core.views import ExperimentView
from orkrun.contract import LABEL_RERUN, LABEL_RERUN_OF


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A sweep's children by what they are to their trials."""

    current: Sequence[ExperimentView]
    """One for each trial."""
    replaced: Sequence[ExperimentView] = ()
    first: Sequence[ExperimentView]
    """Of each trial the one that the search made, as far as it is still there: its parameters are the search's."""
    by_rerun: Mapping[str, Sequence[ExperimentView]] = field(default_factory=dict)
    """By the rerun's id: what was made for it, whatever has become of that since."""


def lineage(children: Sequence[ExperimentView]) -> Lineage:
    reruns = [child for child in children if is_rerun(child)]
    if not reruns:
        return Lineage(current=children, first=children)
    of_trial: dict[int, list[ExperimentView]] = {}
    current = [child for child in children if child.trial is None]
    for child in children:
        if child.trial is not None:
            of_trial.setdefault(child.trial, []).append(child)
    replaced: list[ExperimentView] = []
    first = list(current)
    for members in of_trial.values():
        members.sort(key=_age)
        # Not the youngest alone: in one second a trial can be made, fail, and be made again.
        old = {child.meta.labels.get(LABEL_RERUN_OF) for child in members}
        last = [child for child in members if child.meta.key.name not in old] or members
        current.append(last[-1])
        replaced += [child for child in members if child is not last[-1]]
        first.append(members[0])
    by_rerun: dict[str, list[ExperimentView]] = {}
    for child in reruns:
        by_rerun.setdefault(child.meta.labels[LABEL_RERUN], []).append(child)
    return Lineage(current=current, replaced=replaced, first=first, by_rerun=by_rerun)


def is_rerun(child: ExperimentView) -> bool:
    return LABEL_RERUN in child.meta.labels and LABEL_RERUN_OF in child.meta.labels


def _age(child: ExperimentView) -> tuple[bool, float, str]:
    return is_rerun(child), child.meta.created.timestamp(), child.meta.key.name
