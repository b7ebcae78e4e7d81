"""What is read of a failed pod, through the whole operator: with crashes, with kubelets that are slow or away. And what
follows from a failure beside its own status: one Event a cause, the label, no release before it is booked.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orkhaven.api.failures import LABEL_CLUSTER
from orkhaven.errors import NotFound, Unavailable
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Crash, Outcome, Simulation, all_succeed
from tests.sim.test_crashes import AtWrite
from tests.sim.test_failures import WRONG_SHAPE, lr_of, three_bugs
from tests.sim.test_failures import apply as apply_bugs
from tests.sim.world import World, experiment_of

NOISE = "\n".join(f"[rank{n % 4}]: waits for the others" for n in range(90))


def talks(world: World, pod: Body) -> None:
    """Trial 2 has said why it fails, but before much else; the others end well."""
    if lr_of(pod) == 2:
        world.cluster.logs[pod["metadata"]["name"]] = f"{WRONG_SHAPE.format(line=3, a=64, b=32)}{NOISE}"
        world.end(pod, exit_code=1, message=NOISE[-2000:])
    else:
        all_succeed(world, pod)


def step_until(sim: Simulation, outcome: Outcome, condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        sim.step(outcome)
    raise AssertionError(f"it does not come to that\n{sim.describe()}")


def by_lr(sim: Simulation) -> dict[int, Body]:
    return {body["spec"]["params"]["lr"]: body["status"] for body in sim.cluster.all("Experiment")}


def settled() -> Simulation:
    sim = Simulation()
    sim.apply_sweep()
    sim.settle(talks)
    return sim


def test_the_log_decides_where_the_last_words_do_not() -> None:
    sim = settled()
    failed = by_lr(sim)[2]
    assert (failed["reason"], len(failed["attempts"])) == ("ShapeMismatch", 1)
    assert "RuntimeError: The size of tensor a (64)" in failed["failure"]["excerpt"]
    assert len(sim.cluster.read) == 1, "of the one that left it open, once"
    assert sim.sweep()["status"]["failureClusters"][0]["reason"] == "ShapeMismatch"
    sim.check_quiet()


def test_what_was_read_is_not_kept_once_the_end_is_in_the_status() -> None:
    sim = settled()
    assert sim.cluster.read
    assert sim.engine.store._heard == {}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_reads_again_and_says_the_same(moment: str) -> None:
    reference = settled()
    for number in range(len(reference.cluster.writes)):
        sim = Simulation()
        setattr(sim.cluster, moment, AtWrite(number, Crash))
        sim.apply_sweep()
        sim.settle_over_crashes(talks)
        assert sim.end_state() == reference.end_state(), f"{moment} write {number}"
        assert by_lr(sim)[2]["failure"] == by_lr(reference)[2]["failure"]
        sim.check_quiet()


def test_a_crash_while_it_is_being_read_just_reads_again() -> None:
    sim = Simulation()
    sim.reader.late = True
    sim.apply_sweep()
    step_until(sim, talks, lambda: bool(sim.reader.asked))
    waiting = sim.sweep()["status"]["trials"]
    assert waiting["failed"] == 0, "nothing is said of it meanwhile"
    sim.restart()
    sim.settle(talks)
    assert by_lr(sim)[2]["reason"] == "ShapeMismatch"
    sim.check_quiet()


def test_a_kubelet_that_is_slow_keeps_nobody_else_waiting() -> None:
    sim = Simulation()
    sim.reader.late = True
    sim.apply_sweep()
    for _ in range(40):
        sim.step(talks)
    states = {lr: status["state"] for lr, status in by_lr(sim).items()}
    assert states.pop(2) in ("Starting", "Running")
    assert set(states.values()) == {"Succeeded"}
    sim.reader.give(unread=True)
    sim.reader.late = False
    sim.settle(talks)
    assert by_lr(sim)[2]["attempts"][0]["reason"] == "UserException", "as it would be without a log"
    sim.check_quiet()


@pytest.mark.parametrize("error", [NotFound("gone"), Unavailable("the kubelet is away")], ids=["gone", "away"])
def test_that_it_cannot_be_read_is_no_failure_of_anything(error: Exception) -> None:
    def silent(world: World, pod: Body) -> None:
        world.cluster.logs[pod["metadata"]["name"]] = error  # type: ignore[assignment]
        world.end(pod, exit_code=1, message=NOISE[-2000:]) if lr_of(pod) == 2 else all_succeed(world, pod)

    sim = Simulation()
    sim.apply_sweep()
    sim.settle(silent)
    assert [attempt["reason"] for attempt in by_lr(sim)[2]["attempts"]] == ["UserException"] * 3
    assert len(sim.cluster.read) == 3, "once for each attempt"
    sim.check_quiet()


def test_a_pod_that_is_deleted_while_it_is_read_is_forgotten() -> None:
    sim = Simulation()
    sim.reader.late = True
    sim.apply_sweep()
    step_until(sim, talks, lambda: bool(sim.reader.asked))
    (want,) = sim.reader.asked
    sim.cluster.remove("Pod", *want.key)
    sim.deliver()
    sim.reader.give()
    sim.reader.late = False
    assert sim.engine.store._heard == {}
    sim.settle(talks)
    sim.check_quiet()


# --- Events and the label ---------------------------------------------------------------------------------------------


def test_a_trial_that_fails_is_told_of_by_its_sweep_alone() -> None:
    sim = Simulation()
    apply_bugs(sim)
    sim.settle(three_bugs)
    warnings = [(kind, note) for kind, _, note in sim.events.said if note.type == "Warning"]
    assert [kind for kind, _ in warnings] == ["Sweep"] * 3
    clusters = {one["id"]: one for one in sim.sweep()["status"]["failureClusters"]}
    for _, note in warnings:
        (cluster,) = [one for number, one in clusters.items() if f"cluster {number}, " in note.message]
        assert note.message.startswith(f"{cluster['reason']}, cluster {cluster['id']}, ")
        assert " so far (" in note.message


def test_an_experiment_of_its_own_tells_of_its_failure_itself() -> None:
    sim = Simulation()
    sim.cluster.add(
        {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"namespace": NAMESPACE, "name": "alone"},
            "spec": {"params": {"lr": 10}, "retry": {"limit": 0}},
        }
    )
    sim.settle(three_bugs)
    (told,) = [note for kind, _, note in sim.events.said if kind == "Experiment" and note.type == "Warning"]
    assert told.reason == "Failed"
    assert told.message.startswith("ShapeMismatch: ")
    (body,) = sim.cluster.all("Experiment")
    assert body["metadata"]["labels"] == {LABEL_CLUSTER: body["status"]["failure"]["cluster"]}


def test_the_trials_of_a_cluster_are_found_by_its_label() -> None:
    sim = Simulation()
    apply_bugs(sim)
    sim.settle(three_bugs)
    for cluster in sim.sweep()["status"]["failureClusters"]:
        found = [
            body for body in sim.cluster.all("Experiment")
            if body["metadata"]["labels"].get(LABEL_CLUSTER) == cluster["id"]
        ]  # fmt: skip
        assert len(found) == cluster["count"]
        assert {body["status"]["state"] for body in found} == {"Failed"}
    sim.check_quiet()


def test_the_label_costs_a_failed_run_one_write_and_no_other_any() -> None:
    sim = Simulation()
    apply_bugs(sim)
    sim.settle(three_bugs)
    patches = [write for write in sim.cluster.writes if (write.verb, write.kind) == ("patch", "Experiment")]
    failed = [body for body in sim.cluster.all("Experiment") if body["status"]["state"] == "Failed"]
    assert sorted(write.key[1] for write in patches) == sorted(body["metadata"]["name"] for body in failed)


def test_a_label_that_is_not_true_is_set_right() -> None:
    sim = settled()
    names = {lr_of_spec(body): body["metadata"]["name"] for body in sim.cluster.all("Experiment")}

    def lie(body: Body) -> None:
        body["metadata"]["labels"][LABEL_CLUSTER] = "0"

    for name in names.values():
        sim.cluster.change("Experiment", NAMESPACE, name, lie)
    sim.settle(talks)
    labels = {lr_of_spec(body): body["metadata"]["labels"].get(LABEL_CLUSTER) for body in sim.cluster.all("Experiment")}
    assert labels.pop(2) == by_lr(sim)[2]["failure"]["cluster"]
    assert set(labels.values()) == {None}
    sim.check_quiet()


def lr_of_spec(body: Body) -> int:
    return int(body["spec"]["params"]["lr"])


# --- no release before the end is booked ------------------------------------------------------------------------------


def bad(world: World, pod: Body) -> None:
    world.end(pod, exit_code=64, message="orkrun: lr is wrong")


@pytest.mark.parametrize(
    ("spec", "outcome"),
    [
        ({"failurePolicy": {"maxFailedTrials": 1}}, bad),
        ({"failurePolicy": {"stopOnCluster": {"minFailures": 2, "share": 1.0}}}, bad),
        ({"objective": {"metric": "val/dice", "goal": 0.1}}, all_succeed),
    ],
    ids=["maxFailedTrials", "stopOnCluster", "goal"],
)
def test_a_gpu_is_not_given_on_before_it_is_known_whether_the_sweep_goes_on(spec: Body, outcome: Outcome) -> None:
    """The Job's end and its pod's come in one batch, and the queue is looked at first."""
    sim = Simulation()
    sim.apply_sweep(template={"resources": {"gpus": 1}, "retry": {"limit": 0}}, **spec)
    step_until(sim, lambda world, pod: None, lambda: len(sim.world.pods("Running")) == 2)
    first = sim.world.pods("Running")
    for pod in first:
        outcome(sim.world, pod)
    sim.world.job_controller()
    sim.settle(all_succeed)
    started = {
        body["metadata"]["name"]
        for body in sim.cluster.all("Experiment")
        if any(attempt.get("pod") for attempt in body["status"]["attempts"])
    }
    assert started == {experiment_of(pod) for pod in first}, "and no other"


def test_a_sweep_that_nothing_stops_gives_its_gpus_on_at_once() -> None:
    sim = Simulation(nodes={"node-a": 1})
    sim.reader.late = True
    sim.apply_sweep(parallelism=1)
    step_until(sim, talks, lambda: bool(sim.reader.asked))
    for _ in range(5):
        sim.step(talks)
    assert sim.sweep()["status"]["trials"]["running"] >= 1


def test_an_end_that_is_never_booked_keeps_a_place_for_a_minute_at_most() -> None:
    """Whatever keeps it from being booked: here a kubelet, in earnest a status that the API server refuses."""
    sim = Simulation(nodes={"node-a": 1})
    sim.reader.late = True
    sim.apply_sweep(search={"order": "Sequential"}, parallelism=2, failurePolicy={"maxFailedTrials": 3})
    step_until(sim, talks, lambda: bool(sim.reader.asked))
    ended = sim.clock.seconds
    while not [pod for pod in sim.world.pods("Running") if lr_of(pod) != 2]:
        assert sim.clock.seconds - ended < 120
        sim.step(talks)
        sim.engine.mark_all()
    assert 50 < sim.clock.seconds - ended < 90
