"""What goes on around the operator: Job controller, scheduler and kubelet as rules that are taken one step at a time.

Each rule looks at the cluster and changes it as the real part would; none of them waits. Names of pods are counted,
not drawn, so that a run can be repeated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from orkrun.contract import LABEL_EXPERIMENT, VERSION
from tests.sim.cluster import Body, FakeCluster, clone, stamp

GPU = "nvidia.com/gpu"
TERMINAL = ("Succeeded", "Failed")
GRACE_PERIOD = 60
"""Seconds until a pod that was told to stop is killed."""


def record(
    value: float | None,
    *,
    outcome: str = "Succeeded",
    failure: dict[str, str] | None = None,
    checkpoint: int | None = None,
) -> str:
    """A termination record of the contract."""
    body: dict[str, Any] = {"version": VERSION, "outcome": outcome, "step": 3, "totalSteps": 3}
    if value is not None:
        body["objective"] = {"value": value, "step": 2}
        body["metrics"] = {"val/dice": {"last": value, "best": value, "bestStep": 2}}
    if failure is not None:
        body["failure"] = failure
    if checkpoint is not None:
        body["checkpoint"] = {"step": checkpoint, "path": "/output/last.pt"}
    return json.dumps(body)


@dataclass
class World:
    """The rules, and the few things that can go wrong."""

    cluster: FakeCluster
    pods_made: dict[str, int] = field(default_factory=dict)
    reports: dict[str, dict[int, float | None]] = field(default_factory=dict)
    """By an Experiment's uid: step -> objective, as the hub's store has it."""
    grace: float | None = None
    """Seconds that a pod which is told to stop takes for its checkpoint; None: it is gone at once, with what it said
    last."""

    # --- set-up ------------------------------------------------------------------------------------------------------

    def add_node(self, name: str, *, gpus: int) -> None:
        self.cluster.add(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.memory": "40960"},
                },
                "spec": {},
                "status": {
                    "allocatable": {GPU: str(gpus)},
                    "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
                },
            }
        )

    # --- rules; each returns whether it did something ----------------------------------------------------------------

    def job_controller(self) -> bool:
        """Pods for released Jobs, none for suspended ones, the end of Jobs whose pod has ended."""
        return sum(self._sync_job(job) for job in self.cluster.look("Job")) > 0

    def scheduler(self) -> bool:
        """One pod that fits is bound."""
        for pod in self.cluster.look("Pod"):
            if (
                pod["spec"].get("nodeName")
                or pod["status"]["phase"] in TERMINAL
                or "deletionTimestamp" in pod["metadata"]
            ):
                continue
            for node in self.cluster.look("Node"):
                if ready(node) and may_go(pod, node) and self.free(node["metadata"]["name"]) >= gpus(pod):
                    self._pod(
                        pod, lambda p, n=node: (p["spec"].update(nodeName=n["metadata"]["name"]), _scheduled(p, self))
                    )
                    return True
        return False

    def start(self, pod: Body) -> None:
        """The kubelet has started its container."""
        at = stamp(self.cluster.clock.now())

        def change(p: Body) -> None:
            p["status"].update(
                phase="Running",
                startTime=at,
                containerStatuses=[{"name": "trainer", "state": {"running": {"startedAt": at}}}],
            )

        self._pod(pod, change)

    def end(self, pod: Body, *, exit_code: int = 0, message: str | None = None, reason: str | None = None) -> None:
        """Its container has ended."""
        at = stamp(self.cluster.clock.now())

        def change(p: Body) -> None:
            state: Body = {
                "exitCode": exit_code,
                "finishedAt": at,
                "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            }
            running = (p["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("running")
            if running:
                state["startedAt"] = running["startedAt"]
            if message is not None:
                state["message"] = message
            p["status"].update(
                phase="Succeeded" if exit_code == 0 else "Failed",
                containerStatuses=[{"name": "trainer", "state": {"terminated": state}}],
            )

        self._pod(pod, change)

    def succeed(self, pod: Body, value: float) -> None:
        self.end(pod, message=record(value))

    def fail(self, pod: Body, exit_code: int = 1) -> None:
        failure = {"type": "builtins.RuntimeError", "message": "it broke", "location": "train.py:1 in main"}
        self.end(pod, exit_code=exit_code, message=record(None, outcome="Failed", failure=failure))

    def out_of_memory(self, pod: Body) -> None:
        self.end(pod, exit_code=137, reason="OOMKilled")

    def evict(self, pod: Body) -> None:
        """Drained by the eviction API: told first, then ended by SIGTERM."""
        self._pod(pod, lambda p: _disrupt(p, "EvictionByEvictionAPI", self))
        self.end(pod, exit_code=143, message=record(None, outcome="Interrupted"))

    def lose_node(self, name: str) -> None:
        """The node stops answering; its pods are failed by the pod garbage collector."""

        def unready(node: Body) -> None:
            node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]

        self.cluster.change("Node", "", name, unready)
        for pod in self.cluster.look("Pod"):
            if pod["spec"].get("nodeName") == name and pod["status"]["phase"] not in TERMINAL:
                self._pod(
                    pod,
                    lambda p: (
                        _disrupt(p, "DeletionByPodGC", self),
                        p["status"].update(phase="Failed", reason="NodeLost"),
                    ),
                )

    def return_node(self, name: str) -> None:
        def is_ready(node: Body) -> None:
            node["status"]["conditions"] = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]

        self.cluster.change("Node", "", name, is_ready)

    def delete_pod(self, pod: Body) -> None:
        """By hand. The Job controller counts it as failed (backoffLimit 0)."""
        meta = pod["metadata"]
        self.cluster.remove("Pod", meta["namespace"], meta["name"])

    def delete_job(self, job: Body) -> None:
        """By hand; its pods go with it."""
        meta = job["metadata"]
        self.cluster.remove("Job", meta["namespace"], meta["name"])
        while self.cluster.collect():
            pass

    # --- the hub -----------------------------------------------------------------------------------------------------

    def report(self, namespace: str, name: str, step: int, value: float | None, *, total: int) -> None:
        """The run reports its objective, None for NaN, and the hub writes what follows from all reports so far: see
        docs/early-stopping.md. Larger is better here, unless the Experiment says otherwise."""
        experiment = self.cluster.find("Experiment", namespace, name)
        if experiment is None:
            return
        reports = self.reports.setdefault(experiment["metadata"]["uid"], {})
        reports[step] = value
        spec = experiment["spec"]
        low = (spec.get("objective") or {}).get("direction") == "Minimize"

        def best(steps: list[int]) -> tuple[float, int] | None:
            finite = [(v, s) for s in steps if (v := reports[s]) is not None]
            return min(finite, key=lambda one: (one[0] if low else -one[0], one[1]), default=None)

        rungs: list[Body] = []
        for rung in spec.get("rungs", ()):
            if max(reports) < rung:
                break
            seen = [s for s in reports if s <= rung] or [min(reports)]
            found = best(seen)
            rungs.append({"step": rung, **({} if found is None else {"value": found[0]})})
        leader = best(list(reports))
        metric = {} if leader is None else {"best": leader[0], "bestStep": leader[1]}

        def change(body: Body) -> None:
            status = body.setdefault("status", {})
            status["progress"] = {"step": step, "totalSteps": total}
            status.setdefault("metrics", {})[spec["objective"]["metric"]] = metric
            if leader is not None:
                status["objective"] = {"value": leader[0], "step": leader[1], "rungs": rungs}

        if not any(c["type"] == "Finished" and c["status"] == "True" for c in experiment["status"]["conditions"]):
            self.cluster.change("Experiment", namespace, name, change)

    # --- looks -------------------------------------------------------------------------------------------------------

    def pods(self, *phases: str) -> list[Body]:
        """Those in one of the phases that a kubelet could act on."""
        return [p for p in self.cluster.look("Pod") if p["status"]["phase"] in phases and p["spec"].get("nodeName")]

    def free(self, node: str) -> int:
        body = self.cluster.objects["Node", "", node]
        held = sum(
            gpus(p)
            for p in self.cluster.look("Pod")
            if p["spec"].get("nodeName") == node and p["status"]["phase"] not in TERMINAL
        )
        return int(body["status"]["allocatable"][GPU]) - held

    def pod_has_ended(self, job: Body) -> bool:
        """Whether it has had one, and none holds anything any more."""
        pods = [p for p in self.cluster.look("Pod") if _owned(p, job["metadata"]["uid"])]
        return bool(pods) and all(p["status"]["phase"] in TERMINAL for p in pods)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _sync_job(self, job: Body) -> bool:
        meta, status = job["metadata"], job.get("status", {})
        if finished(job):
            return False
        pods = [p for p in self.cluster.look("Pod") if _owned(p, meta["uid"])]
        live = [p for p in pods if p["status"]["phase"] not in TERMINAL]
        if any(p["status"]["phase"] == "Succeeded" for p in pods):
            # Suspended or not: what is done is done.
            self._finish(job, won=True)
            return True
        if job["spec"].get("suspend"):
            # One for whom somebody waits is not told twice.
            told = sum([self._tell_to_stop(pod) for pod in pods]) > 0
            if told or status.get("active") or status.get("startTime"):
                since = {"type": "Suspended", "status": "True", "lastTransitionTime": stamp(self.cluster.clock.now())}
                self._job(job, active=0, startTime=None, conditions=status.get("conditions") or [since])
                return True
            return False
        ended = [p for p in pods if p["status"]["phase"] in TERMINAL]
        if ended:
            won = any(p["status"]["phase"] == "Succeeded" for p in ended)
            self._finish(job, won)
            return True
        if live:
            if status.get("active") != len(live):
                self._job(job, active=len(live))
                return True
            return False
        if status.get("active"):
            self._finish(job, won=False)
            return True
        self._create_pod(job)
        # With the pod in the same step: a pod deleted by hand right after it was made counts as failed too.
        self._job(job, active=1, startTime=stamp(self.cluster.clock.now()), conditions=None)
        return True

    def _tell_to_stop(self, pod: Body) -> bool:
        """SIGTERM; what was told has its time, then says how it ended, then is gone. Whether anything happened."""
        now = self.cluster.clock.now()
        if self.grace is not None and ended_at(pod) == stamp(now):
            return False  # cleaning up takes the kubelet a moment
        if self.grace is None or pod["status"]["phase"] != "Running":
            self.cluster.remove("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
        elif "deletionTimestamp" not in pod["metadata"]:
            late = stamp(now + timedelta(seconds=GRACE_PERIOD))
            self._pod(
                pod, lambda p: p["metadata"].update(deletionTimestamp=late, deletionGracePeriodSeconds=GRACE_PERIOD)
            )
        elif (
            stamp(now - timedelta(seconds=self.grace) + timedelta(seconds=GRACE_PERIOD))
            >= (pod["metadata"]["deletionTimestamp"])
        ):
            self.end(pod, exit_code=143, message=record(None, outcome="Interrupted", checkpoint=2))
        else:
            return False
        return True

    def _create_pod(self, job: Body) -> None:
        meta = job["metadata"]
        number = self.pods_made[meta["uid"]] = self.pods_made.get(meta["uid"], 0) + 1
        template = clone(job["spec"]["template"])
        self.cluster.add(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    **template.get("metadata", {}),
                    "namespace": meta["namespace"],
                    "name": f"{meta['name']}-{meta['uid']}-{number}",
                    "labels": {**template["metadata"].get("labels", {}), "batch.kubernetes.io/job-name": meta["name"]},
                    "ownerReferences": [
                        {
                            "apiVersion": "batch/v1",
                            "kind": "Job",
                            "name": meta["name"],
                            "uid": meta["uid"],
                            "controller": True,
                        }
                    ],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }
        )

    def _finish(self, job: Body, won: bool) -> None:
        at = stamp(self.cluster.clock.now())
        condition = {"type": "Complete", "status": "True", "lastTransitionTime": at}
        if not won:
            condition |= {
                "type": "Failed",
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
            }
        self._job(job, active=0, conditions=[condition])

    def _job(self, job: Body, **status: Any) -> None:
        def change(j: Body) -> None:
            held = j.setdefault("status", {})
            for key, value in status.items():
                held.pop(key, None) if value is None else held.update({key: value})

        self.cluster.change("Job", job["metadata"]["namespace"], job["metadata"]["name"], change)

    def _pod(self, pod: Body, change: Any) -> None:
        self.cluster.change("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"], change)


def gpus(pod: Body) -> int:
    return sum(
        int((c.get("resources", {}).get("limits") or {}).get(GPU) or 0) for c in pod["spec"].get("containers", ())
    )


def ended_at(pod: Body) -> str | None:
    statuses = pod["status"].get("containerStatuses") or [{}]
    found: str | None = statuses[0].get("state", {}).get("terminated", {}).get("finishedAt")
    return found


def finished(job: Body) -> bool:
    return any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True"
        for c in job.get("status", {}).get("conditions", ())
    )


def may_go(pod: Body, node: Body) -> bool:
    """Whether its node affinity lets it: of that, host names that it goes past are all that matters here."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    past = {
        name
        for term in terms
        for one in term.get("matchExpressions", ())
        if (one["key"], one["operator"]) == ("kubernetes.io/hostname", "NotIn")
        for name in one["values"]
    }
    return node["metadata"]["name"] not in past


def ready(node: Body) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])


def experiment_of(body: Body) -> str:
    return str(body["metadata"]["labels"][LABEL_EXPERIMENT])


def _owned(pod: Body, uid: str) -> bool:
    return any(ref["uid"] == uid for ref in pod["metadata"].get("ownerReferences", ()))


def _scheduled(pod: Body, world: World) -> None:
    at = stamp(world.cluster.clock.now())
    pod["status"].setdefault("conditions", []).append(
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at}
    )


def _disrupt(pod: Body, reason: str, world: World) -> None:
    at = stamp(world.cluster.clock.now())
    pod["status"].setdefault("conditions", []).append(
        {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": reason, "lastTransitionTime": at}
    )
