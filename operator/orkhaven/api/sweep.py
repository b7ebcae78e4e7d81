"""Sweep: a search over parameters; it becomes Experiments."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from orkhaven.api.experiment import Dedupe, Json, Objective, RunTemplate
from orkhaven.api.meta import Model, NameRule, Number, Rules
from orkhaven.api.policy import FailurePolicy
from orkhaven.api.rerun import MAX_RERUNS, Rerun
from orkhaven.api.rules import ListMap, Rule, Transition, immutable
from orkhaven.api.search import DRAWING, MAX_GRID_NUMBERS, Algorithm, Parameter, Scale, Search
from orkhaven.api.stopping import EarlyStopping
from orkhaven.api.sweep_status import SweepStatus

MAX_SWEEP_NAME = 46
"""Characters: "-" + 10 of the hash + "-" + attempt have to fit into a Job's 63."""
SWEEP_NAME = NameRule(limit=MAX_SWEEP_NAME, why='its trials are named after it, with "-" and a hash at the end')


class SweepObjective(Objective):
    """What trials are ranked by, and what is enough."""

    goal: Annotated[
        Number | None,
        Field(
            description="Good enough: once the best trial (with repeats: the best mean) has this value or a better "
            "one, no more are started, and running ones finish. May change while the sweep runs."
        ),
    ] = None


# What Grid cannot enumerate: a range that is continuous, or one of too many numbers.
_NOT_GRID = (
    "has(p.range) && ((p.range.scale != 'Integer' && !has(p.range.step)) || p.range.max - p.range.min >= "
    f"{MAX_GRID_NUMBERS}.0 * (has(p.range.step) ? p.range.step : 1.0))"
)


def _not_grid(p: Parameter) -> bool:
    return p.range is not None and (
        (p.range.scale is not Scale.INTEGER and p.range.step is None)
        or p.range.max - p.range.min >= MAX_GRID_NUMBERS * (1.0 if p.range.step is None else p.range.step)
    )


# What an evolution strategy has no distance in.
_NOT_CMAES = "!has(p.range) || (has(dyn(p).when) && size(dyn(p).when) > 0)"


def _not_cmaes(p: Parameter) -> bool:
    return p.range is None or bool(p.when)


def _twice(spec: SweepSpec) -> list[str]:
    names = [p.name for p in spec.parameters]
    return [name for name in names if names.count(name) > 1]


def _above(spec: SweepSpec) -> list[str]:
    names = [p.name for p in spec.parameters]
    return [name for name in names if any(other.startswith(name + ".") for other in names)]


def _unfounded(spec: SweepSpec) -> list[str]:
    names = [p.name for p in spec.parameters]
    return [p.name for i, p in enumerate(spec.parameters) if not set(p.when) <= set(names[:i])]


def _same_rule() -> str:
    new, old = "self.earlyStopping", "oldSelf.earlyStopping"
    same = (f"{new}.{field} == {old}.{field}" for field in ("algorithm", "minSteps"))
    optional = (
        f"(has({new}.{field}) ? has({old}.{field}) && {new}.{field} == {old}.{field} : !has({old}.{field}))"
        for field in ("reductionFactor", "maxSteps")
    )
    return f"!has({new}) || (has({old}) && {' && '.join((*same, *optional))})"


class SweepSpec(Model):
    """What to search, how, and what all trials share."""

    objective: Annotated[SweepObjective, Field(description="What trials are ranked by.")]
    search: Annotated[Search, Field(description="Which combinations are tried.")] = Search()
    parameters: Annotated[list[Parameter], Field(description="The dimensions of the search.", max_length=64)] = []
    constraints: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=500)]],
        Field(
            description="What every combination has to keep, such as model.encoder != 'resnet50' || batch_size <= 16; "
            "one that breaks any of them is never made. Compares parameters of the search with values or with each "
            "other: == != < <= > >= ~ in, joined by and, or, not. What is said of a parameter that a combination "
            "leaves out (`when`) counts as kept.",
            max_length=32,
        ),
    ] = []
    initial_points: Annotated[
        list[dict[str, Json]],
        Field(
            description="Combinations that are tried first: dotted name -> value. What one leaves out is drawn at "
            "random (Grid: the first combination that has the rest). None of them is tried again later.",
            max_length=100,
        ),
    ] = []
    trials: Annotated[
        list[dict[str, Json]],
        Field(
            description="For List: parameter objects laid over template.params, nested or with dotted names.",
            max_length=10_000,
        ),
    ] = []
    parallelism: Annotated[
        int, Field(description="Most trials that hold GPUs at once. 0 pauses; lowering it drains.", ge=0, le=10_000)
    ] = 4
    canary: Annotated[
        int,
        Field(
            description="Trials that go first: no other is started before each of them has reported the objective. "
            "Where one fails without it, the sweep is Suspended with the cause; it goes on once that trial is deleted "
            "(which makes it again) or canary is lower.",
            ge=0,
            le=100,
        ),
    ] = 0
    suspend: Annotated[
        bool, Field(description="Save checkpoints, give all GPUs back, start nothing; false goes on.")
    ] = False
    # No default in the schema: it depends on the image.
    dedupe: Annotated[
        Dedupe | None,
        Field(
            description="What to do about trials that are identical to a run of this namespace (parameters, seed, "
            "image, command, data). Reuse: take its result over once it has succeeded, at no cost. Skip: do not run "
            "them. Never: run them, each in a folder of its own. Default: Reuse, but Never where the image has the "
            "tag latest or none, which may be another program by now."
        ),
    ] = None
    early_stopping: Annotated[
        EarlyStopping | None,
        Field(
            description="Stop trials that are not worth going on with. Left out: all run to their end. It may be taken "
            "out later (no more are stopped then), but not put in, and of its fields only startupTrials and patience "
            "may change."
        ),
    ] = None
    failure_policy: Annotated[FailurePolicy, Field(description="When to give up.")] = FailurePolicy()
    rerun: Annotated[
        list[Rerun],
        Field(description="Failed trials that are run once more, with what is changed.", max_length=MAX_RERUNS),
        ListMap("id"),
    ] = []
    ttl_seconds_after_finished: Annotated[
        int | None,
        Field(
            description="Seconds after the end until the sweep and its trials are deleted; results stay. Unset: never.",
            ge=0,
        ),
    ] = None
    template: Annotated[RunTemplate, Field(description="What all trials share.")] = RunTemplate()

    rules: ClassVar[Rules] = (
        Rule(
            cel="self.search.algorithm == 'List' || (has(self.parameters) && self.parameters.size() > 0)",
            message="every algorithm but List needs parameters: name at least one (or use algorithm List with trials)",
            check=lambda s: s.search.algorithm is Algorithm.LIST or bool(s.parameters),
            path=".parameters",
        ),
        Rule(
            cel="self.search.algorithm != 'Grid' || !has(self.parameters) || self.parameters.all(p, !("
            + _NOT_GRID
            + "))",
            message="Grid needs values, or a range of at most 1000 numbers (scale Integer, or with a step), in every "
            "parameter (other ranges: another algorithm, such as Sobol or TPE)",
            check=lambda s: s.search.algorithm is not Algorithm.GRID or not any(map(_not_grid, s.parameters)),
            path=".parameters",
            offenders=(
                f"self.parameters.filter(p, {_NOT_GRID}).map(p, p.name)",
                lambda s: [p.name for p in s.parameters if _not_grid(p)],
            ),
        ),
        Rule(
            cel=f"!(self.search.algorithm in {[one.value for one in DRAWING]}) || has(self.search.maxTrials)",
            message="every algorithm but Grid and List needs search.maxTrials: how many trials to make",
            check=lambda s: s.search.algorithm not in DRAWING or s.search.max_trials is not None,
            path=".search",
        ),
        Rule(
            cel="self.search.algorithm != 'CMAES' || !has(self.parameters) || "
            f"!self.parameters.exists(p, {_NOT_CMAES})",
            message="CMAES needs a range, and no when, in every parameter (values and conditions: algorithm TPE)",
            check=lambda s: s.search.algorithm is not Algorithm.CMAES or not any(map(_not_cmaes, s.parameters)),
            path=".parameters",
            offenders=(
                f"self.parameters.filter(p, {_NOT_CMAES}).map(p, p.name)",
                lambda s: [p.name for p in s.parameters if _not_cmaes(p)],
            ),
        ),
        Rule(
            cel="self.search.algorithm != 'List' || (has(self.trials) && self.trials.size() > 0)",
            message="List needs trials: at least one object of parameters",
            check=lambda s: s.search.algorithm is not Algorithm.LIST or bool(s.trials),
            path=".trials",
        ),
        Rule(
            cel="self.search.algorithm != 'List' || !has(self.parameters) || self.parameters.size() == 0",
            message="List takes its parameters from trials: leave parameters out (or use another algorithm)",
            check=lambda s: s.search.algorithm is not Algorithm.LIST or not s.parameters,
            path=".parameters",
        ),
        Rule(
            cel="self.search.algorithm == 'List' || !has(self.trials) || self.trials.size() == 0",
            message="trials are for algorithm List only: leave them out, or set search.algorithm: List",
            check=lambda s: s.search.algorithm is Algorithm.LIST or not s.trials,
            path=".trials",
        ),
        Rule(
            cel="self.search.algorithm != 'List' || !has(self.constraints) || self.constraints.size() == 0",
            message="List makes its trials as they stand: leave constraints out, and the trials that break them",
            check=lambda s: s.search.algorithm is not Algorithm.LIST or not s.constraints,
            path=".constraints",
        ),
        Rule(
            cel="self.search.algorithm != 'List' || !has(self.initialPoints) || self.initialPoints.size() == 0",
            message="List makes its trials in their order: leave initialPoints out, and put them first in trials",
            check=lambda s: s.search.algorithm is not Algorithm.LIST or not s.initial_points,
            path=".initialPoints",
        ),
        Rule(
            cel="!has(self.parameters) || self.parameters.all(p, self.parameters.exists_one(q, q.name == p.name))",
            message="every parameter may stand only once",
            check=lambda s: not _twice(s),
            path=".parameters",
            offenders=(
                "self.parameters.filter(p, !self.parameters.exists_one(q, q.name == p.name)).map(p, p.name)",
                lambda s: _twice(s),
            ),
        ),
        Rule(
            cel="!has(self.parameters) || "
            "!self.parameters.exists(p, self.parameters.exists(q, q.name.startsWith(p.name + '.')))",
            message="a parameter cannot be a value and an object at once: remove it or what is below it",
            check=lambda s: not _above(s),
            path=".parameters",
            offenders=(
                "self.parameters.filter(p, self.parameters.exists(q, q.name.startsWith(p.name + '.'))).map(p, p.name)",
                lambda s: _above(s),
            ),
        ),
        Rule(
            # As many keys as there are parameters before this one with the key's name.
            cel="!has(self.parameters) || self.parameters.all(i, p, !has(dyn(p).when) || size(dyn(p).when) == "
            "self.parameters.transformList(j, q, j < i && dyn(p).when[?q.name].hasValue(), j).size())",
            message="when may only name parameters that stand before this one",
            check=lambda s: not _unfounded(s),
            path=".parameters",
            offenders=(
                "self.parameters.transformList(i, p, has(dyn(p).when) && size(dyn(p).when) != "
                "self.parameters.transformList(j, q, j < i && dyn(p).when[?q.name].hasValue(), j).size(), p.name)",
                lambda s: _unfounded(s),
            ),
        ),
        immutable("objective.metric", "trials were judged by it; make a new Sweep"),
        immutable("objective.direction", "trials were judged by it; make a new Sweep"),
        immutable("search.algorithm", "trials were made by it; make a new Sweep"),
        immutable("search.seed", "trials were drawn with it; make a new Sweep"),
        immutable("search.order", "trials were numbered by it; make a new Sweep"),
        immutable("search.repeats", "trials are numbered by it; make a new Sweep"),
        immutable("constraints", "trials were made by them; make a new Sweep"),
        immutable("initialPoints", "trials are numbered from them; make a new Sweep"),
        Transition(
            # A Grid's trials are known by their parameters, so that its values may come and go. dyn(): as in Parameter.
            cel="has(self.parameters) ? has(oldSelf.parameters) && (self.parameters == oldSelf.parameters || "
            "(self.search.algorithm == 'Grid' && "
            "self.parameters.map(p, p.name) == oldSelf.parameters.map(p, p.name) && "
            "self.parameters.map(p, dyn(p).?when) == oldSelf.parameters.map(p, dyn(p).?when))) : "
            "!has(oldSelf.parameters)",
            message="immutable but for a Grid's values and ranges (the names, their order and when stay): trials were "
            "made from them; make a new Sweep",
            path=".parameters",
        ),
        immutable("trials", "they are numbered as they stand; make a new Sweep"),
        immutable("template", "all trials have to share it; make a new Sweep"),
        immutable("dedupe", "trials were made by it; make a new Sweep"),
        Transition(
            cel=_same_rule(),
            message="its rule is fixed, since all trials note their values by it: only startupTrials and patience may "
            "change, and the whole may be left out (no more trials are stopped then)",
            path=".earlyStopping",
        ),
        Transition(
            cel="!has(self.search.maxTrials) || "
            "(has(oldSelf.search.maxTrials) && self.search.maxTrials >= oldSelf.search.maxTrials)",
            message="may only rise (to stop a sweep: parallelism: 0 or suspend: true)",
            path=".search.maxTrials",
        ),
    )


class Sweep(Model):
    """A search over parameters: becomes Experiments, and ranks them."""

    rules: ClassVar[Rules] = (SWEEP_NAME,)

    spec: Annotated[
        SweepSpec,
        Field(
            description="What to search. What the trials are (objective, search, parameters, constraints, "
            "initialPoints, trials, template) never changes, but search.maxTrials may rise and a Grid's values and "
            "ranges may be edited (what was tried stays, what is new is tried); objective.goal, parallelism, "
            "canary, suspend, failurePolicy and ttlSecondsAfterFinished may be edited at any time, of earlyStopping "
            "what it says itself; entries of rerun come and go."
        ),
    ]
    status: Annotated[SweepStatus | None, Field(description="What became of it.")] = None
