"""The month that the queue has to get through: 500 GPUs, 20 namespaces, a fifth more work than there is time for.

Through the product's own decision and, beside it, through first come first served, strict priority and shortest first.
ORKHAVEN_BENCH_DAYS makes it shorter. With ORKHAVEN_BENCH_DOCS the table goes into docs/simulate.md.
"""

from __future__ import annotations

import math
import os
import re
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from orkhaven.api import Priority
from orkhaven.core.queue import Shares
from orkhaven.simulate import POLICIES, FairShare, Options, Shape, make_trace, read_nodes, replay, table

pytestmark = pytest.mark.timeout(7200)

DAYS = float(os.environ.get("ORKHAVEN_BENCH_DAYS", "30"))
NODES = "[{count: 62, gpus: 8, model: A100, memory: 80Gi}, {count: 1, gpus: 4, model: A100, memory: 80Gi}]"
OPTIONS = Options(every=20)
PAGE = Path(__file__).parents[2] / "docs" / "simulate.md"


def test_a_month_of_more_work_than_time() -> None:
    nodes = read_nodes(NODES, name="nodes")
    trace = make_trace(Shape(days=DAYS, gpus=sum(node.gpus for node in nodes)), Random(0))
    defaults = Shares()
    fair = FairShare(weights={}, half_life=defaults.half_life, min_run=defaults.min_run)
    results = [replay(trace, nodes, policy, OPTIONS) for policy in (fair, *POLICIES.values())]
    print("\n" + table(results))
    if os.environ.get("ORKHAVEN_BENCH_DOCS"):
        _write(f"{DAYS:g} days, 500 GPUs, {table(results)}")
    ours = results[0]
    assert ours.utilisation >= 0.97
    assert ours.fairness is not None
    assert ours.fairness >= 0.95
    assert timedelta(seconds=ours.waits[Priority.INTERACTIVE].p95) <= timedelta(minutes=1)
    assert ours.lost <= 0.02
    # The bound of docs/queue, for one of twenty equal namespaces.
    last = max(run.duration for run in trace)
    assert ours.longest_turn <= defaults.half_life.total_seconds() * (1 + math.log2(20)) + 2 * last
    assert ours.unfinished == 0


def _write(text: str) -> None:
    page = PAGE.read_text()
    begin, end = "<!-- the bench writes from here -->\n", "<!-- to here -->"
    PAGE.write_text(re.sub(f"(?s){begin}.*{end}", lambda _: f"{begin}{text}\n{end}", page))
