"""An Experiment under any order of events, with a crash after any write: it ends once, and then nothing is done."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orkhaven.core.actions import DeleteJob
from tests.unit.core.world import DONE, START, World, make_experiment, make_node, record

TERMINAL = ("Succeeded", "Failed")
LIMIT = 2


class Faults(RuleBasedStateMachine):
    """The cluster does what it likes; the operator looks now and then, and may die after each of its writes."""

    @initialize(suspended=st.booleans())
    def start(self, suspended: bool) -> None:
        self.world = World(make_experiment(retry={"limit": LIMIT}, suspend=suspended, maxRunTime="1h"))
        self.ended: dict[str, Any] | None = None
        self.pods_made = 0

    # --- the operator

    @rule()
    def look(self) -> None:
        self.world.look()

    @rule(done=st.integers(0, 2))
    def look_and_die(self, done: int) -> None:
        """So many actions are carried out, the status is never written."""
        for action in self.world.plan().actions[:done]:
            self.world.carry_out(action)

    @rule()
    def restart_and_rest(self) -> None:
        self.world.settle()

    # --- the user

    @rule(suspended=st.booleans())
    def ask(self, suspended: bool) -> None:
        self.world.suspend(suspended)

    @precondition(lambda self: bool(self.world.jobs))
    @rule()
    def delete_job(self) -> None:
        name = self.world.job["metadata"]["name"]
        del self.world.jobs[name]

    # --- the cluster

    @rule(seconds=st.sampled_from([1, 10, 60, 700]))
    def time(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule()
    def release(self) -> None:
        wanted = self.world.view().status.state not in TERMINAL and not self.world.experiment["spec"].get("suspend")
        if self.world.jobs and wanted and not self.busy() and not self.over(self.world.job):
            self.world.release()

    @rule()
    def make_pod(self) -> None:
        if self.wants_pod():
            self.pods_made += 1
            self.world.start(suffix=f"p{self.pods_made}")

    def wants_pod(self) -> bool:
        if not self.world.jobs or self.busy():
            return False
        job = self.world.job
        return not job["spec"]["suspend"] and not self.over(job) and not self.pods_of(job)

    @rule(code=st.sampled_from([0, 0, 1, 64, 75, 137, 143]), told=st.booleans(), job=st.booleans())
    def container_ends(self, code: int, told: bool, job: bool) -> None:
        if self.busy():
            outcome = "Succeeded" if code == 0 else "Interrupted" if code == 143 else "Failed"
            message = (DONE if code == 0 else record(outcome)) if told else ""
            mine = (
                bool(self.world.jobs) and not self.world.job["spec"]["suspend"] and self.pods_of(self.world.job) != []
            )
            self.world.exit(code, message, job=job and mine)

    @rule(reason=st.sampled_from(["ImagePullBackOff", "CreateContainerConfigError", "ContainerCreating"]))
    def container_waits(self, reason: str) -> None:
        if self.busy():
            self.world.waits(reason)

    @rule(reason=st.sampled_from(["PreemptionByScheduler", "EvictionByEvictionAPI", "DeletionByTaintManager"]))
    def disrupt(self, reason: str) -> None:
        if self.busy():
            self.world.disrupt(reason).delete_pod()

    @rule()
    def delete_pod(self) -> None:
        if self.busy():
            self.world.delete_pod()

    @rule()
    def pod_goes(self) -> None:
        """Its object is removed; a Job that still counts on it fails."""
        if self.world.pods:
            name, body = self.world.pods.popitem()
            for job in self.world.jobs.values():
                mine = name.startswith(f"{job['metadata']['name']}-")
                if mine and not self.over(job) and not job["spec"]["suspend"]:
                    good = body["status"]["phase"] == "Succeeded"
                    job["status"]["conditions"] = [
                        {
                            "type": "Complete" if good else "Failed",
                            "status": "True",
                            "reason": "BackoffLimitExceeded",
                            "lastTransitionTime": self.world.now.isoformat(),
                        }
                    ]

    @rule(ready=st.booleans())
    def node(self, ready: bool) -> None:
        self.world.nodes["n1"] = make_node(ready=ready)

    @rule()
    def hub(self) -> None:
        self.world.hub(objective={"value": 0.5, "step": 1})

    # --- what always holds

    def over(self, job: dict[str, Any]) -> bool:
        return bool(job["status"].get("conditions"))

    def pods_of(self, job: dict[str, Any]) -> list[str]:
        return [name for name in self.world.pods if name.startswith(f"{job['metadata']['name']}-")]

    def busy(self) -> bool:
        return any(pod["status"]["phase"] not in TERMINAL for pod in self.world.pods.values())

    @invariant()
    def at_most_one_job_is_alive(self) -> None:
        assert sum(not self.over(job) and not self.pods_ended(job) for job in self.world.jobs.values()) <= 1

    def pods_ended(self, job: dict[str, Any]) -> bool:
        pods = [self.world.pods[name] for name in self.pods_of(job)]
        return bool(pods) and all(pod["status"]["phase"] in TERMINAL for pod in pods)

    @invariant()
    def attempts_are_numbered_once_and_within_their_limits(self) -> None:
        status = self.world.status
        numbers = [attempt["number"] for attempt in status.get("attempts", [])]
        assert numbers == sorted(set(numbers))
        assert status.get("retriesUsed", 0) <= LIMIT
        assert status.get("attemptCount", 0) >= max(numbers, default=0)
        assert all("reason" in attempt for attempt in status.get("attempts", [])[:-1])
        assert status.get("gpuSeconds", 0) == sum(a.get("gpuSeconds", 0) for a in status.get("attempts", [])) or (
            len(numbers) == 10
        )

    @invariant()
    def no_second_of_a_gpu_is_counted_twice(self) -> None:
        assert self.world.status.get("gpuSeconds", 0) <= (self.world.now - START).total_seconds()

    @invariant()
    def what_is_over_stays_as_it_is(self) -> None:
        if self.world.status.get("state") not in TERMINAL:
            assert self.ended is None
            return
        plan = self.world.plan()
        # What it leaves behind is removed in time; of itself nothing changes.
        assert (plan.status, plan.notes) == (None, ())
        assert all(isinstance(action, DeleteJob) for action in plan.actions)
        own = {key: value for key, value in self.world.status.items() if key != "objective"}
        assert self.ended in (None, own)
        self.ended = own

    def teardown(self) -> None:
        """Once the faults stop and the cluster works, it comes to an end in few steps, and then writes nothing."""
        world = self.world
        world.nodes["n1"] = make_node()
        world.suspend(False)
        for _ in range(40):
            world.settle()
            if world.status["state"] in TERMINAL:
                break
            for job in world.jobs.values():
                if not self.over(job) and not job["spec"]["suspend"] and self.pods_ended(job):
                    # The Job controller sees the end of a pod, sooner or later.
                    job["status"]["conditions"] = [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}]
            if self.busy():
                for job in world.jobs.values():
                    job["spec"]["suspend"] = job["spec"]["suspend"] and not self.pods_of(job)
                mine = bool(world.jobs) and self.pods_of(world.job) != [] and not self.over(world.job)
                world.exit(0, DONE, job=mine)
            elif world.jobs and world.job["spec"]["suspend"]:
                world.release()
            elif self.wants_pod():
                self.make_pod()
            world.wait(60)
        assert world.status["state"] in TERMINAL, world.status
        ended = json.dumps(world.status, sort_keys=True)
        world.wait(3600).settle()
        assert json.dumps(world.status, sort_keys=True) == ended
        assert world.jobs == {}
        writes = world.writes
        world.wait(3600).settle()
        assert world.writes == writes


Faults.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFaults = Faults.TestCase
