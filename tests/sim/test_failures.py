"""Failures through the whole operator: clusters in a sweep's status, the users' rules, and crashes in between."""

from __future__ import annotations

import json

import pytest

from orkhaven.engine.rule_book import LABEL_RULES
from orkrun.contract import ANNOTATION_CONFIG
from tests.sim.cluster import Body, drive
from tests.sim.harness import NAMESPACE, Crash, Simulation, all_succeed
from tests.sim.world import World

FORWARD = '  File "/app/models/unet.py", line {line}, in forward\n    x = self.up(x) + skip\n'
WRONG_SHAPE = (
    "Traceback (most recent call last):\n"
    + FORWARD
    + "RuntimeError: The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension 3\n"
)
WRONG_KEY = "Traceback (most recent call last):\n  File \"/app/train.py\", line 12, in main\nKeyError: 'encoder'\n"


def lr_of(pod: Body) -> int:
    return int(json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])["params"]["lr"])


def three_bugs(world: World, pod: Body) -> None:
    """By learning rate: from 10 on shapes that do not fit, 7 a wrong key, 8 no memory; the others end well."""
    lr = lr_of(pod)
    if lr >= 10:
        world.end(pod, exit_code=1, message=WRONG_SHAPE.format(line=lr, a=lr * 2, b=lr))
    elif lr == 7:
        world.end(pod, exit_code=1, message=WRONG_KEY)
    elif lr == 8:
        world.out_of_memory(pod)
    else:
        all_succeed(world, pod)


def apply(sim: Simulation, *, trials: int = 16) -> None:
    sim.apply_sweep(parameters=[{"name": "lr", "values": list(range(1, trials + 1))}], template={"retry": {"limit": 0}})


def summary(sim: Simulation) -> list[tuple[str, int]]:
    return [(one["reason"], one["count"]) for one in sim.sweep()["status"]["failureClusters"]]


def test_each_bug_is_one_cluster_with_what_its_trials_have_in_common() -> None:
    sim = Simulation()
    apply(sim)
    sim.settle(three_bugs)
    shapes, *others = sim.sweep()["status"]["failureClusters"]
    assert summary(sim)[0] == ("ShapeMismatch", 7)
    assert {(one["reason"], one["count"]) for one in others} == {("UserException", 1), ("OutOfMemoryKilled", 1)}
    assert shapes["signature"].startswith("RuntimeError: The size of tensor a (#) must match the size of tensor b (#)")
    assert shapes["correlates"][0]["text"] == "lr>=10 in 7/7, 0/7 of the successful"
    assert shapes["nodes"] == [{"name": "node-a", "count": 7}]
    assert shapes["retryable"] is False
    assert shapes["firstSeen"] <= shapes["lastSeen"]
    of_trials = {body["status"]["failure"]["cluster"] for body in sim.cluster.all("Experiment") if lr(body) >= 10}
    assert of_trials == {shapes["id"]}
    sim.check_quiet()


def lr(experiment: Body) -> int:
    return int(experiment["spec"]["params"]["lr"])


def test_there_is_one_event_a_cluster() -> None:
    sim = Simulation()
    apply(sim)
    sim.settle(three_bugs)
    told = [note.message for kind, _, note in sim.events.said if kind == "Sweep" and note.reason == "TrialFailed"]
    assert len(told) == 3


@pytest.mark.parametrize("nth", range(0, 40, 3))
def test_a_crash_at_any_write_makes_no_other_clusters(nth: int) -> None:
    calm = Simulation()
    apply(calm, trials=11)
    calm.settle(three_bugs)

    sim = Simulation()
    apply(sim, trials=11)
    writes = 0

    def after(verb: str, kind: str, key: tuple[str, str]) -> None:
        nonlocal writes
        writes += 1
        if writes == nth + 1:
            raise Crash

    sim.cluster.after = after
    sim.settle_over_crashes(three_bugs)
    seen = [{k: v for k, v in one.items() if "Seen" not in k} for one in sim.sweep()["status"]["failureClusters"]]
    expected = [{k: v for k, v in one.items() if "Seen" not in k} for one in calm.sweep()["status"]["failureClusters"]]
    assert sorted(seen, key=lambda one: str(one["id"])) == sorted(expected, key=lambda one: str(one["id"]))
    sim.check_quiet()


def test_a_rule_of_the_namespace_names_the_cause() -> None:
    sim = Simulation()
    rules = '[{name: encoder, pattern: "KeyError: .encoder", reason: OldConfig, suggestion: Take the new config.}]'
    sim.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": NAMESPACE, "name": "rules", "labels": {LABEL_RULES: "true"}},
            "data": {"rules.yaml": rules},
        }
    )
    drive(sim.engine.rules.look())
    apply(sim, trials=8)
    sim.settle(three_bugs)
    clusters = {one["reason"]: one for one in sim.sweep()["status"]["failureClusters"]}
    assert set(clusters) == {"OldConfig", "OutOfMemoryKilled"}
    assert clusters["OldConfig"]["suggestion"] == "Take the new config."
    assert clusters["OldConfig"]["message"].endswith("KeyError: 'encoder' (rule encoder)")
    ended = [attempt for one in sim.cluster.all("Experiment") for attempt in one["status"]["attempts"]]
    assert {(attempt["reason"], attempt.get("rule")) for attempt in ended if attempt["reason"] != "Completed"} == {
        ("OldConfig", "encoder"),
        ("OutOfMemoryKilled", None),
    }


def test_a_rule_that_is_wrong_stops_neither_the_others_nor_the_operator() -> None:
    sim = Simulation()
    sim.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"namespace": NAMESPACE, "name": "rules", "labels": {LABEL_RULES: "true"}},
            "data": {"rules.yaml": "- {name: a, pattern: '(', reason: X}\n- {name: b, pattern: encoder, reason: Y}\n"},
        }
    )
    drive(sim.engine.rules.look())
    apply(sim, trials=8)
    sim.settle(three_bugs)
    assert {reason for reason, _ in summary(sim)} == {"Y", "OutOfMemoryKilled"}
    (told,) = [note for kind, _, note in sim.events.said if kind == "ConfigMap"]
    assert told.reason == "InvalidRule"
