"""What breaks while a sweep runs changes nothing about how it ends: the same trials, each exactly once."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.hub import read, reader_of
from tests.e2e.user import Body, User, condition, sweep
from tools.deploy import SYSTEM_NAMESPACE, Deployment, wait_until

SEEDS = [1, 2, 3, 4, 5, 6]


def seeds_sweep(name: str, **spec: Any) -> Body:
    """Six short trainings that differ in their learning rate only."""
    return sweep(
        name,
        [{"name": "optimizer.lr", "values": [seed * 1e-3 for seed in SEEDS]}],
        search={"algorithm": "Grid"},
        **spec,
    )


def assert_each_trial_once(user: User, name: str) -> None:
    """Six Experiments, all succeeded, none with two pods at a time, and the counts agree."""
    status = user.status("sweep", name)
    assert status["progress"] == f"{len(SEEDS)}/{len(SEEDS)}", status
    assert status["trials"]["succeeded"] == len(SEEDS), status
    trials = user.list("experiments", f"orkhaven.io/sweep={name}")
    assert sorted(trial["spec"]["params"]["optimizer"]["lr"] for trial in trials) == [seed * 1e-3 for seed in SEEDS]
    for trial in trials:
        attempts = trial["status"]["attempts"]
        numbers = [attempt["number"] for attempt in attempts]
        assert numbers == sorted(set(numbers)), attempts
        assert trial["status"]["retriesUsed"] == 0, "what the cluster did to a run is not the run's fault"
        for before, after in itertools.pairwise(attempts):
            assert before["endTime"] <= after["startTime"], attempts
        assert attempts[-1]["reason"] == "Completed"


class TestKills:
    @pytest.mark.alone  # six trainings with their reports take most of its time when two others share the CPUs
    def test_the_operator_killed_ten_times_is_not_noticed(self, user: User, deployment: Deployment) -> None:
        user.apply(seeds_sweep("ten-kills", parallelism=2, template={"params": {"epochs": 30}}))
        for kill in range(1, 11):
            kill_component(deployment, "operator")
            assert condition(user.status("sweep", "ten-kills"), "Finished") != "True", (
                f"over before kill {kill} counted"
            )
        user.wait_finished("sweep", "ten-kills", timeout_s=400)
        assert_each_trial_once(user, "ten-kills")

    @pytest.mark.alone
    def test_the_hub_killed_loses_no_point_of_any_curve(self, user: User, deployment: Deployment) -> None:
        user.apply(seeds_sweep("hub-kill", parallelism=2, template={"params": {"epochs": 6}}))
        user.wait("sweep", "hub-kill", lambda status: status.get("trials", {}).get("succeeded", 0) >= 1)
        user.wait("sweep", "hub-kill", lambda status: status.get("trials", {}).get("running", 0) > 0)
        kill_process(deployment, "hub")
        user.wait_finished("sweep", "hub-kill", timeout_s=400)
        assert_each_trial_once(user, "hub-kill")
        with reader_of(user) as client:
            for trial in user.list("experiments", "orkhaven.io/sweep=hub-kill"):
                path = f"{user.namespace}/experiments/{trial['metadata']['name']}/metrics/val/dice"
                assert read(client, path)["step"] == [1, 2, 3, 4, 5, 6]

    @pytest.mark.alone
    def test_a_deleted_hub_changes_nothing_about_the_end(self, user: User, deployment: Deployment) -> None:
        """Its history is gone with its volume (the chart's default is an emptyDir); every result is in the status."""
        user.apply(seeds_sweep("hub-gone", parallelism=2))
        user.wait("sweep", "hub-gone", lambda status: status.get("trials", {}).get("running", 0) > 0)
        kill_component(deployment, "hub")
        user.wait_finished("sweep", "hub-gone", timeout_s=400)
        assert_each_trial_once(user, "hub-gone")


def kill_component(deployment: Deployment, component: str, *, meanwhile: Callable[[], object] = lambda: None) -> None:
    """SIGKILL to the process itself, and wait until another one does its work; `meanwhile` is done before that."""
    selector = f"app.kubernetes.io/component={component}"
    kubectl = deployment.cluster.kubectl
    before = kubectl("get", "pods", "-n", SYSTEM_NAMESPACE, "-l", selector, "-o", "jsonpath={.items[*].metadata.uid}")
    # --force with a grace period of 0 is SIGKILL without a goodbye; in place the kubelet's back-off would add up.
    kubectl("delete", "pod", "-n", SYSTEM_NAMESPACE, "-l", selector, "--force", "--grace-period=0", "--wait=false")
    meanwhile()

    def replaced() -> bool:
        pods = deployment.get("pods", "-n", SYSTEM_NAMESPACE, "-l", selector)["items"]
        fresh = [pod for pod in pods if pod["metadata"]["uid"] not in before.split()]
        return bool(fresh) and all(condition(pod["status"], "Ready") == "True" for pod in fresh)

    wait_until(f"another {component}", replaced, timeout_s=60)


def kill_process(deployment: Deployment, component: str) -> None:
    """kill -9 of the component's process in its container, and wait until the kubelet has started another one there."""
    selector = f"app.kubernetes.io/component={component}"

    def only() -> Body:
        (pod,) = deployment.get("pods", "-n", SYSTEM_NAMESPACE, "-l", selector)["items"]
        found: Body = pod
        return found

    before = only()
    deployment.cluster.kill_containers(before["metadata"]["uid"])

    def again() -> bool:
        pod = only()
        assert pod["metadata"]["uid"] == before["metadata"]["uid"], "the pod is to stay, with its volumes"
        (now,), (then,) = pod["status"]["containerStatuses"], before["status"]["containerStatuses"]
        return bool(now["restartCount"] > then["restartCount"] and now["ready"])

    wait_until(f"the {component} in its pod again", again, timeout_s=60)


class TestByHand:
    def test_a_job_and_a_pod_deleted_by_hand_are_made_up_for(self, user: User) -> None:
        # Long enough that they are still learning when it happens: one that only writes its report ends well.
        user.apply(seeds_sweep("by-hand", parallelism=2, template={"params": {"epochs": 10}}))

        def running() -> list[Body]:
            trials = user.list("experiments", "orkhaven.io/sweep=by-hand")
            return [trial for trial in trials if trial.get("status", {}).get("state") == "Running"]

        first = wait_until("a running trial", running, timeout_s=120)[0]["metadata"]["name"]
        user.kubectl("delete", "job", f"{first}-1", "--wait=false")
        second = wait_until(
            "another running trial", lambda: [t for t in running() if t["metadata"]["name"] != first], timeout_s=120
        )[0]["metadata"]["name"]
        user.kubectl("delete", "pod", "-l", f"orkhaven.io/experiment={second}", "--wait=false")
        user.wait_finished("sweep", "by-hand", timeout_s=400)
        assert_each_trial_once(user, "by-hand")
        assert len(user.status("experiment", first)["attempts"]) == 2

    def test_a_suspended_sweep_gives_its_gpus_back_and_goes_on_where_it_was(self, user: User) -> None:
        user.apply(seeds_sweep("pause", parallelism=2, template={"params": {"epochs": 6}}))
        user.wait("sweep", "pause", lambda status: status.get("trials", {}).get("running", 0) == 2)
        user.kubectl("patch", "sweep", "pause", "--type=merge", "-p", '{"spec": {"suspend": true}}')
        user.wait("sweep", "pause", lambda status: status.get("state") == "Suspended")
        wait_until("no pods", lambda: not user.list("pods", "orkhaven.io/sweep=pause"), timeout_s=90)
        user.kubectl("patch", "sweep", "pause", "--type=merge", "-p", '{"spec": {"suspend": false}}')
        user.wait_finished("sweep", "pause", timeout_s=400)
        status = user.status("sweep", "pause")
        assert status["trials"]["succeeded"] == len(SEEDS), status


@pytest.mark.alone
class TestApiServer:
    def test_away_for_a_minute(self, user: User, deployment: Deployment) -> None:
        if deployment.cluster.mode == "kind":
            pytest.skip("the API server of a kind cluster is not ours to stop")
        user.apply(seeds_sweep("outage", parallelism=2))
        user.wait("sweep", "outage", lambda status: status.get("trials", {}).get("running", 0) > 0)
        deployment.cluster.kill("kube-apiserver", signal.SIGKILL)
        back_at = time.monotonic() + 60
        wait_until("a minute without the API server", lambda: time.monotonic() >= back_at, timeout_s=90)
        deployment.cluster.restart("kube-apiserver")
        user.wait_finished("sweep", "outage", timeout_s=400)
        assert_each_trial_once(user, "outage")


def test_a_deleted_sweep_leaves_nothing_but_its_results(user: User, results: Any) -> None:
    user.apply(seeds_sweep("gone", parallelism=2))
    user.wait("sweep", "gone", lambda status: status.get("trials", {}).get("succeeded", 0) >= 1)
    user.wait("sweep", "gone", lambda status: status.get("trials", {}).get("running", 0) >= 1)
    user.kubectl("delete", "sweep", "gone", "--wait=true")
    for kind in ("experiments", "jobs", "pods"):
        wait_until(f"no {kind}", lambda kind=kind: not user.list(kind), timeout_s=90)
    finished = [path for path in results.iterdir() if (path / "result.json").exists()]
    assert finished, f"no results under {results}"
