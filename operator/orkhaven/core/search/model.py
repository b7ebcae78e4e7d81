"""Optuna's samplers over a chosen part of a sweep's history: what `tpe` and `gp` share.

The storage holds just the trials that were chosen, under their numbers in the sweep; a sampler is made anew for each
proposal, with a seed of its own. So a proposal is a function of the history, and Optuna's own storage and its reading
and sorting of all trials cost nothing. All objectives are minimized, values of Maximize are negated.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, NoReturn

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from orkhaven.api.experiment import Direction
from orkhaven.api.search import Scale
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.history import Outcome, Result
from orkhaven.core.search.points import Point, Points
from orkhaven.core.search.random import hashed
from orkhaven.core.search.sample import Sample, Sizes
from orkhaven.core.search.space import span_of

STARTUP = 10
"""Trials that have to end with a value before a model is made, as in Optuna."""

_STATES = {
    Outcome.RUNNING: TrialState.RUNNING,
    Outcome.COMPLETE: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
}


class Model:
    """A `Proposer` by one of Optuna's samplers."""

    needs_all_parameters = False
    """Whether the sampler can only look at trials that have every parameter it is asked for."""

    def __init__(self, points: Points, spec: SweepSpec, *, sizes: Sizes, sampler: Callable[[int], BaseSampler]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        minimize = spec.objective.direction is Direction.MINIMIZE
        self._points, self._seed, self._sampler = points, spec.search.seed, sampler
        self._sign = 1.0 if minimize else -1.0
        self._sample = Sample(sizes, minimize=minimize)
        self._distributions = [_distribution(points, position) for position in range(len(points.parameters))]
        self._trials: dict[int, tuple[Result, FrozenTrial]] = {}
        """By number, as far as they were needed."""

    def add(self, result: Result) -> None:
        self._trials.pop(result.number, None)
        self._sample.add(result)

    def remove(self, number: int) -> None:
        self._trials.pop(number, None)
        self._sample.remove(number)

    def propose(self, number: int, redraw: int) -> Point | None:
        if len(self._sample) < STARTUP:
            return None
        trials = [self._trial(result) for result in self._sample.chosen()]
        seed = int(hashed(self._seed, number, redraw, "sampler") * 2**32)
        sampler = self._sampler(seed)
        elements: list[int | float | None] = [None] * len(self._points.parameters)
        # What is set together is chosen together, after what decides whether it is set.
        for branch in self._points.branches():
            if not self._points.is_set(branch[0], elements):
                continue
            space = {_name(p): held for p in branch if not (held := self._distributions[p]).single()}
            known = trials
            if self.needs_all_parameters:
                known = [trial for trial in trials if space.keys() <= trial.params.keys()]
            enough = sum(trial.state is not TrialState.RUNNING for trial in known) >= STARTUP
            drawn = self._relative(sampler, number, space, known) if space and enough else {}
            for position in branch:
                elements[position] = self._element(position, drawn.get(_name(position)), number, redraw)
        return tuple(elements)

    def _relative(
        self, sampler: BaseSampler, number: int, space: dict[str, BaseDistribution], trials: list[FrozenTrial]
    ) -> dict[str, Any]:
        # A study of its own for each question: it remembers the trials that it has seen.
        study = optuna.Study(study_name="sweep", storage=_Chosen(trials), sampler=sampler)
        asked = create_trial(state=TrialState.RUNNING)
        asked.number = number
        return sampler.sample_relative(study, asked, space)

    def _element(self, position: int, value: Any, number: int, redraw: int) -> int | float:
        if value is None:
            name = self._points.parameters[position].name
            return self._points.from_unit(position, hashed(self._seed, f"asked {number}", redraw, name))
        return self._points.rounded(position, value) if self._points.choices[position] is None else int(value)

    def _trial(self, result: Result) -> FrozenTrial:
        known = self._trials.get(result.number)
        if known is None:
            value = None if result.value is None else self._sign * result.value
            held = {_name(position): element for position, element in enumerate(result.point) if element is not None}
            pruned = result.outcome is Outcome.PRUNED
            trial = create_trial(
                state=_STATES[result.outcome],
                value=value,
                params=held,
                distributions={
                    _name(p): self._distributions[p] for p, element in enumerate(result.point) if element is not None
                },
                intermediate_values={result.step: value} if pruned and value is not None else None,
            )
            trial.number = result.number
            known = self._trials[result.number] = (result, trial)
        return known[1]


def _name(position: int) -> str:
    return f"{position:02}"


def _distribution(points: Points, position: int) -> BaseDistribution:
    parameter, values = points.parameters[position], points.choices[position]
    if parameter.values is not None and values is not None:
        return CategoricalDistribution(tuple(range(len(values))))
    if values is not None:
        # By place: steps are even, and no number is larger than there are steps.
        return IntDistribution(0, len(values) - 1)
    span = span_of(parameter)
    return FloatDistribution(span.min, span.max, log=span.scale is Scale.LOG)


class _Chosen(BaseStorage):
    """One study of the trials that were chosen."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        self._held = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._held if states is None or trial.state in states]

    def get_study_id_from_name(self, study_name: str) -> int:
        return 0

    def get_study_name_from_id(self, study_id: int) -> str:
        return "sweep"

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MINIMIZE]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """What a sampler would tell others of the trial that it draws: they see it among the running ones."""

    # Nothing else is asked of it.

    def get_all_studies(self) -> NoReturn:
        raise NotImplementedError

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> NoReturn:
        raise NotImplementedError

    def delete_study(self, study_id: int) -> NoReturn:
        raise NotImplementedError

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> NoReturn:
        raise NotImplementedError

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> NoReturn:
        raise NotImplementedError

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> NoReturn:
        raise NotImplementedError

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> NoReturn:
        raise NotImplementedError

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> NoReturn:
        raise NotImplementedError

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> NoReturn:
        raise NotImplementedError

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> NoReturn:
        raise NotImplementedError

    def get_trial(self, trial_id: int) -> NoReturn:
        raise NotImplementedError
