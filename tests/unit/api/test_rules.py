"""The Python half of the rules: the same wrong resources as in the integration test, the same words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orkhaven.api import ExperimentSpec, SweepSpec
from orkhaven.api.experiment import EXPERIMENT_NAME, Experiment
from orkhaven.api.rules import Rule, problems
from orkhaven.api.sweep import SWEEP_NAME, Sweep
from tests.unit.api.cases import NAMES, RIGHT, Right, Wrong, experiment, sweep
from tests.unit.api.wrong_experiments import WRONG_EXPERIMENTS
from tests.unit.api.wrong_sweeps import WRONG_SWEEPS

WRONG = [*WRONG_SWEEPS, *WRONG_EXPERIMENTS]


def _read(body: dict[str, Any]) -> SweepSpec | ExperimentSpec:
    return (SweepSpec if body["kind"] == "Sweep" else ExperimentSpec).model_validate(body["spec"])


def _problems(body: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        _read(body)
    return problems(caught.value, root="spec")


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.kind}: {wrong.id}")
def test_what_the_api_server_refuses_is_refused_here_too(wrong: Wrong) -> None:
    found = _problems(wrong.body())
    if wrong.rule:
        path = wrong.path.replace("[zone]", ".zone")
        assert [line for line in found if line.startswith(f"{path}: ") and wrong.message in line], found


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: f"{right.kind}: {right.id}")
def test_what_the_api_server_takes_is_read(right: Right) -> None:
    _read(right.body())


@pytest.mark.parametrize("wrong", NAMES, ids=lambda wrong: wrong.id)
def test_a_name_is_refused_in_the_same_words(wrong: Wrong) -> None:
    rule = SWEEP_NAME if wrong.kind == "Sweep" else EXPERIMENT_NAME
    problem = rule.problem(wrong.body()["metadata"]["name"])
    assert problem is not None
    assert wrong.message in problem
    assert rule.problem("a" * rule.limit) is None


@pytest.mark.parametrize("end", ["min", "max", "step"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
def test_numbers_that_json_cannot_say_are_refused(end: str, value: float) -> None:
    range_ = {"min": 0, "max": 1, end: value}
    body = sweep(
        {"spec.search": {"algorithm": "Random", "maxTrials": 5}, "spec.parameters": [{"name": "a", "range": range_}]}
    )
    assert _problems(body) == [f"spec.parameters[0].range.{end}: Input should be a finite number"]


def test_every_rule_is_broken_by_some_case() -> None:
    broken = "\n".join(line for wrong in WRONG if wrong.rule for line in _problems(wrong.body()))
    unproven = {rule.message for rule in _rules(Sweep) | _rules(Experiment) if rule.message not in broken}
    assert not unproven


def _rules(model: type[BaseModel]) -> set[Rule]:
    """All rules below a model: those of models and those of plain values."""
    found: set[Rule] = set()
    seen: set[Any] = set()

    def look(annotation: Any, metadata: Any) -> None:
        found.update(entry for entry in metadata if isinstance(entry, Rule))
        found.update(entry for entry in getattr(annotation, "__metadata__", ()) if isinstance(entry, Rule))
        for argument in getattr(annotation, "__args__", ()):
            look(argument, ())
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
            seen.add(annotation)
            found.update(rule for rule in getattr(annotation, "rules", ()) if isinstance(rule, Rule))
            for field in annotation.model_fields.values():
                look(field.annotation, field.metadata)

    look(model, ())
    assert found
    return found


def test_a_problem_says_where_and_what_would_be_right() -> None:
    body = sweep({"spec.search": {"algorithm": "Random", "maxTrials": 5}})
    body["spec"]["parameters"][1] = {"name": "lr", "range": {"min": 1, "max": 0.5}}
    body["spec"]["template"]["env"] = [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]
    assert _problems(body) == [
        "spec.parameters[1].range.max: min has to be below max",
        "spec.template.env[1].name: name 'A' stands twice",
    ]


def test_params_keep_their_nulls() -> None:
    spec = _read(experiment())
    assert isinstance(spec, ExperimentSpec)
    assert spec.params["model"] == {"architecture": "Unet", "encoder_weights": None}
