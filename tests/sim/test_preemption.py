"""Running attempts give their GPUs back: by the real engine, on a cluster where pods take their time to stop.

Whom the queue chooses is its own matter (tests/unit/core): here it is told, attempt by attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from orkhaven.core.actions import Preempt
from orkhaven.core.queue import QueuePlan
from orkhaven.core.views import Key
from orkhaven.engine import dispatcher
from orkhaven.engine.engine import QUEUE_TASK
from orkhaven.engine.store import Store
from orkhaven.errors import Conflict, Unavailable
from tests.sim.cluster import Body, drive
from tests.sim.harness import NAMESPACE, Crash, Simulation, all_succeed
from tests.sim.runs import run_by_hand, status
from tests.sim.test_crashes import AtWrite
from tests.sim.world import World, experiment_of

FOR = "gives 1 GPU to radiology/urgent (Interactive)"


@dataclass
class Wishes:
    """The real queue's plan, and these attempts preempted wherever they run."""

    attempts: set[tuple[str, int]] = field(default_factory=set)
    """Experiment and number."""
    decide: Callable[..., QueuePlan] = dispatcher.plan_admission

    def __call__(self, store: Store, *more: Any, **around: Any) -> QueuePlan:
        plan = self.decide(store, *more, **around)
        chosen = []
        for job in store.all_jobs():
            experiment = store.owner_of_job(job)
            if experiment is None or job.suspended or job.finished is not None or job.meta.deleting:
                continue
            key = experiment.meta.key
            running = any(pod.container.started for pod in store.pods(key) if pod.job_name == job.meta.key.name)
            if running and (key.name, job.attempt) in self.attempts:
                chosen.append(Preempt(job.meta.key, job.meta.uid, key, FOR))
        return replace(plan, preempt=tuple(chosen))


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> Wishes:
    made = Wishes()
    monkeypatch.setattr(dispatcher, "plan_admission", made)
    return made


def go_on(world: World, pod: Body) -> None:
    """Nobody ends by itself."""


def job(sim: Simulation, name: str) -> Body:
    found = sim.cluster.find("Job", NAMESPACE, name)
    assert found is not None, sim.describe()
    return found


def steps(sim: Simulation, count: int, outcome: Callable[[World, Body], None] = go_on) -> None:
    for _ in range(count):
        sim.step(outcome)


def queue_looks(sim: Simulation) -> None:
    """Time alone is nothing that it looks at: something else has happened in the cluster."""
    sim.engine.add(QUEUE_TASK)
    sim.work()


def ends(sim: Simulation, name: str) -> list[tuple[int, str | None]]:
    return [(attempt["number"], attempt.get("reason")) for attempt in status(sim, name)["attempts"]]


def two_runs(wishes: Wishes, *, grace: float) -> Simulation:
    """One GPU: `old` waits for it, and is before `young`, which has it and is told to give it back."""
    sim = Simulation(nodes={"a": 1})
    sim.world.grace = grace
    run_by_hand(sim, "old", params={"lr": 1}, suspend=True)
    sim.clock.advance(60)
    run_by_hand(sim, "young", params={"lr": 2})
    steps(sim, 6)
    assert status(sim, "young")["state"] == "Running"
    sim.cluster.change("Experiment", NAMESPACE, "old", lambda body: body["spec"].update(suspend=False))
    steps(sim, 3)
    wishes.attempts.add(("young", 1))
    queue_looks(sim)
    return sim


def test_the_gpu_is_given_on_once_the_pod_is_gone_and_not_before(wishes: Wishes) -> None:
    sim = two_runs(wishes, grace=20)
    told = job(sim, "young-1")
    assert told["spec"]["suspend"] is True
    assert told["metadata"]["annotations"]["orkhaven.io/preempted-for"] == FOR
    for _ in range(15):
        sim.step(go_on)
        assert job(sim, "old-1")["spec"]["suspend"] is True, "its GPU is still held"
        assert status(sim, "young")["reason"] in ("Training", "Preempted")
    assert status(sim, "young")["message"] == f"saves a checkpoint and stops: {FOR}"
    steps(sim, 15)
    assert ends(sim, "young") == [(1, "Preempted"), (2, None)]
    assert status(sim, "young")["attempts"][0]["exitCode"] == 143
    assert status(sim, "young")["checkpoint"] == {"step": 2, "path": "/output/last.pt"}
    assert status(sim, "young")["state"] == "Queued"
    assert status(sim, "old")["state"] == "Running"
    sim.settle()
    assert [status(sim, name)["state"] for name in ("old", "young")] == ["Succeeded", "Succeeded"]
    assert status(sim, "young")["retriesUsed"] == 0
    told_of = [note for kind, key, note in sim.events.said if key.name == "young" and note.reason == "Preempted"]
    assert len(told_of) == 1
    assert (told_of[0].type, "goes on after step 2" in told_of[0].message) == ("Normal", True)
    sim.check_quiet()


def test_it_holds_its_seconds_to_the_end_of_its_pod(wishes: Wishes) -> None:
    sim = two_runs(wishes, grace=20)
    steps(sim, 40)
    first = status(sim, "young")["attempts"][0]
    held = first["gpuSeconds"]
    # As the pod's own times say.
    assert 20 <= held <= 40
    assert status(sim, "young")["gpuSeconds"] == held


def test_a_preemption_costs_few_writes(wishes: Wishes) -> None:
    def writes(*told: tuple[str, int]) -> int:
        sim = Simulation(nodes={"a": 1})
        sim.world.grace = 2
        wishes.attempts = set(told)
        run_by_hand(sim, "young")
        steps(sim, 6)
        queue_looks(sim)
        steps(sim, 12)
        sim.settle()
        assert status(sim, "young")["state"] == "Succeeded"
        return sum(write.kind == "Experiment" and write.changed for write in sim.cluster.writes)

    # That it stops, that it has stopped, that it waits, that it runs again.
    assert writes(("young", 1)) - writes() <= 5


def test_a_race_on_one_job_does_not_stop_the_others(wishes: Wishes) -> None:
    sim = Simulation(nodes={"a": 2})
    for number, name in enumerate(("one", "two")):
        run_by_hand(sim, name, params={"lr": number})
    steps(sim, 6)
    assert [status(sim, name)["state"] for name in ("one", "two")] == ["Running", "Running"]
    wishes.attempts |= {("one", 1), ("two", 1)}
    left = [1]

    def faster(verb: str, kind: str, key: tuple[str, str]) -> None:
        if (verb, key[1]) == ("patch", "one-1") and left[0]:
            left[0] -= 1
            raise Conflict("somebody was faster", status=409)

    sim.cluster.before = faster
    queue_looks(sim)
    assert job(sim, "two-1")["spec"]["suspend"] is True
    sim.clock.advance(2)
    sim.work()
    assert job(sim, "one-1")["spec"]["suspend"] is True


def test_one_that_ended_before_the_write_is_left_alone(wishes: Wishes) -> None:
    sim = Simulation(nodes={"a": 1})
    run_by_hand(sim, "quick")
    steps(sim, 6)
    # Its end has happened, and the operator has not heard of it.
    sim.surround(all_succeed)
    wishes.attempts.add(("quick", 1))
    queue_looks(sim)
    sim.settle()
    assert ends(sim, "quick") == [(1, "Completed")]


class Longer:
    """Those that are to be preempted run until they are; all others end well at once."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes

    def __call__(self, world: World, pod: Body) -> None:
        if (experiment_of(pod), int(pod["metadata"]["labels"]["orkhaven.io/attempt"])) not in self._wishes.attempts:
            all_succeed(world, pod)


def preempted_sweep(wishes: Wishes, *, grace: float | None = None) -> Simulation:
    """Two of its four trials are preempted, one of them twice."""
    sim = Simulation()
    sim.world.grace = grace
    sim.apply_sweep()
    sim.step()
    names = sorted(body["metadata"]["name"] for body in sim.cluster.look("Experiment"))
    wishes.attempts = {(names[0], 1), (names[1], 1), (names[1], 2)}
    return sim


@pytest.mark.parametrize("grace", [None, 0.0], ids=["gone at once", "says how it ended"])
@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("before", Crash()),
        ("after", Crash()),
        ("before", Conflict("somebody was faster", status=409)),
        ("after", Unavailable("the answer was lost")),
    ],
    ids=["killed before", "killed after", "conflict", "answer lost"],
)
def test_whatever_happens_at_any_write_each_preemption_is_booked_once(
    wishes: Wishes, moment: str, error: BaseException, grace: float | None
) -> None:
    outcome = Longer(wishes)
    sim = preempted_sweep(wishes, grace=grace)
    sim.settle(outcome)
    want, writes = sim.end_state(), len(sim.cluster.writes)
    booked = [end for trial in want.values() if isinstance(trial, dict) for end in trial["attempts"]]
    assert sorted(reason for _, reason in booked) == ["Completed"] * 4 + ["Preempted"] * 3
    for number in range(writes):
        again = preempted_sweep(wishes, grace=grace)
        fault = AtWrite(number, lambda: error)
        setattr(again.cluster, moment, fault)
        again.settle_over_crashes(outcome)
        if not fault.happened:
            break  # the first step, before this began, made some of them
        assert again.end_state() == want, f"{moment} write {number}"
        again.check_quiet()
    else:
        pytest.fail("no write was left over, so none was the last")


def test_a_new_process_goes_on_with_what_the_one_before_has_begun(wishes: Wishes) -> None:
    sim = two_runs(wishes, grace=20)
    sim.restart()
    wishes.attempts.clear()
    steps(sim, 40)
    assert ends(sim, "young")[0] == (1, "Preempted")
    sim.settle()
    assert status(sim, "young")["state"] == "Succeeded"
    assert Key(NAMESPACE, "young") in {key for _, key, note in sim.events.said if note.reason == "Preempted"}


@pytest.mark.parametrize("quota", [False, True], ids=["one GPU", "a quota of one GPU"])
def test_an_urgent_run_takes_the_gpu_of_a_preemptible_one_by_the_queues_own_choice(quota: bool) -> None:
    sim = Simulation(nodes={"a": 2 if quota else 1})
    if quota:
        limit = {"requests.nvidia.com/gpu": "1"}
        meta = {"namespace": NAMESPACE, "name": "gpus"}
        sim.cluster.add({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": limit}})
        drive(sim.engine.sharing.look())
    sim.world.grace = 5
    run_by_hand(sim, "patient", params={"lr": 1}, priority="Preemptible")
    steps(sim, 10)
    assert status(sim, "patient")["state"] == "Running"
    run_by_hand(sim, "urgent", params={"lr": 2}, priority="Interactive")
    came = sim.clock.now()
    steps(sim, 20)
    assert status(sim, "urgent")["state"] == "Running", sim.describe()
    began = datetime.fromisoformat(status(sim, "urgent")["attempts"][0]["startTime"])
    assert (began - came).total_seconds() <= 12, "the five seconds of the other one, and the way through the cluster"
    assert f"{NAMESPACE}/urgent" in status(sim, "patient")["attempts"][0]["message"]
    steps(sim, 200)
    assert ends(sim, "patient") == [(1, "Preempted"), (2, None)], "it does not take it back"
    sim.settle()
    assert [status(sim, name)["state"] for name in ("patient", "urgent")] == ["Succeeded", "Succeeded"]
    assert ends(sim, "urgent") == [(1, "Completed")]
    sim.check_quiet()
