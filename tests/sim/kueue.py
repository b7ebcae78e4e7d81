"""Kueue's part, written down as it was seen to act: Workloads for labelled Jobs, quota, eviction, and conditions that
are never removed.

One LocalQueue of one ClusterQueue, both named `small`; a Job of another queue waits as Misconfigured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orkhaven.core.kueue.labels import LABEL_PRIORITY_CLASS, LABEL_QUEUE
from tests.sim.cluster import Body, FakeCluster, stamp
from tests.sim.world import finished, gpus

PREEMPTED = "Preempted to accommodate a workload (UID: u, JobUID: j) due to prioritization in the ClusterQueue"


@dataclass
class KueueController:
    """The rules; `step` is one round of all of them."""

    cluster: FakeCluster
    quota: int = 2
    queues: set[str] = field(default_factory=lambda: {"small"})
    classes: set[str] = field(default_factory=set)
    flavor: str = "h100"
    made: int = 0

    def install(self, *versions: str) -> None:
        self.cluster.workloads = versions or ("v1beta2", "v1beta1")

    def uninstall(self) -> None:
        """The CRD goes, and with it all Workloads."""
        self.cluster.workloads = ()
        for body in self.cluster.all("Workload"):
            self.cluster.remove("Workload", body["metadata"]["namespace"], body["metadata"]["name"])

    def step(self) -> None:
        if not self.cluster.workloads:
            return
        for job in self.cluster.all("Job"):
            self._make(job)
        for workload in self.cluster.all("Workload"):
            self._sync(workload)

    def evict(self, job: str, reason: str = "Preempted", message: str = PREEMPTED) -> None:
        """The first of its writes: it is still Admitted, and its Job runs."""
        self._tell(
            self.of(job), {"Evicted": ("True", reason, message), "Preempted": ("True", "InClusterQueue", message)}
        )

    def deactivate(self, job: str) -> None:
        """An admin's."""
        meta = self.of(job)["metadata"]
        self.cluster.change("Workload", meta["namespace"], meta["name"], lambda body: body["spec"].update(active=False))

    def of(self, job: str) -> Body:
        (found,) = [w for w in self.cluster.all("Workload") if w["metadata"]["ownerReferences"][0]["name"] == job]
        return found

    # --- inside ------------------------------------------------------------------------------------------------------

    def _make(self, job: Body) -> None:
        meta = job["metadata"]
        labels = meta.get("labels", {})
        queue, named = labels.get(LABEL_QUEUE), labels.get(LABEL_PRIORITY_CLASS)
        there = any(w["metadata"]["ownerReferences"][0]["uid"] == meta["uid"] for w in self.cluster.look("Workload"))
        if not queue or finished(job) or (named and named not in self.classes):
            return  # of a class that is not there only an Event tells
        if there:
            return
        self.made += 1
        self.cluster.add(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": "Workload",
                "metadata": {
                    "namespace": meta["namespace"],
                    "name": f"job-{meta['name']}-{self.made:05x}",
                    "labels": {"kueue.x-k8s.io/job-uid": meta["uid"]},
                    "ownerReferences": [
                        {"apiVersion": "batch/v1", "kind": "Job", "controller": True, "name": meta["name"]}
                        | {"uid": meta["uid"]}
                    ],
                },
                "spec": {"active": True, "queueName": queue},
            }
        )

    def _sync(self, workload: Body) -> None:
        meta = workload["metadata"]
        job = self.cluster.find("Job", meta["namespace"], meta["ownerReferences"][0]["name"])
        if job is None or _holds(workload, "Finished"):
            return
        queue = job["metadata"]["labels"].get(LABEL_QUEUE)
        if finished(job):
            self._tell(workload, {"Finished": ("True", "Succeeded", "Reached expected number of succeeded pods")})
        elif not workload["spec"]["active"] and _holds(workload, "Admitted") and not _holds(workload, "Evicted"):
            self._tell(workload, {"Evicted": ("True", "Deactivated", "The workload is deactivated")})
        elif _holds(workload, "Evicted") and _holds(workload, "Admitted"):
            self._stop(workload, job)
        elif not workload["spec"]["active"]:
            told = {"QuotaReserved": ("False", "Deactivated", "The workload is deactivated")}
            self._tell(workload, told | {"Requeued": ("False", "Deactivated", "The workload is deactivated")})
        elif _holds(workload, "Admitted"):
            if job["spec"]["suspend"]:
                self._suspend(job, suspend=False)
        elif queue not in self.queues:
            self._wait(workload, "Misconfigured", f"LocalQueue {queue} doesn't exist")
        else:
            self._admit(workload, job)

    def _stop(self, workload: Body, job: Body) -> None:
        if not job["spec"]["suspend"]:
            self._suspend(job, suspend=True)
        elif not job.get("status", {}).get("active"):
            reason = next(c["reason"] for c in workload["status"]["conditions"] if c["type"] == "Evicted")
            self._tell(
                workload,
                {
                    "QuotaReserved": ("False", "PendingEvaluation", "evicted"),
                    "Admitted": ("False", "NoReservation", "The workload has no reservation"),
                    "Requeued": ("False" if reason == "Deactivated" else "True", reason, PREEMPTED),
                },
                admission=None,
            )

    def _admit(self, workload: Body, job: Body) -> None:
        wanted = gpus({"spec": job["spec"]["template"]["spec"]})
        held = sum(
            int(pods["resourceUsage"]["nvidia.com/gpu"])
            for other in self.cluster.look("Workload")
            if _holds(other, "QuotaReserved") and not _holds(other, "Finished")
            for pods in other["status"]["admission"]["podSetAssignments"]
        )
        if wanted > self.quota:
            self._wait(workload, "ExceedsMaxQuota", f"insufficient quota, maximum capacity ({self.quota})")
        elif held + wanted > self.quota:
            more = held + wanted - self.quota
            self._wait(
                workload, "WaitingForQuota", f"insufficient unused quota in flavor {self.flavor}, {more} more needed"
            )
        else:
            told = {
                "QuotaReserved": ("True", "QuotaReserved", "Quota reserved in ClusterQueue small"),
                "Admitted": ("True", "Admitted", "The workload is admitted"),
            }
            for kind in ("Evicted", "Preempted"):
                if _holds(workload, kind):
                    told[kind] = ("False", "QuotaReserved", f"Previously: {PREEMPTED}")
            assigned = {"name": "main", "flavors": {"cpu": "any", "nvidia.com/gpu": self.flavor}}
            assigned |= {"resourceUsage": {"nvidia.com/gpu": str(wanted)}}
            self._tell(workload, told, admission={"clusterQueue": "small", "podSetAssignments": [assigned]})

    def _wait(self, workload: Body, reason: str, message: str) -> None:
        told = {"QuotaReserved": ("False", reason, message)}
        self._tell(workload, told | {"Admitted": ("False", "NoReservation", "The workload has no reservation")})

    def _suspend(self, job: Body, *, suspend: bool) -> None:
        meta = job["metadata"]
        self.cluster.change("Job", meta["namespace"], meta["name"], lambda body: body["spec"].update(suspend=suspend))

    def _tell(self, workload: Body, told: dict[str, tuple[str, str, str]], **status: Any) -> None:
        at, meta = stamp(self.cluster.clock.now()), workload["metadata"]

        def change(body: Body) -> None:
            held = body.setdefault("status", {})
            conditions = held.setdefault("conditions", [])
            for kind, (value, reason, message) in told.items():
                known = next((c for c in conditions if c["type"] == kind), None)
                if known is None:
                    known = {"type": kind, "lastTransitionTime": at}
                    conditions.append(known)
                elif known["status"] != value:
                    known["lastTransitionTime"] = at
                known |= {"status": value, "reason": reason, "message": message}
            for name, value in status.items():
                held.pop(name, None) if value is None else held.update({name: value})

        self.cluster.change("Workload", meta["namespace"], meta["name"], change)


def _holds(workload: Body, kind: str) -> bool:
    conditions = workload.get("status", {}).get("conditions", ())
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)
