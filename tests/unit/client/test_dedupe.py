"""What `dedupe` would do, as it is said before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.client import plan as plans
from orkhaven.client.dedupe import without_cluster
from orkhaven.client.errors import Invalid
from orkhaven.client.plan import plan
from tests.cli_world import API_VERSION, NAMESPACE, OBJECTIVE, Body, trial

RATES = [1e-3, 1e-4, 1e-5, 1e-6, 1e-7]
OWN_TAG = "registry.example/trainer:1"


def _sweep(*, image: str | None = OWN_TAG, rates: list[float] = RATES, **spec: Any) -> Body:
    return {
        "apiVersion": API_VERSION,
        "kind": "Sweep",
        "metadata": {"name": "new", "namespace": NAMESPACE},
        "spec": {
            "objective": OBJECTIVE,
            "search": {"algorithm": "Grid", "order": "Sequential"},
            "parameters": [{"name": "lr", "values": rates}],
            "template": {"params": {"epochs": 3}, **({"image": image} if image else {})},
            **spec,
        },
    }


def _twin(name: str, rate: float, *, image: str | None = OWN_TAG, **more: Any) -> Body:
    """An Experiment that is the same run as the trial of that rate."""
    spec = more.pop("spec", {})
    made = trial(name, sweep=None, params={"epochs": 3, "lr": rate}, value=more.pop("value", 0.5), **more)
    made["spec"] |= {**({"image": image} if image else {}), **spec}
    return made


def _ended(count: int, **more: Any) -> list[Body]:
    return [_twin(f"run-{index}", rate, **more) for index, rate in enumerate(RATES[:count])]


RUNNING = {"state": "Running", "reason": "Training"}
BY_TAG = "dedupe Reuse (the default where the image's tag is one of its own): "
CASES: dict[str, tuple[Body, list[Body], list[str]]] = {
    "nothing is there": (_sweep(), [], []),
    "another run": (_sweep(), [_twin("run", 0.5)], []),
    "one that succeeded": (_sweep(), _ended(1), [BY_TAG + "1 takes over a result without a Job: run-0"]),
    "many": (_sweep(), _ended(5), [BY_TAG + "5 take over results without a Job: run-0, run-1, run-2 and 2 more"]),
    "of each kind": (
        _sweep(),
        [
            _twin("done", RATES[0]),
            _twin("going", RATES[1], **RUNNING),
            _twin("dead", RATES[2], state="Failed", reason="UserException"),
            _twin("stopped", RATES[3], state="Pruned", reason="EarlyStopped"),
        ],
        [
            BY_TAG + "1 takes over a result without a Job: done; 1 waits for a result: going; "
            "2 go on from the last checkpoints of dead, stopped"
        ],
    ),
    "the one that did the work is named, not its copy": (
        _sweep(),
        [_twin("copy", RATES[0], reason="Reused"), _twin("work", RATES[0]), _twin("copy-2", RATES[0], reason="Reused")],
        [BY_TAG + "1 takes over a result without a Job: work"],
    ),
    "one that succeeded counts before one that runs": (
        _sweep(),
        [_twin("going", RATES[0], **RUNNING), _twin("done", RATES[0])],
        [BY_TAG + "1 takes over a result without a Job: done"],
    ),
    "another objective": (
        _sweep(),
        [_twin("run", RATES[0], spec={"objective": {"metric": "val/iou"}})],
        [BY_TAG + "1 is run: another objective or output volume than run"],
    ),
    "the same objective, by its default direction": (
        _sweep(),
        [_twin("run", RATES[0], spec={"objective": {"metric": "val/dice"}})],
        [BY_TAG + "1 takes over a result without a Job: run"],
    ),
    "another output volume": (
        _sweep(),
        [_twin("run", RATES[0], spec={"output": {"claim": "elsewhere"}})],
        [BY_TAG + "1 is run: another objective or output volume than run"],
    ),
    "a skipped one has nothing": (_sweep(), [_twin("run", RATES[0], state="Skipped", reason="Duplicate")], []),
    "Skip": (
        _sweep(dedupe="Skip"),
        [*_ended(2), _twin("dead", RATES[2], state="Failed", reason="UserException")],
        ["dedupe Skip (as the spec says): 3 are not run: identical to run-0, run-1, dead"],
    ),
    "Never": (
        _sweep(dedupe="Never"),
        _ended(2),
        ["dedupe Never (as the spec says): 2 are run again, each in a folder of its own: run-0, run-1"],
    ),
    "a tag that moves": (
        _sweep(image="trainer:latest"),
        _ended(1, image="trainer:latest"),
        [
            "dedupe Never (the default where the image's tag is latest or none): "
            "1 is run again, in a folder of its own: run-0"
        ],
    ),
    "the operator's default, which an earlier run tells": (
        _sweep(image=None),
        _ended(1, image=None, attemptCount=1),
        [
            "dedupe Reuse (the operator's default, by its image, as for run-0): "
            "1 takes over a result without a Job: run-0"
        ],
    ),
    "the operator's default, which a copy tells": (
        _sweep(image=None),
        [_twin("copy", 0.5, image=None, reason="Reused", outputFolder="0123-4567"), *_ended(1, image=None)],
        [
            "dedupe Reuse (the operator's default, by its image, as for copy): "
            "1 takes over a result without a Job: run-0"
        ],
    ),
    "that default has changed: the latest run tells": (
        _sweep(image=None),
        [
            *_ended(1, image=None, attemptCount=1),
            _twin("later", 0.5, image=None, attemptCount=1, outputFolder="0123-4567"),
        ],
        [
            "dedupe Never (the operator's default, by its image, as for later): "
            "1 is run again, in a folder of its own: run-0"
        ],
    ),
    "nobody knows the operator's default": (
        _sweep(image=None),
        _ended(1, image=None, spec={"dedupe": "Reuse"}),
        [
            "dedupe is not set: where the operator's default image has a tag of its own, Reuse answers by run-0; where "
            "that is latest or none, Never runs them again"
        ],
    ),
}


@pytest.mark.parametrize(("body", "there", "notes"), CASES.values(), ids=CASES)
def test_it_is_said_what_becomes_of_identical_runs(body: Body, there: list[Body], notes: list[str]) -> None:
    assert plan(body, there).notes == notes


def test_one_that_is_being_deleted_is_as_good_as_gone() -> None:
    (going,) = _ended(1)
    going["metadata"]["deletionTimestamp"] = "2026-09-01T12:00:00Z"
    found = plan(_sweep(), [going])
    assert (found.new, found.notes) == (5, [])


def test_a_sweep_s_own_trials_are_no_twins() -> None:
    own = trial("new-1", sweep="new", params={"epochs": 3, "lr": RATES[0]}, value=0.5)
    own["spec"]["image"] = OWN_TAG
    found = plan(_sweep(), [own, *_ended(1)])
    assert (found.mine, found.done, found.notes) == (1, 0, [])


def test_an_experiment_of_its_own_is_told_too() -> None:
    (there,) = _ended(1)
    mine = {**there, "metadata": {"name": "mine"}}
    found = plan(mine, [there])
    assert found.sentence() == "1 trial: 1 identical to a run that has succeeded"
    assert found.notes == [BY_TAG + "1 takes over a result without a Job: run-0"]


def test_of_a_huge_search_it_is_said_how_far_it_was_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST_COMPARED", 3)
    found = plan(_sweep(), _ended(5))
    assert found.uncompared == 2
    assert found.notes == [
        BY_TAG.replace("): ", "), of the first 3: ") + "3 take over results without a Job: run-0, run-1, run-2"
    ]


def _listed(*trials: Body) -> Body:
    body = _sweep(search={"algorithm": "List"}, trials=list(trials))
    del body["spec"]["parameters"]
    return body


def test_trials_of_a_list_that_are_the_same_are_told_beforehand() -> None:
    body = _listed({"lr": 1}, {"lr": 2}, {"lr": 1.0}, {"epochs": 3, "lr": 2})
    twice = "spec.trials: trials[0] and trials[2], trials[1] and trials[3] are the same: each is run once"
    assert plan(body, []).notes == [twice]
    assert plan(body, []).trials == 2
    assert without_cluster(body)[0] == twice


def test_a_trial_that_sets_a_place_twice_is_refused() -> None:
    with pytest.raises(Invalid, match=r"spec.trials\[0\]: a and a.b set the same place"):
        without_cluster(_listed({"a.b": 1, "a": 2}))


WITHOUT: dict[str, tuple[Body, str]] = {
    "Reuse": (_sweep(), "dedupe Reuse (the default where the image's tag is one of its own): runs that"),
    "Skip": (_sweep(dedupe="Skip"), "dedupe Skip (as the spec says): trials that the namespace has already are not"),
    "Never": (_sweep(image="a/b"), "dedupe Never (the default where the image's tag is latest or none): runs that"),
    "by the operator": (_sweep(image=None), "dedupe is not set: runs that the namespace has already are not paid for"),
}


@pytest.mark.parametrize(("body", "says"), WITHOUT.values(), ids=WITHOUT)
def test_without_a_cluster_the_rule_is_told(body: Body, says: str) -> None:
    (said,) = without_cluster(body)
    assert said.startswith(says)
    assert said.endswith("kubectl ork submit --dry-run says which they are")
