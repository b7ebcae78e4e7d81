"""The circuit breaker of a sweep, and which failures count towards its end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orkhaven.api.policy import held_reason, resumed
from orkhaven.api.retry import AvoidedNode
from orkhaven.core.parse import parse_experiment
from orkhaven.core.sweep import plan_sweep
from tests.unit.core.world import START, SweepWorld, make_sweep

STOPPED = ("True", "StoppedOnCluster")
GOING = ("False", "NotSuspended")


def sweep(count: int = 40, *, rule: dict[str, Any] | None = None, **spec: Any) -> SweepWorld:
    policy = {"stopOnCluster": {"minFailures": 3, "share": 0.5} if rule is None else rule}
    return SweepWorld(
        make_sweep(
            parameters=[{"name": "lr", "values": list(range(count))}],
            **({"parallelism": 2, "failurePolicy": policy} | spec),
        )
    )


def suspended(world: SweepWorld) -> tuple[str, str]:
    (found,) = (one for one in world.status["conditions"] if one["type"] == "Suspended")
    return found["status"], found["reason"]


def message(world: SweepWorld) -> str:
    (found,) = (one for one in world.status["conditions"] if one["type"] == "Suspended")
    return str(found.get("message", ""))


def play(world: SweepWorld, ends: str) -> None:
    """One trial after the other ends: s(ucceeded), p(runed), o(ut of memory), b(roken), each a minute later."""
    for end in ends:
        world.settle()
        waiting = [n for n in world.by_trial() if world.children[n].get("status", {}).get("state") in (None, "Queued")]
        assert waiting, "no trial is left to end"
        world.now += timedelta(minutes=1)
        if end == "p":
            world.set(waiting[0], "Pruned")
            world.children[waiting[0]]["status"]["completionTime"] = world.now.isoformat()
        else:
            reason = {"o": "OutOfMemoryKilled", "b": "UserException"}.get(end, "")
            world.end(waiting[0], 0.5 if end == "s" else None, reason=reason)
    world.settle()


@pytest.mark.parametrize(
    ("ends", "stops"),
    [
        ("oo", False),
        ("ooo", True),
        ("obobo", True),
        ("sssooo", True),
        ("ossosso", False),
        ("osspspo", False),
        ("ppoppoo", True),
        ("ooosss", True),
        ("obsobs", False),
    ],
)
def test_one_cause_behind_half_of_the_last_six_stops_it(ends: str, stops: bool) -> None:
    world = sweep()
    made = 0
    for end in ends:
        if suspended(world)[0] == "True" if world.status else False:
            break
        play(world, end)
        made = len(world.children)
    assert suspended(world) == (STOPPED if stops else GOING)
    if stops:
        world.settle()
        assert len(world.children) == made, "no more are made"


def test_it_says_what_it_died_of_and_what_to_do_and_holds_those_that_wait() -> None:
    world = sweep()
    play(world, "s")
    running = world.by_trial()[1]
    world.set(running, "Running")
    play(world, "ooo")
    assert suspended(world) == STOPPED
    said = message(world)
    cluster = world.status["failureClusters"][0]["id"]
    assert said.startswith(
        f"3 of the last 4 trials failed of OutOfMemoryKilled (cluster {cluster}), no more are started: "
    )
    assert "Raise resources.memory" in said
    assert "kubectl ork resume" in said
    assert world.events.count("StoppedOnCluster") == 1
    assert world.status["state"] == "Running", "one still runs"
    assert not world.children[running]["spec"].get("suspend")
    waiting = [n for n in world.by_trial() if "status" not in world.children[n]]
    assert waiting
    assert all(world.children[name]["spec"]["suspend"] for name in waiting)
    for name in waiting:
        world.set(name, "Suspended")
    world.end(running, 0.7)
    world.settle()
    assert world.status["state"] == "Suspended"


def test_that_it_was_stopped_is_remembered_before_anything_is_held() -> None:
    world = sweep()
    play(world, "oo")
    waiting = next(n for n in world.by_trial() if "status" not in world.children[n])
    world.end(waiting, None, reason="OutOfMemoryKilled")
    plan = world.look()
    assert plan.actions == ()
    assert suspended(world) == STOPPED
    assert world.look().actions, "now they are held"


def test_runs_that_still_end_well_do_not_start_it_again() -> None:
    world = sweep(parallelism=8)
    world.settle()
    running = world.by_trial()[:8]
    for name in running:
        world.set(name, "Running")
    for name in running[:3]:
        world.end(name, None, reason="OutOfMemoryKilled")
    world.settle()
    said = message(world)
    for name in running[3:]:
        world.now += timedelta(minutes=1)
        world.end(name, 0.5)
        world.settle()
    assert suspended(world) == STOPPED
    assert message(world) == said, "though it is three of the last eight by now"


def test_resume_lets_it_go_on_and_what_fails_from_then_on_counts() -> None:
    world = sweep()
    play(world, "ooo")
    assert held_reason(world.status) == "StoppedOnCluster"
    world.now += timedelta(minutes=5)
    patch = resumed(world.status, now=world.now)
    assert patch == {
        "suspend": False,
        "failurePolicy": {"stopOnCluster": {"since": world.now.isoformat().replace("+00:00", "Z")}},
    }
    world.patch(failurePolicy={"stopOnCluster": {"minFailures": 3} | patch["failurePolicy"]["stopOnCluster"]})
    world.settle()
    assert suspended(world) == GOING
    assert not any(child["spec"].get("suspend") for child in world.children.values())
    assert held_reason(world.status) is None
    play(world, "oo")
    assert suspended(world) == GOING
    play(world, "o")
    assert suspended(world) == STOPPED
    assert world.events.count("StoppedOnCluster") == 2


def test_a_clock_that_is_behind_resumes_all_the_same() -> None:
    world = sweep()
    play(world, "ooo")
    since = resumed(world.status, now=START - timedelta(days=1))["failurePolicy"]["stopOnCluster"]["since"]
    world.patch(failurePolicy={"stopOnCluster": {"minFailures": 3, "since": since}})
    world.settle()
    assert suspended(world) == GOING


def test_without_the_rule_it_goes_on() -> None:
    world = sweep()
    play(world, "ooo")
    world.patch(failurePolicy={})
    world.settle()
    assert suspended(world) == GOING


def test_a_person_suspends_a_stopped_sweep_and_takes_that_back() -> None:
    world = sweep()
    play(world, "ooo")
    world.patch(suspend=True)
    world.settle()
    assert suspended(world) == ("True", "SpecSuspend")
    world.patch(suspend=False)
    world.settle()
    assert suspended(world) == STOPPED


def test_a_sweep_of_which_everything_has_ended_is_over_not_stopped() -> None:
    world = sweep(3, parallelism=3)
    play(world, "ooo")
    assert world.status["state"] == "Failed"
    assert suspended(world) == GOING


class TestMaxFailedTrials:
    def test_what_is_the_clusters_does_not_count(self) -> None:
        world = sweep(failurePolicy={"maxFailedTrials": 1}, parallelism=4)
        world.settle()
        names = world.by_trial()
        for name, reason in zip(names, ("GpuHardware", "Infrastructure", "NodeLost", "UserException"), strict=False):
            world.end(name, None, reason=reason)
        world.settle()
        assert world.status["state"] == "Running"
        world.end(world.by_trial()[4], None, reason="DataError")
        world.settle()
        (running,) = (one for one in world.status["conditions"] if one["type"] == "Running")
        assert running["reason"] == "MaxFailedTrials"
        assert running["message"].startswith(
            "2 trials failed (3 more failed of what is the cluster's, and do not count)"
        )


class TestAvoidedNodes:
    def test_they_are_said_once_and_until_when(self) -> None:
        world = sweep()
        world.settle()
        node = AvoidedNode(node="a", reason="GpuHardware", experiments=3, until=START + timedelta(minutes=20))

        def look(*nodes: AvoidedNode) -> Any:
            return plan_sweep(
                world.view(),
                children=[parse_experiment(body) for body in world.children.values()],
                defaults=world.defaults,
                now=world.now,
                avoided=nodes,
            )

        plan = look(node)
        assert plan.status["avoidedNodes"] == [
            {"node": "a", "reason": "GpuHardware", "experiments": 3, "until": "2026-03-01T12:20:00Z"}
        ]
        assert plan.requeue_after == 20 * 60
        (note,) = plan.notes
        assert note.message == (
            "node a: GpuHardware in 3 experiments within an hour; runs go past it until 12:20:00 UTC, where another "
            "node fits"
        )
        world.sweep["status"] = plan.status
        assert look(node).notes == ()
        assert "avoidedNodes" not in look().status
