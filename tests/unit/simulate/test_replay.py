"""The replay: what it measures is right where it can be told by hand, and nothing is ever given twice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from orkhaven.api import Priority
from orkhaven.simulate import POLICIES, Options, Policy, TraceRun, replay
from orkhaven.simulate.measure import jain, waits
from orkhaven.simulate.policies import Decision
from orkhaven.simulate.usage import Usage
from orkhaven.simulate.world import Run, World
from tests.unit.simulate.worlds import fair, make_nodes, make_run, small_trace


def _submitted(run: TraceRun) -> float:
    return run.submitted


@dataclass
class Watched:
    """A policy that looks, before each decision, whether what is given fits."""

    inner: Policy
    name: str = "watched"
    seen: int = 0

    def rank(self, run: Run) -> float:
        return self.inner.rank(run)

    def decide(self, world: World, usage: Usage, now: float) -> Decision:
        self.seen += 1
        used = dict.fromkeys(world.free, 0)
        for pod in world.pods.values():
            used[pod.node or ""] += pod.gpus
        assert all(used[n.meta.key.name] + world.free[n.meta.key.name] == n.gpus for n in world.nodes)
        assert min(world.free.values()) >= 0
        assert world.unused == sum(world.free.values())
        assert sum(world.held.values()) >= sum(used.values())
        return self.inner.decide(world, usage, now)


@dataclass
class PreemptsAt:
    """First come, first served, but for one moment at which whatever runs is told to stop."""

    at: float
    name: str = "preempts"

    def rank(self, run: Run) -> float:
        return run.trace.submitted

    def decide(self, world: World, usage: Usage, now: float) -> Decision:
        if now < self.at:
            return POLICIES["fifo"].decide(world, usage, now)
        self.at = float("inf")
        return Decision((), tuple(world.runs[job] for job in world.running))


@pytest.mark.parametrize("policy", [fair(), *POLICIES.values()], ids=["fair", *POLICIES])
def test_every_run_ends_and_no_gpu_is_given_twice(policy: Policy) -> None:
    watched = Watched(policy)
    trace = small_trace()
    result = replay(trace, make_nodes(4), watched)
    assert watched.seen == result.decisions > 0
    assert result.unfinished == result.fits_no_node == 0
    assert sum(waited.count for waited in result.waits.values()) == result.runs == len(trace)
    assert 0.5 < result.utilisation <= 1


def test_what_is_measured_of_two_runs_on_one_node() -> None:
    trace = [make_run(0, gpus=8, duration=1000), make_run(100, gpus=8, duration=500), make_run(2000, duration=10)]
    result = replay(trace, make_nodes(1), POLICIES["fifo"])
    standard = result.waits[Priority.STANDARD]
    assert (standard.count, standard.p50, standard.longest) == (3, 0, 900)
    assert result.utilisation == 1
    assert (result.preemptions, result.lost) == (0, 0)


def test_gpus_that_nobody_can_use_are_not_held_against_a_schedule() -> None:
    """One GPU of eight is wanted, and used."""
    assert replay([make_run(0), make_run(3600)], make_nodes(1), POLICIES["fifo"]).utilisation == 1


def test_gpus_that_lie_idle_while_someone_waits_are() -> None:
    """6 of 8 GPUs are held while 12 are wanted."""
    trace = [make_run(0, gpus=6), make_run(0, gpus=6), make_run(3600, duration=1)]
    assert replay(trace, make_nodes(1), POLICIES["fifo"]).utilisation == pytest.approx(6 / 8)


@pytest.mark.parametrize(
    ("checkpoint_every", "lost"),
    [
        # 10 s until its pod is gone and 50 s to start again, of 1000 s that were worked in all.
        (None, 60 / 1060),
        # 400 s were worked: the 100 s since the last checkpoint are lost too.
        (300, 160 / 1160),
    ],
    ids=["checkpoint at SIGTERM", "checkpoint now and then"],
)
def test_what_preemption_costs(checkpoint_every: float | None, lost: float) -> None:
    options = Options(grace=10, restart=50, checkpoint_every=checkpoint_every)
    trace = [make_run(0, duration=1000), make_run(400, gpus=8, duration=1)]
    result = replay(trace, make_nodes(2), PreemptsAt(400), options)
    assert result.preemptions == 1
    assert result.lost * (1 + 8 / 1000) == pytest.approx(lost, rel=0.02)
    assert result.waits[Priority.STANDARD].count == 2


def test_shares_are_those_of_namespaces_that_always_wait() -> None:
    """Two take turns, the third waits once: its little is nobody's fault."""
    trace = [make_run(at, gpus=8, duration=100, namespace=name) for at in range(100) for name in ("a", "b")]
    trace = sorted([*trace, make_run(50, gpus=8, duration=100, namespace="c"), make_run(10_000)], key=_submitted)
    result = replay(trace, make_nodes(1), POLICIES["fifo"])
    assert result.always_waiting == 2
    assert result.fairness == pytest.approx(1, abs=0.001)
    assert result.shares["a"] == pytest.approx(4, rel=0.05)
    lopsided = replay(trace, make_nodes(1), POLICIES["fifo"], Options(weights={"a": 3}))
    assert lopsided.fairness == pytest.approx(jain([1 / 3, 1]), rel=0.01)


def test_a_run_that_fits_no_node_is_said_and_holds_up_nobody() -> None:
    trace = [make_run(0, gpus=16), make_run(0, gpu_model="H100"), make_run(5)]
    result = replay(trace, make_nodes(1), fair())
    assert (result.runs, result.fits_no_node, result.unfinished) == (3, 2, 0)


def test_shortest_first_is_and_strict_priority_is_strict() -> None:
    long, short = make_run(1, gpus=8, duration=900), make_run(1, gpus=8, duration=9, priority=Priority.PREEMPTIBLE)
    trace = [make_run(0, gpus=8, duration=100), long, short]
    for policy, waited in (("shortest", 99), ("priority", 999)):
        assert replay(trace, make_nodes(1), POLICIES[policy]).waits[Priority.PREEMPTIBLE].longest == waited


def test_spreading_pods_leaves_no_node_for_a_large_run() -> None:
    trace = [*(make_run(0, gpus=1) for _ in range(4)), make_run(10, gpus=8), make_run(3700, duration=1)]
    packed, spread = (
        replay(trace, make_nodes(2), POLICIES["fifo"], Options(packed=packed)).utilisation for packed in (True, False)
    )
    assert packed == 1 > spread


def test_what_is_left_out_of_a_long_line_hardly_matters() -> None:
    """The heads of the groups stand for all who wait; others are preempted for the rest a second later."""
    trace = small_trace()
    short, whole = (replay(trace, make_nodes(4), replace(fair(), whole=length)) for length in (0, 10_000))
    assert short.utilisation == pytest.approx(whole.utilisation, abs=0.01)
    assert short.preemptions == pytest.approx(whole.preemptions, rel=0.2, abs=5)
    assert short.shares == pytest.approx(whole.shares, rel=0.1)
    waited = (result.waits[Priority.INTERACTIVE].p95 for result in (short, whole))
    assert next(waited) == pytest.approx(next(waited), rel=0.1)


def test_usage_decays_and_grows_as_it_is_held() -> None:
    policy = fair()
    usage = Usage(policy.half_life)
    day = 86_400
    usage.hold("radiology", "ana", 2, 0)
    assert usage.at(60)["radiology", "ana"] == pytest.approx(120, rel=1e-3)
    usage.hold("radiology", "ana", -2, 60)
    assert usage.at(60 + 2 * day)["radiology", "ana"] == pytest.approx(60, rel=1e-3)
    assert usage.at(60 + 4 * day)["radiology", "ana"] == pytest.approx(30, rel=1e-3)


def test_jains_index() -> None:
    assert jain([3, 3, 3]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([1]) is jain([]) is jain([0, 0]) is None


def test_waits_have_their_quantiles() -> None:
    waited = waits([float(seconds) for seconds in range(1, 101)])
    assert (waited.count, waited.p50, waited.p95, waited.longest) == (100, 50, 95, 100)
    assert waits([]).count == 0


def test_the_longest_turn_is_from_one_start_of_a_namespace_to_the_next_while_someone_of_it_waits() -> None:
    trace = [
        make_run(0, duration=4000),
        make_run(100, namespace="surgery", duration=50),
        make_run(5000, namespace="surgery", duration=50),
        make_run(5010, namespace="radiology", duration=50),
    ]
    found = replay(trace, make_nodes(1, 1), POLICIES["fifo"], Options(every=1))
    # Surgery's first waits until the long one has ended; nobody waits from then on until 5000.
    assert found.longest_turn == 3900
