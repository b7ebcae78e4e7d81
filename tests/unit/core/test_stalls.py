"""Attempts that never start, and those of which nothing is heard any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.core.world import DEFAULTS, DONE, START, World, make_experiment, make_node, stamp


def silence(world: World, *, since: float, until: float, step: int = 7, pace: float | None = 20, **more: Any) -> World:
    """What the hub writes; `since` and `until` in minutes from START."""
    return world.hub(
        progress={
            "step": step,
            "silent": {
                "since": stamp(START + timedelta(minutes=since)),
                "until": stamp(START + timedelta(minutes=until)),
            },
            **({} if pace is None else {"secondsPerStep": pace}),
            **more,
        }
    )


def running(**spec: Any) -> World:
    """Its container has started at START."""
    world = World(make_experiment(**spec))
    world.nodes["n2"] = make_node("n2")
    return world.run(0)


class TestSilence:
    @pytest.mark.parametrize(
        ("spec", "told", "reason"),
        [
            ({}, {"since": 10, "until": 39}, None),
            ({}, {"since": 10, "until": 40}, "Stalled"),
            ({}, {"since": 10, "until": 40, "pace": 200}, None),
            ({}, {"since": 10, "until": 44, "pace": 200}, "Stalled"),
            ({}, {"since": 10, "until": 900, "pace": None}, None),
            ({}, {"since": -60, "until": 29}, None),
            ({}, {"since": -60, "until": 30}, "HungAtStart"),
            ({"stallTimeout": "5m"}, {"since": 10, "until": 14}, None),
            ({"stallTimeout": "5m"}, {"since": 10, "until": 15}, "Stalled"),
            ({"stallTimeout": "5m"}, {"since": 0, "until": 5, "step": 0, "pace": None}, "HungAtStart"),
            ({"stallTimeout": "2h"}, {"since": 10, "until": 100}, None),
        ],
        ids=str,
    )
    def test_how_long_is_too_long(self, spec: dict[str, Any], told: dict[str, Any], reason: str | None) -> None:
        world = running(**spec)
        silence(world, **told)
        world.now = START + timedelta(minutes=told["until"])
        world.settle()
        assert world.status["attempts"][0].get("reason") == reason

    def test_where_it_is_switched_off_only_those_with_a_time_of_their_own(self) -> None:
        for spec, ends in (({}, False), ({"stallTimeout": "1h"}, True)):
            world = running(**spec)
            world.defaults = replace(DEFAULTS, stall_seconds=0)
            silence(world, since=10, until=500).settle()
            assert ("reason" in world.status["attempts"][0]) is ends

    def test_without_a_word_of_the_hub_nothing_is_known(self) -> None:
        world = running(stallTimeout="1m")
        world.wait(1e6).settle()
        assert world.seen == ("Running", "Training")

    def test_it_is_stopped_and_tried_once_more_elsewhere_with_what_was_last_seen(self) -> None:
        world = running()
        silence(world, since=10, until=50, totalSteps=60).wait(50 * 60)
        world.look()
        assert "x-1" in world.jobs, "first its end is written"
        world.settle()
        assert "x-1" not in world.jobs, "then it is stopped"
        assert world.status["attempts"][0]["message"] == (
            "neither a report nor a line of its log in 40 min; last heard at 12:10:00 UTC on node n1, after step 7 of "
            "60, and steps took 20 s"
        )
        assert world.seen == ("Queued", "WaitingForRetry")
        world.exit(143, job=False).wait(60).settle()
        assert world.status["attempts"][-1] == {"number": 2, "job": "x-2", "avoid": ["n1"]}
        began = world.now
        world.release().start(node="n2").settle()
        assert world.seen == ("Running", "Training"), "the silence of the first attempt is not its own"
        world.wait(3600)
        silence(world, since=10, until=(began - START).total_seconds() / 60 + 31).settle()
        assert world.seen == ("Queued", "WaitingForRetry")
        assert [a["reason"] for a in world.status["attempts"]] == ["Stalled", "HungAtStart"]

    def test_one_that_has_done_all_its_steps_and_does_not_end(self) -> None:
        world = running()
        silence(world, since=10, until=50, step=60, totalSteps=60).wait(50 * 60).settle()
        assert "after all of its 60 steps, but it has not ended" in world.status["attempts"][0]["message"]

    def test_what_ended_by_itself_meanwhile_keeps_its_result(self) -> None:
        world = running()
        silence(world, since=10, until=50).wait(50 * 60).exit(0, DONE).settle()
        assert world.seen == ("Succeeded", "Completed")


class TestTheStart:
    def waits(self, world: World, *, sandbox: bool | None) -> World:
        world.settle()
        world.release().start().waits("ContainerCreating")
        if sandbox is not None:
            world.pod["status"]["conditions"] = [
                {"type": "PodReadyToStartContainers", "status": "True" if sandbox else "False"}
            ]
        return world

    @pytest.mark.parametrize(
        ("sandbox", "doing", "reason", "words"),
        [
            (False, "mounts its volumes", "VolumeTimeout", "volumes or network were not ready after 30 min on node n1"),
            (True, "pulls its image", "ImagePull", "image trainer:1 was not there after 30 min on node n1"),
            (None, "mounts its volumes, pulls its image", "ImagePull", "or the container could not be made"),
        ],
        ids=["volume", "image", "an older kubelet does not say"],
    )
    def test_a_container_that_does_not_come(self, sandbox: bool | None, doing: str, reason: str, words: str) -> None:
        world = self.waits(World(), sandbox=sandbox)
        plan = world.look()
        assert plan.requeue_after == 1800
        assert world.status["message"] == f"on node n1: {doing}"
        world.wait(1799).settle()
        assert world.seen == ("Starting", "ContainerCreating")
        world.wait(1).settle()
        (attempt, *_) = world.status["attempts"]
        assert (attempt["reason"], words in attempt["message"]) == (reason, True)
        assert "x-1" not in world.jobs
        assert "retryAt" in world.status
