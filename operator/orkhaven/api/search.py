"""What is searched, and how: the algorithm, the dimensions, their ranges."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from orkhaven.api.experiment import Json
from orkhaven.api.meta import Model, Number, Rules
from orkhaven.api.rules import Rule, matching

MAX_GRID_NUMBERS = 1000
"""Numbers that one range may give a Grid, as many as `values` may hold."""
MAX_REPEATS = 100
MAX_STEPS = 10**9
"""Steps from one end of a range to the other."""

_PARAMETER = r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*"
ParameterName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    matching(_PARAMETER, "a dotted path such as optimizer.lr: letters, digits, '_' and '-' between the dots"),
]


class Algorithm(StrEnum):
    GRID = "Grid"
    RANDOM = "Random"
    SOBOL = "Sobol"
    TPE = "TPE"
    GP = "GP"
    CMAES = "CMAES"
    LIST = "List"


DRAWING = (Algorithm.RANDOM, Algorithm.SOBOL, Algorithm.TPE, Algorithm.GP, Algorithm.CMAES)
"""Those that go on for ever where nobody says how many trials."""


class Scale(StrEnum):
    LINEAR = "Linear"
    LOG = "Log"
    INTEGER = "Integer"


class Order(StrEnum):
    SHUFFLED = "Shuffled"
    SEQUENTIAL = "Sequential"


class Search(Model):
    """Which combinations are tried, and in which order."""

    algorithm: Annotated[
        Algorithm,
        Field(
            description="Grid: every combination of `values`. Random: drawn by `seed`. Sobol: drawn by `seed` so that "
            "they cover the space evenly. TPE, GP, CMAES: chosen by the results so far; TPE takes every kind of "
            "parameter, CMAES ranges only, GP is for a few hundred trials and needs an operator's image with torch. "
            "List: `trials` as they stand."
        ),
    ] = Algorithm.GRID
    max_trials: Annotated[
        int | None,
        Field(
            description="Most combinations that are tried, each `repeats` times. Grid and List default to all; the "
            "others need it.",
            ge=1,
            le=100_000,
        ),
    ] = None
    seed: Annotated[
        int,
        Field(
            description="Seed of what is drawn and of a Grid's order: the same seed gives the same trials (of TPE, GP "
            "and CMAES where the results are the same too).",
            ge=0,
            le=2**31 - 1,
        ),
    ] = 0
    repeats: Annotated[
        int,
        Field(
            description="Trials of each combination, under the seeds template.seed, template.seed + 1, ...: ranked by "
            "their mean, with the standard deviation.",
            ge=1,
            le=MAX_REPEATS,
        ),
    ] = 1
    # No default in the schema: the API server would fill it into sweeps that were begun without it.
    order: Annotated[
        Order | None,
        Field(
            description="For Grid: Shuffled (also where it is left out), so that early results are from all over the "
            "space, or Sequential: the last parameter varies fastest."
        ),
    ] = None

    rules: ClassVar[Rules] = (
        Rule(
            cel="self.algorithm == 'Grid' || !has(self.order)",
            message="order is for algorithm Grid only: leave it out (the others have their own)",
            check=lambda s: s.algorithm is Algorithm.GRID or s.order is None,
            path=".order",
        ),
    )


def _is_seen(r: Range, step: float) -> bool:
    fine = r.scale is Scale.INTEGER or all(abs(x) <= step * 1e12 for x in (r.min, r.max))
    return (r.max - r.min) / step <= MAX_STEPS and fine


class Range(Model):
    """An interval, both ends included."""

    min: Annotated[Number, Field(description="Smallest value.")]
    max: Annotated[Number, Field(description="Largest value.")]
    scale: Annotated[
        Scale, Field(description="Linear, Log (both ends above 0) or Integer (whole numbers, evenly).")
    ] = Scale.LINEAR
    step: Annotated[
        Number | None,
        Field(
            description="Only min, min + step, min + 2 step, ... up to max. For Linear and Integer; a Grid can then "
            "take a Linear range too."
        ),
    ] = None

    rules: ClassVar[Rules] = (
        Rule(
            cel="[self.min, self.max].all(x, x >= -1.0e300 && x <= 1.0e300)",
            message="both ends have to be between -1.0e300 and 1.0e300",
            check=lambda r: all(abs(x) <= 1e300 for x in (r.min, r.max)),
        ),
        Rule(
            cel="self.min < self.max || (self.scale == 'Integer' && self.min == self.max)",
            message="min has to be below max",
            check=lambda r: r.min < r.max or (r.scale is Scale.INTEGER and r.min == r.max),
            path=".max",
        ),
        Rule(
            cel="self.scale != 'Log' || self.min > 0.0",
            message="scale Log needs min above 0, such as 1.0e-5",
            check=lambda r: r.scale is not Scale.LOG or r.min > 0,
            path=".min",
        ),
        Rule(
            cel="self.scale != 'Integer' || ([self.min, self.max].all(x, x >= -9007199254740992.0 && "
            "x <= 9007199254740992.0 && double(int(x)) == x))",
            message="scale Integer needs whole numbers (below 2^53), such as min: 1, max: 8",
            check=lambda r: (
                r.scale is not Scale.INTEGER or all(abs(x) <= 2**53 and x == int(x) for x in (r.min, r.max))
            ),
        ),
        Rule(
            cel="!has(self.step) || self.step > 0.0",
            message="step has to be above 0, such as 0.1",
            check=lambda r: r.step is None or r.step > 0,
            path=".step",
        ),
        Rule(
            # A little more: 0.3 - 0.2 is less than 0.1.
            cel="!has(self.step) || self.step <= (self.max - self.min) * 1.000001 || self.min >= self.max",
            message="step is wider than the range: at most max - min",
            check=lambda r: r.step is None or r.step <= (r.max - r.min) * 1.000001 or r.min >= r.max,
            path=".step",
        ),
        Rule(
            cel=f"!has(self.step) || self.step <= 0.0 || (self.max - self.min) / self.step <= {MAX_STEPS}.0 && "
            "(self.scale == 'Integer' || "
            "[self.min, self.max].all(x, x <= self.step * 1.0e12 && x >= self.step * -1.0e12))",
            message="step is too small: at most 10^9 steps from min to max, each seen in 12 digits (or leave it out)",
            check=lambda r: r.step is None or r.step <= 0 or _is_seen(r, r.step),
            path=".step",
        ),
        Rule(
            cel="!has(self.step) || self.scale != 'Log'",
            message="scale Log takes no step: list the values instead, such as values: [1.0e-4, 1.0e-3]",
            check=lambda r: r.step is None or r.scale is not Scale.LOG,
            path=".step",
        ),
        Rule(
            cel="!has(self.step) || self.scale != 'Integer' || (self.step <= 9007199254740992.0 && "
            "double(int(self.step)) == self.step)",
            message="scale Integer needs a whole step, such as 2",
            check=lambda r: r.step is None or r.scale is not Scale.INTEGER or r.step == int(r.step),
            path=".step",
        ),
    )


class Parameter(Model):
    """One dimension of the search."""

    name: Annotated[
        ParameterName, Field(description="Dotted path into template.params: optimizer.lr sets params.optimizer.lr.")
    ]
    values: Annotated[
        list[Json] | None, Field(description="The values to try: any JSON.", min_length=1, max_length=1000)
    ] = None
    range: Annotated[Range | None, Field(description="The interval to draw from.")] = None
    when: Annotated[
        dict[str, Annotated[list[Json], Field(min_length=1, max_length=100)]],
        Field(
            description="Only set where each named parameter has one of these values; left out elsewhere. "
            "The named parameters have to stand before this one.",
            max_length=8,
        ),
    ] = {}

    rules: ClassVar[Rules] = (
        Rule(
            # dyn(): CEL's type checker does not see a list of any JSON.
            cel="has(dyn(self).values) != has(self.range)",
            message="needs either values or range, not both",
            check=lambda p: (p.values is None) != (p.range is None),
        ),
    )
