"""Which trials of a sweep are made next, and the Experiment that each becomes."""

from __future__ import annotations

from itertools import count
from typing import Any

from orkhaven.api import GROUP, VERSION
from orkhaven.core.actions import CreateExperiment
from orkhaven.core.identity import LABEL_DIGITS, child_name, param_hash
from orkhaven.core.search import Asked
from orkhaven.core.search.history import Ask
from orkhaven.core.sweep.asking import MAX_ASKED, Asking, answered_params
from orkhaven.core.sweep.observed import Observed, is_held
from orkrun import contract

MAX_CREATIONS = 50
"""Experiments made in one plan: a plan is carried out in one go, and others want their turn."""
AGAIN_SECONDS = 1.0


def next_trials(seen: Observed, *, resumed: int) -> tuple[list[CreateExperiment], Ask | None, float | None]:
    """So many as keep `parallelism` GPUs busy, and a few that wait for the next free one. With what has to be asked for
    more of them, and the seconds until the next look, where that is known.

    `resumed`: held children that this plan lets go on.
    """
    if seen.spec.parallelism == 0:
        return [], None, None
    busy = sum(not is_held(child) for child in seen.tally.unfinished)
    # One that waits while it could still learn from those that run is a worse one.
    lookahead = 0 if isinstance(seen.source, Asked) else seen.defaults.lookahead
    room = seen.spec.parallelism + lookahead - busy - resumed
    again = None
    if room > MAX_CREATIONS:
        room, again = MAX_CREATIONS, AGAIN_SECONDS
    if room <= 0 or len(seen.children) >= seen.source.total:
        return [], None, again
    there = {child.trial for child in seen.children}
    taken = {child.meta.key.name for child in seen.children}
    made: list[CreateExperiment] = []
    unknown: list[int] = []
    for index in count():
        if len(made) + len(unknown) == room or len(unknown) == MAX_ASKED or index >= seen.source.total:
            break
        if index not in there:
            params = _params(seen, index)
            if params is None:
                unknown.append(index)
                continue
            body = _child(seen, index, params, taken)
            taken.add(body["metadata"]["name"])
            made.append(CreateExperiment(body))
    if not unknown or not isinstance(seen.source, Asked):
        return made, None, again
    trouble = seen.source.trouble
    if trouble is not None and trouble.until > seen.now:
        return made, None, (trouble.until - seen.now).total_seconds()
    if made:
        # What was just answered is to be seen as running by the next question.
        return made, None, 0.0
    return made, Asking.of(seen.source, seen.spec, seen.sweep.meta).ask(seen.children, unknown), again


def _params(seen: Observed, index: int) -> dict[str, Any] | None:
    """The parameters of a trial; None: they have to be asked for."""
    if isinstance(seen.source, Asked) and not seen.source.is_known(index):
        return answered_params(seen.source, seen.answer, index)
    return seen.source.params(index)


def _name(seen: Observed, index: int, params: dict[str, Any], taken: set[str]) -> str:
    if isinstance(seen.source, Asked):
        return Asking.of(seen.source, seen.spec, seen.sweep.meta).name(index)
    return child_name(seen.sweep.meta.key.name, params=params, seed=seen.spec.template.seed, taken=taken)


def _child(seen: Observed, index: int, params: dict[str, Any], taken: set[str]) -> dict[str, Any]:
    # The template as the user wrote it: a model's dump would drop the nulls among the parameters.
    template = dict(seen.sweep.raw_spec.get("template") or {})
    key = seen.sweep.meta.key
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Experiment",
        "metadata": {
            "name": _name(seen, index, params, taken),
            "namespace": key.namespace,
            "labels": {
                contract.LABEL_MANAGED_BY: contract.MANAGED_BY,
                contract.LABEL_SWEEP: key.name,
                contract.LABEL_TRIAL: str(index),
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
        "spec": {**template, "params": params, "objective": seen.spec.objective.to_dict()},
    }
