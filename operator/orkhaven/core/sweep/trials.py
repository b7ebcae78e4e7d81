"""Which trials of a sweep are made next, and the Experiment that each becomes."""

from __future__ import annotations

from typing import Any

from orkhaven.api import GROUP, VERSION
from orkhaven.api.experiment import Objective
from orkhaven.core.actions import CreateExperiment
from orkhaven.core.identity import LABEL_DIGITS, child_name, param_hash, seed_of_repeat
from orkhaven.core.sweep.observed import Observed, is_held, is_leaving
from orkrun import contract

MAX_CREATIONS = 50
"""Experiments made in one plan: a plan is carried out in one go, and others want their turn."""
AGAIN_SECONDS = 1.0


def next_trials(seen: Observed, *, resumed: int) -> tuple[list[CreateExperiment], float | None]:
    """So many as keep `parallelism` GPUs busy, and a few that wait for the next free one. With the seconds until the
    next look, where that is known.

    `resumed`: held children that this plan lets go on.
    """
    if seen.spec.parallelism == 0 or seen.canary.failed:
        return [], None
    busy = sum(not is_held(child) and not is_leaving(child) for child in seen.tally.unfinished)
    room = min(seen.spec.parallelism + seen.defaults.lookahead - busy - resumed, seen.total - len(seen.children))
    again = None
    if room > MAX_CREATIONS:
        room, again = MAX_CREATIONS, AGAIN_SECONDS
    end = min(seen.total, seen.source.total * seen.repeats) if seen.canary.sings else seen.canary.wanted
    there = {child.trial for child in seen.children}
    taken = {child.meta.key.name for child in seen.children}
    made: list[CreateExperiment] = []
    for number in range(end):
        if len(made) >= room:
            break
        if number not in there:
            body = _child(seen, number, taken)
            taken.add(body["metadata"]["name"])
            made.append(CreateExperiment(body))
    return made, again


def _child(seen: Observed, number: int, taken: set[str]) -> dict[str, Any]:
    # The template as the user wrote it: a model's dump would drop the nulls among the parameters.
    template = dict(seen.sweep.raw_spec.get("template") or {})
    combination, repeat = divmod(number, seen.repeats)
    params = seen.source.params(combination)
    seed = seed_of_repeat(seen.spec.template.seed, repeat)
    ladder = seen.spec.early_stopping.ladder() if seen.spec.early_stopping else []
    key = seen.sweep.meta.key
    objective = Objective(metric=seen.spec.objective.metric, direction=seen.spec.objective.direction)
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Experiment",
        "metadata": {
            "name": child_name(key.name, params=params, seed=seed, taken=taken),
            "namespace": key.namespace,
            "labels": {
                contract.LABEL_MANAGED_BY: contract.MANAGED_BY,
                contract.LABEL_SWEEP: key.name,
                contract.LABEL_TRIAL: str(number),
                contract.LABEL_PARAM_HASH: param_hash(params)[:LABEL_DIGITS],
            },
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": "Sweep",
                    "name": key.name,
                    "uid": seen.sweep.meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            **template,
            **({"seed": seed} if repeat else {}),
            "params": params,
            "objective": objective.to_dict(),
            **({"rungs": ladder} if ladder else {}),
        },
    }
