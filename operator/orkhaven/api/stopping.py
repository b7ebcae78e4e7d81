"""Early stopping: the rule by which a Sweep stops trials, and the ladder of steps at which they are compared."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from orkhaven.api.meta import Model, Rules, StatusModel
from orkhaven.api.rules import Rule

MAX_RUNGS = 16
"""Rungs of a ladder, and entries of status.objective.rungs."""
MAX_STEPS = 10**9
"""Steps that a field here may name."""
STARTUP_TRIALS = 5
REDUCTION_FACTOR = 3
MEDIAN_GROWTH = 1.5
"""From one of Median's rungs to the next: 16 of them reach 437 times minSteps."""


class StoppingAlgorithm(StrEnum):
    MEDIAN = "Median"
    ASHA = "ASHA"
    HYPERBAND = "Hyperband"
    PATIENCE = "Patience"


_HALVING = (StoppingAlgorithm.ASHA, StoppingAlgorithm.HYPERBAND)


class EarlyStopping(Model):
    """Which running trials are not worth their GPUs any more."""

    # No defaults in the schema but minSteps': the API server would fill them in beside algorithms that do not take
    # them.
    algorithm: Annotated[
        StoppingAlgorithm,
        Field(
            description="Median: stop what is worse than the median of the trials that have passed the same rung. "
            "ASHA: at each rung only the best 1/reductionFactor goes on. Hyperband: as ASHA, in brackets of which each "
            "begins to stop one rung later. Patience: stop what has not improved for `patience` steps, whatever others "
            "do."
        ),
    ]
    min_steps: Annotated[
        int,
        Field(
            description="Steps (epochs) that every trial may run: the first rung; of Patience, no trial stops before.",
            ge=1,
            le=MAX_STEPS,
        ),
    ] = 1
    reduction_factor: Annotated[
        int | None,
        Field(
            description="ASHA and Hyperband: rungs are at minSteps times 1, reductionFactor, reductionFactor^2, ..., "
            f"and one of so many trials goes on. Left out: {REDUCTION_FACTOR}.",
            ge=2,
            le=16,
        ),
    ] = None
    max_steps: Annotated[
        int | None,
        Field(
            description="Hyperband needs it: steps of a whole training, from which the number of brackets follows.",
            ge=1,
            le=MAX_STEPS,
        ),
    ] = None
    startup_trials: Annotated[
        int | None,
        Field(
            description="Median: nothing is stopped at a rung before so many trials have passed it. Left out: "
            f"{STARTUP_TRIALS}. May be edited at any time.",
            ge=2,
            le=10_000,
        ),
    ] = None
    patience: Annotated[
        int | None,
        Field(
            description="Patience needs it: steps without a better value after which a trial is stopped. May be edited "
            "at any time.",
            ge=1,
            le=MAX_STEPS,
        ),
    ] = None

    rules: ClassVar[Rules] = (
        Rule(
            cel="self.algorithm in ['ASHA', 'Hyperband'] || !has(self.reductionFactor)",
            message="reductionFactor is for ASHA and Hyperband only: leave it out",
            check=lambda e: e.algorithm in _HALVING or e.reduction_factor is None,
            path=".reductionFactor",
        ),
        Rule(
            cel="(self.algorithm == 'Hyperband') == has(self.maxSteps)",
            message="Hyperband, and no other algorithm, needs maxSteps: the steps of a whole training",
            check=lambda e: (e.algorithm is StoppingAlgorithm.HYPERBAND) == (e.max_steps is not None),
            path=".maxSteps",
        ),
        Rule(
            cel="!has(self.maxSteps) || self.maxSteps >= self.minSteps * (has(self.reductionFactor) ? "
            f"self.reductionFactor : {REDUCTION_FACTOR})",
            message="maxSteps has to be at least minSteps times reductionFactor, or there is but one bracket: use ASHA",
            check=lambda e: (
                e.max_steps is None or e.max_steps >= e.min_steps * (e.reduction_factor or REDUCTION_FACTOR)
            ),
            path=".maxSteps",
        ),
        Rule(
            cel="self.algorithm == 'Median' || !has(self.startupTrials)",
            message="startupTrials is for Median only: leave it out",
            check=lambda e: e.algorithm is StoppingAlgorithm.MEDIAN or e.startup_trials is None,
            path=".startupTrials",
        ),
        Rule(
            cel="(self.algorithm == 'Patience') == has(self.patience)",
            message="Patience, and no other algorithm, needs patience: steps without a better value",
            check=lambda e: (e.algorithm is StoppingAlgorithm.PATIENCE) == (e.patience is not None),
            path=".patience",
        ),
    )

    @property
    def eta(self) -> int:
        """The reduction factor that holds."""
        return self.reduction_factor or REDUCTION_FACTOR

    @property
    def startup(self) -> int:
        """The number of startup trials that holds."""
        return self.startup_trials or STARTUP_TRIALS

    def ladder(self) -> list[int]:
        """The rungs, lowest first: what a trial's spec.rungs says. Empty for Patience, which compares nothing."""
        if self.algorithm is StoppingAlgorithm.PATIENCE:
            return []
        growth = self.eta if self.algorithm in _HALVING else MEDIAN_GROWTH
        limit = MAX_STEPS if self.max_steps is None else self.max_steps - 1  # at the end there is nothing left to stop
        rungs = [round(self.min_steps * growth**power) for power in range(MAX_RUNGS)]
        return sorted({rung for rung in rungs if rung <= limit})


class Rung(StatusModel):
    """What a run had reached when it passed a rung of its ladder."""

    step: Annotated[int, Field(description="The rung: one of spec.rungs.")]
    value: Annotated[
        float | None,
        Field(
            description="Best finite value of the objective up to that step; where nothing had been reported by then, "
            "of the first report after it. Absent: reported, but never a finite number."
        ),
    ] = None


class Prune(Model):
    """That a run is not worth going on with, and why."""

    step: Annotated[
        int,
        Field(
            description="The rung (for Patience the step) at which it was decided: a resumed run is not stopped at "
            "this one again.",
            ge=0,
            le=2**53,
        ),
    ]
    message: Annotated[str, Field(description="Why, in a sentence.", max_length=512)] = ""
    resume: Annotated[bool, Field(description="Go on nevertheless, from the last checkpoint: for a person to set.")] = (
        False
    )
