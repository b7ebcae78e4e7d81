"""What a run said in its log counts where its last words leave the cause open, and only there is it read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orkhaven.core.actions import ReadPod
from orkhaven.core.failures.excerpt import LINES
from orkhaven.core.views import Heard, PodEvent, ReadState
from tests.unit.core.world import START, Body, World, record

READ = ReadState.READ
SHAPES = (
    "Traceback (most recent call last):\n"
    '  File "/app/models/unet.py", line 12, in forward\n'
    "    x = self.up(x) + skip\n"
    "RuntimeError: The size of tensor a (64) must match the size of tensor b (32) at non-singleton dimension 3\n"
)
OTHER_RANKS = "\n".join(f"[rank{n}]: step {n} of the other ranks, which is of no use to anybody" for n in range(60))
WRAPPER = (
    "Traceback (most recent call last):\n"
    '  File "/opt/venv/bin/torchrun", line 8, in <module>\n'
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: train.py FAILED\n"
)
CUT = (
    "    return self.inner(x)\nDuring handling of the above exception, another exception occurred:\n\n"
    "Traceback (most recent call last):\n"
    + '  File "/app/a.py", line 1, in f\n' * 60
    + "RuntimeError: it did not work\n"
)


def world_of(message: str = "", *, code: int = 1, log: Heard | None = None, reason: str | None = None) -> World:
    """One whose run has ended so, not looked at yet. `log`: what reading brings."""
    world = World()
    world.run()
    if log is not None:
        world.said[world.pod["metadata"]["name"]] = log
    world.exit(code, message, reason=reason)
    return world


def logged(text: str) -> Heard:
    return Heard(log_state=READ, log_tail=text)


def asked(world: World) -> list[tuple[bool, bool]]:
    """(log, events) of what it asked for."""
    return [(read.log, read.events) for read in world.asked]


@pytest.mark.parametrize(
    ("message", "code", "reads"),
    [
        ("", 1, [(True, True)]),
        ("epoch 3\nepoch 4", 1, [(True, False)]),
        ("", 139, [(True, True)]),
        ("", 143, [(True, True)]),
        (WRAPPER, 1, [(True, False)]),
        (CUT, 1, [(True, False)]),
        (SHAPES, 1, []),
        ("ValueError: no", 1, []),
        ("CUDA out of memory. Tried to allocate 2 GiB", 1, []),
        (record("Failed", failure={"type": "builtins.KeyError", "message": "'encoder'"}), 70, []),
        (record("Failed", failure={"type": "orkrun.InvalidParams", "message": "lr: below 0"}), 64, []),
        (record("Failed"), 70, [(True, True)]),
        (record("Succeeded", metrics={"loss": {"last": 1.0}}), 0, []),
    ],
    ids=[
        "nothing said",
        "nothing telling",
        "a crash without a word",
        "a signal of which nobody knows",
        "only that another process failed",
        "a chain whose beginning is missing",
        "a traceback",
        "an exception",
        "words that are known",
        "a record with its exception",
        "a record of the contract",
        "a record without a failure",
        "no objective, but a record",
    ],
)  # fmt: skip
def test_the_log_is_asked_for_where_the_cause_is_open(message: str, code: int, reads: list[tuple[bool, bool]]) -> None:
    world = world_of(message, code=code)
    world.settle()
    assert asked(world) == reads


def test_what_the_machine_did_is_never_looked_up_in_a_log() -> None:
    killed = world_of(code=137, reason="OOMKilled")
    killed.settle()
    evicted = World()
    evicted.run().disrupt("EvictionByEvictionAPI").exit(143)
    evicted.settle()
    assert asked(killed) == asked(evicted) == []


def test_nothing_is_written_before_it_is_read_and_then_the_end_once() -> None:
    world = world_of("epoch 4", log=logged(f"{SHAPES}epoch 4"))
    before = dict(world.status)
    plan = world.plan()
    (read,) = plan.actions
    assert isinstance(read, ReadPod)
    assert (plan.status, plan.notes, world.status) == (None, (), before)
    assert plan == world.plan(), "asked for again, e.g. after a restart, it is the same"
    status = world.settle()
    assert (status["state"], status["reason"], len(asked(world))) == ("Failed", "ShapeMismatch", 1)


def test_the_cause_its_place_and_its_excerpt_come_from_the_log_whatever_came_after_it() -> None:
    world = world_of(OTHER_RANKS[-2000:], log=logged(f"{SHAPES}{OTHER_RANKS}"))
    failure = world.settle()["failure"]
    assert failure["reason"] == "ShapeMismatch"
    assert failure["signature"].endswith("(models/unet.py forward)")
    lines = failure["excerpt"].splitlines()
    assert "RuntimeError: The size of tensor a (64)" in failure["excerpt"]
    assert len(lines) <= LINES

    direct = world_of(SHAPES)
    assert direct.settle()["failure"]["cluster"] == failure["cluster"], "the same bug, however it was read"


def test_an_exception_is_found_in_the_whole_of_what_is_read() -> None:
    tail = "\n".join(f"[rank{n % 8}]: NCCL INFO comm 0x{n:x} aborted" for n in range(1000))
    assert 32 * 1024 < len(tail) < 60 * 1024
    world = world_of(tail[-2000:], log=logged(f"{SHAPES}{tail}"))
    assert world.settle()["reason"] == "ShapeMismatch"


def test_a_log_that_cannot_be_read_changes_nothing() -> None:
    world = world_of("epoch 4\nit is over")
    status = world.settle()
    assert (status["state"], len(asked(world))) == ("Queued", 1), "as any other exception, which is tried again"
    assert status["attempts"][0]["reason"] == "UserException"
    assert status["failure"]["excerpt"] == "epoch 4\nit is over"


def test_where_reading_is_turned_off_nothing_is_asked_for() -> None:
    world = world_of("epoch 4")
    world.defaults = replace(world.defaults, read_seconds=0)
    world.settle()
    assert asked(world) == []


def test_a_node_that_does_not_answer_is_not_asked() -> None:
    world = world_of("epoch 4")
    world.nodes["n1"]["status"]["conditions"][0]["status"] = "Unknown"
    world.settle()
    assert asked(world) == []


# --- Events -----------------------------------------------------------------------------------------------------------


def warned(reason: str, message: str, *, seconds: float = 0) -> Heard:
    return Heard(
        events_state=READ, events=(PodEvent(reason=reason, message=message, at=START + timedelta(seconds=seconds)),)
    )


def unstarted(heard: Heard | None = None) -> World:
    """Its volumes do not come."""
    world = World()
    world.settle()
    world.release().start()
    pod: Body = world.pod
    if heard is not None:
        world.said[pod["metadata"]["name"]] = heard
    pod["status"] = {
        "phase": "Pending",
        "startTime": pod["status"]["startTime"],
        "conditions": [{"type": "PodReadyToStartContainers", "status": "False"}],
    }
    return world


def test_a_volume_that_does_not_come_is_named_by_the_events_of_the_pod() -> None:
    world = unstarted(warned("FailedMount", 'MountVolume.SetUp failed for volume "results": nfs timed out'))
    world.settle()
    world.wait(1801).settle()
    (attempt,) = world.status["attempts"]
    assert attempt["reason"] == "VolumeTimeout"
    assert (
        'last warning: FailedMount: MountVolume.SetUp failed for volume "results": nfs timed out' in attempt["message"]
    )
    assert asked(world) == [(False, True)]


def test_without_events_the_same_cause_is_told() -> None:
    world = unstarted()
    world.wait(1801).settle()
    assert world.status["attempts"][0]["reason"] == "VolumeTimeout"
    assert "warning" not in world.status["attempts"][0]["message"]


def test_of_a_run_that_said_nothing_the_warnings_since_its_start_count() -> None:
    told = "failed to write the exit file: no space left on device"
    world = world_of(log=warned("FailedKill", told, seconds=30))
    world.settle()
    assert world.status["attempts"][0]["reason"] == "DiskFull"
    early = world_of(log=warned("FailedMount", told, seconds=-30))
    early.settle()
    assert early.status["attempts"][0]["reason"] == "UserException", "that was got over: it did run then"
