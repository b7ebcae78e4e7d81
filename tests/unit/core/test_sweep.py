"""A Sweep: lazy expansion, what its children add up to, and when it is over."""

from __future__ import annotations

from tests.unit.core.world import SweepWorld, make_sweep


def grid(count: int, **spec: object) -> SweepWorld:
    return SweepWorld(make_sweep(parameters=[{"name": "lr", "values": list(range(count))}], **spec))


class TestExpansion:
    def test_as_many_as_may_run_and_a_few_that_wait(self) -> None:
        world = grid(48, parallelism=3)
        world.settle()
        assert len(world.children) == 3 + world.defaults.lookahead
        assert world.status["trials"]["total"] == 48
        assert world.status["progress"] == "0/48"
        assert world.status["state"] == "Running"
        assert world.events == ["Started"]

    def test_an_ended_one_makes_room_for_the_next(self) -> None:
        world = grid(48, parallelism=3)
        world.settle()
        world.end(world.by_trial()[0], 0.5)
        world.settle()
        assert len(world.children) == 6
        assert world.status["progress"] == "1/48"
        assert world.status["best"]["value"] == 0.5
        assert world.status["best"]["params"] == {"lr": 0}
        assert world.status["gpuHours"] == {"succeeded": 1.0, "failed": 0.0, "running": 0.0, "total": 1.0}

    def test_a_child_deleted_by_hand_is_made_again_under_its_name(self) -> None:
        world = grid(4, parallelism=4)
        world.settle()
        names = world.by_trial()
        del world.children[names[2]]
        world.settle()
        assert world.by_trial() == names

    def test_all_ended_and_one_succeeded_is_success(self) -> None:
        world = grid(3, parallelism=3)
        world.settle()
        for name, value in zip(world.by_trial(), (0.5, None, 0.7), strict=True):
            world.end(name, value)
        world.settle()
        assert world.status["state"] == "Succeeded"
        assert [row["value"] for row in world.status["leaderboard"]] == [0.7, 0.5]
        (cluster,) = world.status["failureClusters"]
        assert (cluster["reason"], cluster["count"]) == ("UserException", 1)
        assert world.plan().status is None
