"""A user's file: read as kubectl reads it, changed by --set, checked before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.client.check import check
from orkhaven.client.errors import Invalid
from orkhaven.client.manifest import Setting, changed, problems, read
from orkhaven.client.plan import plan
from orkrun.contract import LABEL_SWEEP, LABEL_TRIAL
from tests.cli_world import Body, covid, params, trial
from tests.examples import EXAMPLES

HEAD = "apiVersion: orkhaven.io/v1alpha1\nkind: Experiment\nmetadata: {name: a}\nspec: {params: {x: %s}}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5e5", 150000.0),
        ("-7", -7),
        ("0x10", 16),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        ("null", None),
        ("'1'", "1"),
        ("true", True),
    ],
)
def test_values_are_what_kubectl_would_send(text: str, value: Any) -> None:
    (body,) = read(HEAD % text, name="f.yaml")
    found = body["spec"]["params"]["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "f.yaml:2: 'a' stands twice"),
        ("", "there is no Sweep and no Experiment in it"),
        ("- 1", "holds a list"),
        ("kind: Pod", "kind is 'Pod', not Sweep or Experiment"),
        ("kind: Sweep\napiVersion: v1", "it has to be orkhaven.io/v1alpha1"),
        ("a: [", "f.yaml:1"),
    ],
)
def test_a_file_that_is_none_says_where(text: str, said: str) -> None:
    with pytest.raises(Invalid) as error:
        read(text, name="f.yaml")
    assert said in str(error.value)


def _sweep() -> Body:
    return covid()[0]


def test_several_values_are_searched_and_one_is_fixed() -> None:
    body = changed(_sweep(), [Setting.parse("batch_size=2,4"), Setting.parse("optimizer.lr=1e-3")])
    names = {parameter["name"]: parameter["values"] for parameter in body["spec"]["parameters"]}
    assert names["batch_size"] == [2, 4]
    assert "optimizer.lr" not in names
    assert body["spec"]["template"]["params"] == {"epochs": 10, "optimizer": {"lr": 0.001}}
    assert _sweep()["spec"]["parameters"][1]["name"] == "optimizer.lr", "the argument is left alone"


def test_a_parameter_that_is_there_keeps_its_place_and_its_condition() -> None:
    body = _sweep()
    body["spec"]["parameters"][2]["when"] = {"model.architecture": ["Unet"]}
    after = changed(body, [Setting.parse("loss.name=dice,iou")])["spec"]["parameters"]
    assert after[2] == {"name": "loss.name", "values": ["dice", "iou"], "when": {"model.architecture": ["Unet"]}}


def test_one_value_of_a_conditional_parameter_is_not_fixed_where_it_does_not_belong() -> None:
    body = _sweep()
    body["spec"]["parameters"].append({"name": "loss.gamma", "values": [1, 2], "when": {"loss.name": ["focal"]}})
    made = changed(body, [Setting.parse("loss.gamma=3")])["spec"]
    assert made["parameters"][3] == {"name": "loss.gamma", "values": [3], "when": {"loss.name": ["focal"]}}
    assert made["template"]["params"] == {"epochs": 10}


@pytest.mark.parametrize(
    ("setting", "said"), [("x", "write name=value"), ("x=", "no value after"), ("x=[", "no values between commas")]
)
def test_a_wrong_setting_says_what_is_right(setting: str, said: str) -> None:
    with pytest.raises(Invalid) as error:
        Setting.parse(setting)
    assert said in str(error.value)


def test_an_experiment_takes_one_value_of_each() -> None:
    with pytest.raises(Invalid, match="several need a Sweep"):
        changed(trial("a"), [Setting.parse("optimizer.lr=1,2")])


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_have_no_problem(file: Any) -> None:
    assert [problem for body in read(file.read_text(), name=file.name) for problem in problems(body)] == []


def test_all_problems_are_told_with_their_path() -> None:
    body = _sweep()
    body["metadata"]["name"] = "Covid"
    body["spec"]["paralelism"] = 3
    body["spec"]["parameters"][0]["values"] = []
    found = "\n".join(problems(body))
    for path in ("metadata.name", "spec.paralelism", "spec.parameters[0].values"):
        assert path in found


# --- plan ---


def test_a_plan_tells_new_runs_from_identical_ones() -> None:
    sweep, *trials = covid()
    others = [
        trial("done", sweep=None, params=params("Unet", 1e-4, "focal")),
        trial("going", sweep=None, params=params("FPN", 1e-4), state="Running", reason="Training"),
        trial("dead", sweep="old", params=params("FPN", 1e-4, "focal"), state="Failed", reason="UserException"),
        trial("another-seed", sweep=None, params=params("FPN", 1e-4, "dice_ce")),
    ]
    others[-1]["spec"]["seed"] = 7
    found = plan(sweep, [*trials, *others])
    assert (found.trials, found.mine, found.done, found.open, found.failed, found.new) == (24, 7, 1, 1, 1, 14)
    assert found.sentence() == (
        "24 trials: 14 new, 7 made already, 1 identical to a run that has succeeded, "
        "1 identical to a run that is under way, 1 identical to a run that has failed"
    )


def test_of_a_search_that_learns_the_first_trials_are_compared_and_the_others_come_later() -> None:
    sweep = _sweep()
    sweep["spec"]["search"] = {"algorithm": "TPE", "maxTrials": 20}
    sweep["spec"]["parameters"] = [{"name": "lr", "range": {"min": 0, "max": 1}}]
    found = plan(sweep, [])
    assert found.sentence() == "20 trials: 10 new, 10 chosen later, by the results of these"
    assert (check(sweep).total, check(sweep).later) == (20, 10) or check(sweep).unchecked
    trials = [
        {
            "metadata": {"name": f"t{n}", "labels": {LABEL_SWEEP: sweep["metadata"]["name"], LABEL_TRIAL: str(n)}},
            "spec": {"params": {"lr": n}},
        }
        for n in range(10, 14)
    ]
    assert plan(sweep, trials).sentence() == (
        "20 trials: 10 new, 4 made already, 6 chosen later, by the results of these"
    )


def test_repeats_are_runs_of_their_own() -> None:
    sweep, *trials = covid()
    sweep["spec"]["search"] = {"algorithm": "Grid", "repeats": 3}
    sweep["spec"]["template"]["seed"] = 5
    same = trial("the-second-repeat", sweep=None, params=params("Unet", 1e-4, "focal"))
    same["spec"]["seed"] = 6
    found = plan(sweep, [*trials, same])
    assert (found.trials, found.done, found.mine, found.new) == (72, 1, 0, 71)


def test_a_large_search_is_counted_and_compared_as_far_as_it_goes() -> None:
    sweep = _sweep()
    sweep["spec"]["parameters"] = [{"name": f"p{i}", "values": list(range(100))} for i in range(4)]
    found = plan(sweep, [])
    assert (found.trials, found.new, found.uncompared) == (100_000_000, 20_000, 99_980_000)
