"""The operator process on a real control plane: Jobs are played by hand, everything else is real."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orkrun.contract import ANNOTATION_CONFIG, VERSION
from tests.cluster import Cluster
from tests.cluster.api import ApiError
from tests.integration.operator_process import Body, OperatorProcess, unchanged, until

pytestmark = pytest.mark.cluster

SWEEPS = "/apis/orkhaven.io/v1alpha1/namespaces/{}/sweeps"
EXPERIMENTS = "/apis/orkhaven.io/v1alpha1/namespaces/{}/experiments"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
PODS = "/api/v1/namespaces/{}/pods"
NODE = "by-hand"
READY = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}


class User:
    """What a user and a kubelet do in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.api, self.namespace = cluster.api, namespace
        self.score: Callable[[Body], float] = lambda params: 0.7
        """What a training with these params reaches."""

    def list(self, path: str) -> list[Body]:
        found = self.api.get(path.format(self.namespace))
        return [] if found is None else list(found["items"])

    def sweep(self, name: str = "s") -> Body:
        found = self.api.get(f"{SWEEPS.format(self.namespace)}/{name}")
        assert found is not None
        return dict(found)

    def status(self, name: str = "s") -> Body:
        return dict(self.sweep(name).get("status") or {})

    def apply_sweep(self, name: str = "s", *, trials: int = 4, parallelism: int = 2, **spec: Any) -> None:
        self.api.call(
            "POST",
            SWEEPS.format(self.namespace),
            {
                "apiVersion": "orkhaven.io/v1alpha1",
                "kind": "Sweep",
                "metadata": {"name": name},
                "spec": {
                    "objective": {"metric": "val/dice"},
                    "parameters": [{"name": "lr", "values": list(range(1, trials + 1))}],
                    "parallelism": parallelism,
                    "template": {"params": {"model": "unet", "encoder": None}, "resources": {"gpus": 1}},
                    **spec,
                },
            },
        )

    def pending(self) -> Body | None:
        return next((pod for pod in self.list(PODS) if pod["status"].get("phase") == "Pending"), None)

    def play(self) -> int:
        """Every pod that is there ends well, as its kubelet would say it. How many."""
        played = 0
        for pod in self.list(PODS):
            if pod["status"].get("phase") in ("Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]:
                continue
            try:
                self.finish(pod)
            except ApiError as error:
                # Its Job was deleted since the list.
                if error.status != 404:
                    raise
            else:
                played += 1
        return played

    def finish(self, pod: Body) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        params = json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])["params"]
        objective = {"value": self.score(params), "step": 3}
        record = {"version": VERSION, "outcome": "Succeeded", "objective": objective, "step": 3}
        state = {
            "exitCode": 0,
            "reason": "Completed",
            "startedAt": now,
            "finishedAt": now,
            "message": json.dumps(record),
        }
        self.api.patch(
            f"{PODS.format(self.namespace)}/{pod['metadata']['name']}/status",
            {
                "status": {
                    "phase": "Succeeded",
                    "startTime": now,
                    "containerStatuses": [
                        {
                            "name": "trainer", "image": "x", "imageID": "x", "ready": False, "restartCount": 0,
                            "state": {"terminated": state},
                        }
                    ],
                }
            },
        )  # fmt: skip

    def run_to_end(self, operator: OperatorProcess, *, seconds: float = 90) -> None:
        def ended() -> bool:
            self.play()
            return self.status().get("state") in ("Succeeded", "Failed")

        until("the sweep to end", ended, seconds=seconds, on_fail=operator.tail)

    def attempts(self) -> dict[str, int]:
        return {e["metadata"]["name"]: e["status"]["attemptCount"] for e in self.list(EXPERIMENTS)}


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[str]:
    """A node with 4 GPUs that no kubelet looks after."""
    cluster.api.call(
        "POST",
        "/api/v1/nodes",
        {
            "metadata": {"name": NODE, "labels": {"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.memory": "40960"}},
        },
    )
    gpus = {"nvidia.com/gpu": "4", "cpu": "64", "memory": "256Gi", "pods": "110"}
    cluster.api.patch(
        f"/api/v1/nodes/{NODE}/status",
        {"status": {"capacity": gpus, "allocatable": gpus, "conditions": [READY]}},
    )
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(cluster, stop), daemon=True)
    heart.start()
    yield NODE
    stop.set()
    heart.join()
    cluster.api.call("DELETE", f"/api/v1/nodes/{NODE}")


def _beat(cluster: Cluster, stop: threading.Event) -> None:
    """A kubelet's heartbeat: without it the node is NotReady after 40 s, and stays so after the API server was away."""
    folder = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    while not stop.is_set():
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        spec = {"holderIdentity": NODE, "leaseDurationSeconds": 40, "renewTime": now}
        with contextlib.suppress(OSError, ApiError):
            cluster.api.create(folder, {"metadata": {"name": NODE}, "spec": spec})
            cluster.api.patch(f"{folder}/{NODE}", {"spec": spec})
            cluster.api.patch(f"/api/v1/nodes/{NODE}/status", {"status": {"conditions": [READY]}})
        stop.wait(5)


@pytest.fixture
def user(cluster: Cluster, namespace: str, node: str) -> User:
    return User(cluster, namespace)


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    made = OperatorProcess(cluster, tmp_path, namespaces=namespace)
    yield made
    made.stop()


def test_a_sweep_becomes_jobs_and_a_leader_and_the_way_is_quiet_at_its_end(
    user: User, operator: OperatorProcess
) -> None:
    operator.start().wait_ready().wait_leading()
    user.apply_sweep()
    user.run_to_end(operator)
    status = user.status()
    assert status["trials"]["succeeded"] == 4
    assert status["best"]["value"] == 0.7
    for experiment in user.list(EXPERIMENTS):
        assert experiment["spec"]["params"]["encoder"] is None
        assert experiment["status"]["objective"] == {"value": 0.7, "step": 3}
        managers = {entry["manager"] for entry in experiment["metadata"]["managedFields"]}
        assert {"orkhaven-operator", "orkhaven-record"} <= managers
        assert not any("kopf" in name for name in experiment["metadata"].get("annotations", {}))
    said = {
        e["reason"]
        for e in user.list("/api/v1/namespaces/{}/events")
        if e["source"].get("component") == "orkhaven-operator"
    }
    assert "Started" in said
    # Whatever is still on its way (events, the last looks) comes to rest; from then on nothing is written.
    quiet_since = until("no more writes", lambda: unchanged(operator.writes), on_fail=operator.tail)
    time.sleep(3)
    assert operator.writes() == quiet_since
    assert operator.stop() == 0
    lease = user.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{user.namespace}/leases/orkhaven-operator")
    assert lease is not None
    assert not lease["spec"].get("holderIdentity")


def test_a_search_is_made_as_it_is_written_and_a_wrong_one_says_what_is_wrong(
    user: User, operator: OperatorProcess
) -> None:
    operator.start().wait_ready().wait_leading()
    lr = {"name": "lr", "range": {"min": 1e-4, "max": 1e-1, "scale": "Log"}}
    drop = {"name": "drop", "range": {"min": 0, "max": 0.5, "step": 0.1}}
    user.apply_sweep(
        parallelism=4,
        search={"algorithm": "Sobol", "maxTrials": 5, "seed": 7},
        parameters=[lr, drop],
        constraints=["lr < 1e-2 && drop != 0.3"],
        initialPoints=[{"lr": 5e-3}],
    )
    user.apply_sweep(
        "large",
        parallelism=0,
        search={"algorithm": "Grid", "maxTrials": 3},
        parameters=[{"name": f"p{i}", "values": list(range(1000))} for i in range(4)],
        constraints=["p0 > 997 or p1 == 5"],
    )
    user.apply_sweep("wrong", constraints=["l_r > 2"])
    user.apply_sweep(
        "nothing", search={"algorithm": "Sobol", "maxTrials": 3}, parameters=[lr], constraints=["lr < 1e-4"]
    )
    user.run_to_end(operator)
    made = [e["spec"]["params"] for e in user.list(EXPERIMENTS)]
    assert len(made) == len({(p["lr"], p["drop"]) for p in made}) == 5
    assert all(p["lr"] < 1e-2 and p["drop"] in (0, 0.1, 0.2, 0.4, 0.5) for p in made)
    assert [p["lr"] for p in made].count(5e-3) == 1
    assert user.status("large")["trials"]["total"] == 3
    for name, why in (
        ("wrong", "spec.constraints[0]: no parameter of this search is called l_r; did you mean lr? (at character 1)"),
        ("nothing", "spec.constraints: no combination that keeps them all was found: 10,000 draws in a row"),
    ):
        until(f"{name} to be refused", lambda name=name: user.status(name).get("state") == "Failed", seconds=60)
        accepted = next(c for c in user.status(name)["conditions"] if c["type"] == "Accepted")
        assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
        assert why in accepted["message"]


def test_a_gaussian_process_is_asked_where_there_is_torch(user: User, operator: OperatorProcess) -> None:
    """As here; the operator's image has none. Its first trials are drawn, the others come from the search process."""
    user.score = lambda params: round(1 - (math.log10(params["lr"]) + 2) ** 2 / 10, 4)
    operator.start().wait_ready().wait_leading()
    user.apply_sweep(
        parallelism=3,
        search={"algorithm": "GP", "maxTrials": 13, "seed": 7},
        parameters=[{"name": "lr", "range": {"min": 1e-5, "max": 1.0, "scale": "Log"}}],
    )
    user.run_to_end(operator, seconds=180)
    status = user.status()
    assert (status["state"], status["trials"]["succeeded"]) == ("Succeeded", 13), status
    rates = [e["spec"]["params"]["lr"] for e in user.list(EXPERIMENTS)]
    assert len(set(rates)) == 13
    assert all(1e-5 <= rate <= 1 for rate in rates)
    reasons = {e["reason"] for e in user.list("/api/v1/namespaces/{}/events")}
    assert "SearchUnavailable" not in reasons
    assert "search process started" in operator.tail()


def test_a_sweep_survives_kill_9_at_ten_moments(user: User, operator: OperatorProcess) -> None:
    user.apply_sweep(trials=8, parallelism=3)
    for moment in range(10):
        operator.start().wait_leading()
        # One write, three, five ...: each time it gets a little further before it dies.
        until(
            "some writes",
            lambda n=1 + 2 * moment: operator.writes() >= n or (user.play() >= 0 and _ended(user)),
            on_fail=operator.tail,
        )
        operator.kill()
    operator.start()
    user.run_to_end(operator)
    assert user.status()["trials"]["succeeded"] == 8
    assert set(user.attempts().values()) == {1}
    assert len(user.list(JOBS)) == 8


def test_two_operators_take_turns(cluster: Cluster, user: User, tmp_path: Path) -> None:
    both = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        both.append(OperatorProcess(cluster, folder, namespaces=user.namespace, ORKHAVEN_LEASE_IDENTITY=name))
    first, second = both
    try:
        first.start().wait_leading()
        second.start().wait_ready()
        user.apply_sweep()
        until("jobs", lambda: user.list(JOBS), on_fail=first.tail)
        assert second.metric("orkhaven_leader") == 0
        assert second.writes() == 0
        first.kill()
        died = time.monotonic()
        second.wait_leading(seconds=20)
        took = time.monotonic() - died
        print(f"\ntakeover after kill -9: {took:.1f} s")
        assert took <= 15
        user.run_to_end(second)
        first.start().wait_ready()
        assert second.stop() == 0
        released = time.monotonic()
        first.wait_leading()
        print(f"takeover after a clean stop: {time.monotonic() - released:.1f} s")
        assert time.monotonic() - released < 5
    finally:
        for operator in both:
            operator.stop()


def test_a_sweep_deleted_while_it_runs_takes_everything_with_it(user: User, operator: OperatorProcess) -> None:
    operator.start().wait_leading()
    user.apply_sweep()
    until("pods", lambda: len(user.list(PODS)) == 2, on_fail=operator.tail)
    user.api.call("DELETE", f"{SWEEPS.format(user.namespace)}/s")
    until(
        "nothing left", lambda: not any(user.list(path) for path in (SWEEPS, EXPERIMENTS, JOBS)), on_fail=operator.tail
    )
    until("its memory to be empty", lambda: operator.metric("orkhaven_experiments") == 0)


@pytest.mark.parametrize("what", [JOBS, PODS], ids=["job", "pod"])
def test_what_is_deleted_by_hand_is_made_again(user: User, operator: OperatorProcess, what: str) -> None:
    operator.start().wait_leading()
    user.apply_sweep()
    until("pods", lambda: len(user.list(PODS)) == 2, on_fail=operator.tail)
    victim = user.list(what)[0]["metadata"]["name"]
    user.api.call(
        "DELETE",
        f"{what.format(user.namespace)}/{victim}",
        {"propagationPolicy": "Background", "gracePeriodSeconds": 0},
    )
    user.run_to_end(operator)
    assert user.status()["trials"]["succeeded"] == 4


def test_an_api_server_that_is_away_for_longer_than_the_lease_is_survived(
    user: User, operator: OperatorProcess, cluster: Cluster
) -> None:
    """tests/e2e does the same for a minute, with pods that really run."""
    operator.start().wait_leading()
    user.apply_sweep(trials=6)
    until("pods", lambda: len(user.list(PODS)) == 2, on_fail=operator.tail)
    cluster.kill("kube-apiserver")
    until("the lease given up", lambda: operator.metric("orkhaven_leader") == 0, seconds=30, on_fail=operator.tail)
    assert operator.alive
    assert operator.get("/healthz")[0] == 200
    cluster.restart("kube-apiserver")
    back = time.monotonic()
    operator.wait_leading(seconds=40)
    user.play()
    until("progress", lambda: user.status()["trials"]["succeeded"] >= 1, seconds=60, on_fail=operator.tail)
    print(f"\nfrom the API server's return to progress: {time.monotonic() - back:.1f} s")
    user.run_to_end(operator)
    assert operator.alive
    assert user.status()["trials"]["succeeded"] == 6
    assert set(user.attempts().values()) == {1}


def _ended(user: User) -> bool:
    return user.status().get("state") in ("Succeeded", "Failed")
