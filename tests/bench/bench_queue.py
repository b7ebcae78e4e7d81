"""How long one decision about the GPUs takes: 500 GPUs, 2,000 runs under way, and a long queue behind them.

`python -m tests.bench.bench_queue` prints a table.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from datetime import timedelta

from orkhaven.api import Priority
from orkhaven.core.queue import Needs, Request, Shares, plan_queue
from orkhaven.core.views import Key, NodeView, PodView
from orkhaven.operator_main import GC_THRESHOLDS
from tests.unit.core.queues import pod_of
from tests.unit.core.world import START, make_node, node_views

NAMESPACES, USERS, GPUS_OF_A_NODE = 20, 5, 4
REPEATS = 7


def situation(*, queued: int, running: int, free: int, seed: int = 0) -> dict[str, object]:
    rng = random.Random(seed)
    nodes: list[NodeView] = node_views(*[make_node(f"n{i}", gpus=GPUS_OF_A_NODE) for i in range(125)])
    waiting = [_request(rng, f"w{number}") for number in range(queued)]
    runs: list[Request] = []
    pods: list[PodView] = []
    left = 125 * GPUS_OF_A_NODE - free
    for number in range(running):
        # Those on the CPU alone hold a place in their sweeps.
        run = _request(rng, f"r{number}", gpus=1 if number < left else 0)
        runs.append(run)
        if run.gpus:
            pods.append(pod_of(run, f"n{number // GPUS_OF_A_NODE}"))
    usage = {(f"ns{n}", f"u{u}"): rng.uniform(0, 1e6) for n in range(NAMESPACES) for u in range(USERS)}
    return {
        "nodes": nodes,
        "pods": pods,
        "foreign_gpus": {},
        "waiting": waiting,
        "running": runs,
        "parallelism": {},
        "shares": Shares(usage=usage, run_time=timedelta(minutes=30)),
        "now": START,
    }


def _request(rng: random.Random, name: str, *, gpus: int | None = None) -> Request:
    ns = f"ns{rng.randrange(NAMESPACES)}"
    priority = rng.choices(list(Priority), [1, 8, 3])[0]
    return Request(
        job=Key(ns, f"{name}-1"),
        uid=f"uid-{name}",
        experiment=Key(ns, name),
        created=START - timedelta(seconds=rng.randrange(100_000)),
        user=f"u{rng.randrange(USERS)}",
        priority=priority,
        released=START - timedelta(seconds=rng.randrange(10_000)),
        needs=Needs(gpus=rng.choice([1, 1, 1, 2, 4]) if gpus is None else gpus),
    )


def main() -> None:
    gc.set_threshold(*GC_THRESHOLDS)  # as in the operator's process
    print("| queued | running | free GPUs | released | preempted | median ms | worst ms |")
    print("|---|---|---|---|---|---|---|")
    for queued, running, free in (
        (0, 2000, 0),
        (2000, 2000, 0),
        (10_000, 2000, 0),
        (10_000, 2000, 50),
        (10_000, 0, 500),
    ):
        given = situation(queued=queued, running=running, free=free)
        times = []
        for _ in range(REPEATS):
            before = time.process_time()
            plan = plan_queue(**given)  # type: ignore[arg-type]
            times.append((time.process_time() - before) * 1000)
        counts = f"{len(plan.release)} | {len(plan.preempt)}"
        print(f"| {queued} | {running} | {free} | {counts} | {statistics.median(times):.1f} | {max(times):.1f} |")


if __name__ == "__main__":
    main()
