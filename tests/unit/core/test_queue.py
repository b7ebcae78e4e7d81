"""The queue: order, places, limits."""

from __future__ import annotations

from orkhaven.core.parse import parse_job
from orkhaven.core.queue import plan_queue, request_of
from tests.unit.core.world import START, World, make_experiment, make_node, node_views


def test_first_come_first_served_while_there_is_room() -> None:
    requests = []
    for name in ("b", "a", "c"):
        world = World(make_experiment(name, resources={"gpus": 2}))
        world.settle()
        request = request_of(world.view(), parse_job(world.job))
        assert request is not None
        requests.append(request)
    plan = plan_queue(
        nodes=node_views(make_node(gpus=4)),
        pods=[],
        foreign_gpus={},
        waiting=requests,
        running=[],
        parallelism={},
        now=START,
    )
    assert [action.key.name for action in plan.release] == ["a-1", "b-1"]
    assert [why.message for why in plan.reasons.values()] == ["waits for 2 GPUs on one node: 0 of 4 free"]
