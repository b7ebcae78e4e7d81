"""The books against what was held: the same GPU-seconds, whatever befell the pods and the operator."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hub import read, reader_of
from tests.e2e.test_faults import kill_component
from tests.e2e.user import Body, User, experiment
from tests.e2e.watched import Pods, watched_pods
from tools.deploy import Deployment, wait_until

ENOUGH = 400.0
"""GPU-seconds: of so many one percent is what one second makes on four GPUs, and the kubelet tells times in whole
seconds."""
TOLERANCE = 0.01
A_WHILE = 10.0
"""GPU-seconds that a pod has held before something befalls it."""
UNTIL_TOLD = """
import orkrun, pathlib, time
with orkrun.run() as run:
    run.report(1, {'val/dice': 0.5}, total_steps=1)
    while not pathlib.Path('/output/enough').exists():
        if run.interrupted:
            raise orkrun.Interrupted
        time.sleep(0.2)
"""
"""It holds its GPUs as long as the test wants, however fast the machine is."""
FAILS_ONCE = """
import orkrun, time
with orkrun.run() as run:
    time.sleep(10)
    if run.attempt == 1:
        raise RuntimeError('the first time')
    run.report(1, {'val/dice': 0.5}, total_steps=1)
"""
NAP = """
import orkrun, time
with orkrun.run() as run:
    time.sleep(10)
    run.report(1, {'val/dice': 0.5}, total_steps=1)
"""
OUTCOMES = {
    "patient-1": "preempted",
    "patient-2": "useful",
    "urgent-1": "useful",
    "paused-1": "preempted",
    "paused-2": "useful",
    "killed-1": "failed",
    "failing-1": "failed",
    "failing-2": "useful",
}
"""By Job, which is an attempt."""


@pytest.mark.alone  # it takes all GPUs, and the operator away
def test_what_is_booked_is_what_the_pods_held(
    user: User, deployment: Deployment, results: Path, tmp_path: Path
) -> None:
    (results / "enough").unlink(missing_ok=True)  # of an earlier run of this test
    with watched_pods(user, tmp_path) as pods:
        user.apply(
            _run("patient", UNTIL_TOLD, gpus=2, priority="Preemptible"), _run("paused", UNTIL_TOLD),
            _run("killed", UNTIL_TOLD),
        )  # fmt: skip
        for name in ("patient", "paused", "killed"):
            _wait_a_while(user, pods, name)

        # A container dies while no operator is there to see it.
        killed = _running_pod(user, "killed")
        cluster = deployment.cluster
        kill_component(deployment, "operator", meanwhile=lambda: cluster.kill_containers(killed["metadata"]["uid"]))
        assert user.wait_finished("experiment", "killed")["status"]["state"] == "Failed"

        # Stopped by hand and gone on with: an attempt of two pods, the second gone by the time the operator is back.
        _suspend(user, "paused", True)
        user.wait("experiment", "paused", lambda status: status.get("state") == "Suspended")
        user.apply(_run("failing", FAILS_ONCE, retry={"limit": 1}))
        user.wait("experiment", "failing", lambda status: status.get("attemptCount", 0) == 2)
        _suspend(user, "paused", False)
        user.wait_finished("experiment", "failing")
        _wait_a_while(user, pods, "paused")
        deleted = _running_pod(user, "paused")["metadata"]["name"]

        def delete() -> None:
            user.kubectl("delete", "pod", deleted, "--grace-period=0", "--force", "--wait=false")
            wait_until("it to be gone", lambda: not _running(user, "paused"), timeout_s=60)

        kill_component(deployment, "operator", meanwhile=delete)

        # And one that gives way.
        user.wait("experiment", "paused", lambda status: status.get("state") == "Running" and _attempts(status) == 2)
        user.apply(_run("urgent", NAP, gpus=2, priority="Interactive"))
        user.wait_finished("experiment", "urgent")
        user.wait("experiment", "patient", lambda status: status.get("state") == "Running" and _attempts(status) == 2)

        wait_until("enough to compare", lambda: _seconds(pods) >= ENOUGH, timeout_s=400, interval_s=2)
        (results / "enough").touch()
        for name in ("patient", "paused"):
            user.wait_finished("experiment", name)
        wait_until("the ends of all pods", lambda: all(one.ended for one in pods.held(_now())), timeout_s=60)
        held = Counter[str]()
        for one in pods.held(_now()):
            held[one.job] += one.gpu_seconds
    assert held.keys() == OUTCOMES.keys()

    for body in user.list("experiments"):
        name, status = body["metadata"]["name"], body["status"]
        own = {f"{name}-{attempt['number']}": attempt["gpuSeconds"] for attempt in status["attempts"]}
        assert own == pytest.approx({job: held[job] for job in own}, rel=TOLERANCE, abs=1.0), status
        assert status["gpuSeconds"] == pytest.approx(sum(own.values()), abs=0.1 * len(own))
    booked = sum(body["status"]["gpuSeconds"] for body in user.list("experiments"))
    assert booked == pytest.approx(held.total(), rel=TOLERANCE)

    with reader_of(user) as client:

        def hours() -> Any:
            """Once the hub, which writes every two seconds, knows that all have ended."""
            answer = read(client, f"{user.namespace}/usage", since="7d")
            return answer["total"] if answer["total"]["running"] == 0 else None

        total = wait_until("the hub's books to be closed", hours, timeout_s=60)
    assert total["total"] * 3600 == pytest.approx(held.total(), rel=TOLERANCE)
    by_outcome = Counter[str]()
    for job, outcome in OUTCOMES.items():
        by_outcome[outcome] += held[job]
    told = {outcome: total[outcome] * 3600 for outcome in ("useful", "failed", "preempted", "running", "suspended")}
    assert told == pytest.approx({"running": 0.0, "suspended": 0.0, **by_outcome}, rel=TOLERANCE, abs=1.0)


def _run(name: str, program: str, *, gpus: int = 1, **spec: Any) -> Body:
    return experiment(name, command=["python3", "-c", program], resources={"gpus": gpus}, dedupe="Never", **spec)


def _wait_a_while(user: User, pods: Pods, name: str) -> None:
    """The latest pod of it has run for that long."""

    def so_long() -> bool:
        running = [one for one in pods.held(_now()) if one.job.startswith(f"{name}-") and not one.ended]
        return bool(running) and running[0].gpu_seconds >= A_WHILE and bool(_running(user, name))

    wait_until(f"{name} to run for a while", so_long, timeout_s=120)


def _suspend(user: User, name: str, suspend: bool) -> None:
    user.kubectl(
        "patch", "experiment", name, "--type=merge", "-p", f'{{"spec": {{"suspend": {str(suspend).lower()}}}}}'
    )


def _running(user: User, name: str) -> list[Body]:
    return [
        pod
        for pod in user.list("pods", f"orkhaven.io/experiment={name}")
        if any("running" in one["state"] for one in pod["status"].get("containerStatuses", ()))
    ]


def _running_pod(user: User, name: str) -> Body:
    (pod,) = _running(user, name)
    return pod


def _attempts(status: Body) -> int:
    return len(status.get("attempts", ()))


def _seconds(pods: Pods) -> float:
    return sum(one.gpu_seconds for one in pods.held(_now()))


def _now() -> datetime:
    return datetime.now(UTC)
