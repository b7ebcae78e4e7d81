"""Which trials of a sweep are made next, and the Experiment that each becomes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orkhaven.api.experiment import Objective
from orkhaven.core.actions import CreateExperiment
from orkhaven.core.identity import child_name, seed_of_repeat
from orkhaven.core.search import Asked
from orkhaven.core.search.history import Ask
from orkhaven.core.sweep.asking import MAX_ASKED, Asking, Chosen
from orkhaven.core.sweep.child import child_body
from orkhaven.core.sweep.observed import Observed, is_held, is_leaving, waits_for_twin

MAX_CREATIONS = 50
"""Experiments made in one plan: a plan is carried out in one go, and others want their turn."""
AGAIN_SECONDS = 1.0


def next_trials(seen: Observed, *, resumed: int) -> tuple[list[CreateExperiment], Ask | None, float | None]:
    """So many as keep `parallelism` GPUs busy, and a few that wait for the next free one. With what has to be asked for
    more of them, and the seconds until the next look, where that is known.

    `resumed`: held children that this plan lets go on.
    """
    if seen.spec.parallelism == 0 or seen.canary.failed:
        return [], None, None
    busy = sum(not is_held(child) and not is_leaving(child) for child in seen.tally.unfinished)
    # One that waits while it could still learn from those that run is a worse one.
    # And Kueue, which knows no parallelism, starts all that there are.
    waits = isinstance(seen.source, Asked) or seen.spec.template.queue_name
    lookahead = 0 if waits else seen.defaults.lookahead
    most = seen.spec.parallelism + lookahead
    # Those that wait for an identical run ask for no GPU, but a whole sweep of them must not be made at once either.
    idle = sum(waits_for_twin(child) and not is_held(child) and not is_leaving(child) for child in seen.tally.queued)
    room = min(most - (busy - min(idle, most)) - resumed, seen.total - len(seen.children))
    again = None
    if room > MAX_CREATIONS:
        room, again = MAX_CREATIONS, AGAIN_SECONDS
    end = min(seen.total, seen.source.total * seen.repeats) if seen.canary.sings else seen.canary.wanted
    there = {child.trial for child in seen.children}
    taken = {child.meta.key.name for child in (*seen.children, *seen.family.replaced)}
    chosen = (
        Chosen(seen.source, seen.answer, seen.family.first, seen.repeats) if isinstance(seen.source, Asked) else None
    )
    made: list[CreateExperiment] = []
    unknown: dict[int, None] = {}
    for number in range(end):
        if len(made) + len(unknown) >= room or len(unknown) == MAX_ASKED:
            break
        if number not in there:
            combination = number // seen.repeats
            params = seen.source.params(combination) if chosen is None else chosen.params(combination)
            if params is None:
                unknown[combination] = None
                continue
            body = _child(seen, number, params, taken)
            taken.add(body["metadata"]["name"])
            made.append(CreateExperiment(body))
    if chosen is None:
        return made, None, again
    ask, wait = _question(seen, chosen, unknown, made=bool(made))
    return made, ask, again if wait is None else wait


def _question(
    seen: Observed, chosen: Chosen, unknown: Collection[int], *, made: bool
) -> tuple[Ask | None, float | None]:
    """What has to be asked for these combinations, or the seconds until it may be. `made`: trials are about to be."""
    if made and (unknown or chosen.waiting):
        # What was just answered is to be seen as running by the next question.
        return None, 0.0
    wanted = [combination for combination in unknown if combination not in chosen.waiting]
    if not wanted:
        return None, None
    trouble = chosen.source.trouble
    if trouble is not None and trouble.until > seen.now:
        return None, (trouble.until - seen.now).total_seconds()
    return Asking.of(chosen.source, seen.spec, seen.sweep.meta).ask(seen.children, wanted), None


def _name(seen: Observed, number: int, params: Mapping[str, Any], seed: int, taken: set[str]) -> str:
    if isinstance(seen.source, Asked):
        return Asking.of(seen.source, seen.spec, seen.sweep.meta).name(number)
    return child_name(seen.sweep.meta.key.name, params=params, seed=seed, taken=taken)


def _child(seen: Observed, number: int, params: dict[str, Any], taken: set[str]) -> dict[str, Any]:
    # The template as the user wrote it: a model's dump would drop the nulls among the parameters.
    template = dict(seen.sweep.raw_spec.get("template") or {})
    repeat = number % seen.repeats
    seed = seed_of_repeat(seen.spec.template.seed, repeat)
    ladder = seen.spec.early_stopping.ladder() if seen.spec.early_stopping else []
    objective = Objective(metric=seen.spec.objective.metric, direction=seen.spec.objective.direction)
    spec = {
        **template,
        **({"seed": seed} if repeat else {}),
        **({"dedupe": seen.spec.dedupe.value} if seen.spec.dedupe is not None else {}),
        "params": params,
        "objective": objective.to_dict(),
        **({"rungs": ladder} if ladder else {}),
    }
    return child_body(seen.sweep, _name(seen, number, params, seed, taken), spec, trial=number)
