"""Anything may happen, in any order: whatever hypothesis thinks of, the invariants hold and the sweep comes to its end.

The invariants (`Simulation.check` after every step): at most one live Job for each Experiment, released GPUs within
what there is, retries within their limit, an end that never changes, each trial made once. At the end: quiet in bounded
steps, counts that are true, and not one write when everything is looked at again. With identical sweeps beside it: no
two Jobs in one folder at a time.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orkhaven.errors import Conflict, Unavailable
from tests.sim.cluster import Body, drive
from tests.sim.harness import NAMESPACE, Crash, Simulation, all_succeed
from tests.sim.runs import check_folders, preempt_job, run_by_hand
from tests.sim.world import experiment_of, finished

SOME = st.integers(min_value=0, max_value=10_000)


class Operator(RuleBasedStateMachine):
    """One sweep of six trials on two nodes, and everything that can go wrong around it."""

    urgent = 0
    """Runs that came before all others."""

    @initialize(parallelism=st.integers(1, 4), gpus=st.integers(1, 2), stopping=st.sampled_from(["ASHA", "Patience"]))
    def begin(self, parallelism: int, gpus: int, stopping: str) -> None:
        self.sim = Simulation(nodes={"a": 2, "b": 1})
        self.sim.apply_sweep(
            parameters=[{"name": "lr", "values": [1, 2, 3, 4, 5, 6]}],
            parallelism=parallelism,
            template={
                "params": {},
                "resources": {"gpus": gpus},
                "retry": {"limit": 2},
                "priority": "Preemptible",
            },
            earlyStopping={"algorithm": stopping, **({"patience": 3} if stopping == "Patience" else {})},
        )
        self.total, self.counts, self.gpus = 6, True, gpus

    # --- the operator ------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 20))
    def is_told(self, count: int) -> None:
        self.sim.deliver(count)

    @rule(count=st.integers(1, 30))
    def works(self, count: int) -> None:
        for _ in range(count):
            if drive(self.sim.engine.process_next()) is None:
                return

    @rule()
    def lists(self) -> None:
        drive(self.sim.resync.run_once())

    @rule()
    def is_restarted(self) -> None:
        self.sim.restart()

    @rule(skip=st.integers(0, 5), after=st.booleans())
    def crashes_at_a_write(self, skip: int, after: bool) -> None:
        self._fault(skip, Crash(), after=after)

    @rule(skip=st.integers(0, 5), after=st.booleans(), conflict=st.booleans())
    def is_refused_a_write(self, skip: int, after: bool, conflict: bool) -> None:
        error = Conflict("somebody was faster", status=409) if conflict else Unavailable("away")
        self._fault(skip, error, after=after and not conflict)

    # --- what it is told ---------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def events_are_lost(self, count: int) -> None:
        self.sim.drop(count)

    @precondition(lambda self: self.sim.told)
    @rule(which=SOME)
    def an_old_event_comes_again(self, which: int) -> None:
        self.sim.tell(self.sim.told[which % len(self.sim.told)])

    # --- the cluster -------------------------------------------------------------------------------------------------

    @rule()
    def jobs_are_synced(self) -> None:
        self.sim.world.job_controller()

    @rule()
    def a_pod_is_bound(self) -> None:
        self.sim.world.scheduler()

    @rule(which=SOME)
    def a_pod_starts(self, which: int) -> None:
        if (pod := self._pod(which, "Pending")) is not None:
            self.sim.world.start(pod)

    @rule(which=SOME)
    def a_pod_succeeds(self, which: int) -> None:
        if (pod := self._pod(which, "Running")) is not None:
            all_succeed(self.sim.world, pod)

    @rule(which=SOME, step=st.integers(1, 8), value=st.sampled_from([None, 0.1, 0.4, 0.5, 0.9]))
    def a_run_reports(self, which: int, step: int, value: float | None) -> None:
        if (pod := self._pod(which, "Running")) is not None:
            self.sim.world.report(NAMESPACE, experiment_of(pod), step, value, total=9)

    @rule(which=SOME, how=st.sampled_from(["fail", "out_of_memory", "evict", "delete_pod"]))
    def a_pod_ends_otherwise(self, which: int, how: str) -> None:
        if (pod := self._pod(which, "Running")) is not None:
            getattr(self.sim.world, how)(pod)

    @rule(which=SOME)
    def a_job_is_deleted_by_hand(self, which: int) -> None:
        jobs = [job for job in self.sim.cluster.look("Job") if not finished(job)]
        if jobs:
            self.sim.world.delete_job(jobs[which % len(jobs)])

    @rule(which=SOME, grace=st.sampled_from([None, 0.0, 30.0]))
    def a_run_is_preempted(self, which: int, grace: float | None) -> None:
        """By the operator before this one: it died right after that write."""
        self.sim.world.grace = grace
        jobs = [job for job in self.sim.cluster.look("Job") if not finished(job) and not job["spec"].get("suspend")]
        if jobs:
            preempt_job(self.sim, jobs[which % len(jobs)])

    @precondition(lambda self: self.urgent < 3)
    @rule()
    def somebody_urgent_comes(self) -> None:
        """Of the trials' size: a scheduler may put a small one where the queue had room for a large one, which then
        waits with a pod, as docs/queue.md says."""
        self.urgent += 1
        spec: Body = {"params": {"lr": -self.urgent}, "resources": {"gpus": self.gpus}, "priority": "Interactive"}
        run_by_hand(self.sim, f"urgent-{self.urgent}", **spec)

    @rule(name=st.sampled_from(["a", "b"]))
    def a_node_is_lost(self, name: str) -> None:
        self.sim.node_faults = True
        self.sim.world.lose_node(name)

    @rule(name=st.sampled_from(["a", "b"]))
    def a_node_comes_back(self, name: str) -> None:
        self.sim.world.return_node(name)

    @rule()
    def garbage_is_collected(self) -> None:
        self.sim.cluster.collect()

    @rule(seconds=st.floats(0.1, 60))
    def time_passes(self, seconds: float) -> None:
        self.sim.clock.advance(seconds)

    # --- the user ----------------------------------------------------------------------------------------------------

    @rule(parallelism=st.integers(0, 5))
    def parallelism_changes(self, parallelism: int) -> None:
        self._change(lambda spec: spec.update(parallelism=parallelism))

    @rule(suspend=st.booleans())
    def the_sweep_is_suspended_or_resumed(self, suspend: bool) -> None:
        self._change(lambda spec: spec.update(suspend=suspend))

    @rule(which=SOME, suspend=st.booleans())
    def a_trial_is_suspended_or_resumed_by_hand(self, which: int, suspend: bool) -> None:
        trials = self.sim.cluster.look("Experiment")
        if trials:
            name = trials[which % len(trials)]["metadata"]["name"]
            self.sim.cluster.change("Experiment", NAMESPACE, name, lambda body: body["spec"].update(suspend=suspend))

    @rule(which=SOME)
    def a_pruned_trial_is_resumed_by_hand(self, which: int) -> None:
        trials = [trial for trial in self.sim.cluster.look("Experiment") if trial["spec"].get("prune")]
        if trials:
            name = trials[which % len(trials)]["metadata"]["name"]
            self.sim.cluster.change(
                "Experiment", NAMESPACE, name, lambda body: body["spec"]["prune"].update(resume=True)
            )

    # --- what has to hold --------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "sim"):
            self.sim.check()

    def teardown(self) -> None:
        """Faults stop; from here on it has to come to its end by itself."""
        if not hasattr(self, "sim"):
            return
        sim = self.sim
        sim.world.grace = None
        for name in ("a", "b"):
            sim.world.return_node(name)
        self._change(lambda spec: spec.update(parallelism=2, suspend=False))
        for trial in sim.cluster.all("Experiment"):
            sim.cluster.change(
                "Experiment", NAMESPACE, trial["metadata"]["name"], lambda body: body["spec"].update(suspend=False)
            )
        drive(sim.resync.run_once())
        sim.settle()
        drive(sim.resync.run_once())
        sim.settle()
        status = sim.sweep()["status"]
        assert status["state"] in ("Succeeded", "Failed"), sim.describe()
        ended = sum(status["trials"][state] for state in ("succeeded", "failed", "pruned"))
        assert ended == self.total, sim.describe()
        sim.check_quiet(counts=self.counts)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _pod(self, which: int, phase: str) -> Body | None:
        pods = self.sim.world.pods(phase)
        return pods[which % len(pods)] if pods else None

    def _change(self, change: object) -> None:
        assert callable(change)
        self.sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: change(body["spec"]))

    def _fault(self, skip: int, error: BaseException, *, after: bool) -> None:
        """The operator works until its next write but `skip` fails; a crash is followed by a new process."""
        left = [skip]

        def fault(verb: str, kind: str, key: tuple[str, str]) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise error

        name = "after" if after else "before"
        calm = getattr(self.sim.cluster, name)
        setattr(self.sim.cluster, name, fault)
        try:
            self.sim.deliver()
            self.sim.work()
            crashed = False
        except Crash:
            crashed = True
        finally:
            setattr(self.sim.cluster, name, calm)
        if crashed:
            self.sim.restart()


class Twins(Operator):
    """A second sweep with the same trials and one of Never, trials deleted by hand, a sweep that deletes itself."""

    @initialize(parallelism=st.integers(1, 4), how=st.sampled_from([None, "Reuse", "Skip"]), ttl=st.booleans())
    def begin(self, parallelism: int, how: str | None, ttl: bool) -> None:  # type: ignore[override]
        self.sim = Simulation(nodes={"a": 2, "b": 2})
        shared: dict[str, Any] = {
            "parameters": [{"name": "lr", "values": [1, 2, 3]}],
            "template": {"params": {}, "resources": {"gpus": 1}, "retry": {"limit": 2}},
        }
        self.sim.apply_sweep("s", parallelism=parallelism, **shared)
        dedupe = {"dedupe": how} if how else {}
        self.sim.apply_sweep("twin", parallelism=2, **shared, **dedupe)
        self.sim.apply_sweep("never", parallelism=1, dedupe="Never", **shared)
        self.total, self.counts, self.gpus = 3, False, 1
        self.ttl = ttl
        if ttl:
            brief = {"parameters": [{"name": "lr", "values": [1]}], "template": shared["template"]}
            self.sim.apply_sweep("brief", ttlSecondsAfterFinished=30, **brief)

    @rule(which=SOME)
    def a_trial_is_deleted_by_hand(self, which: int) -> None:
        trials = self.sim.cluster.look("Experiment")
        if trials:
            trial = trials[which % len(trials)]
            self.sim.cluster.remove("Experiment", NAMESPACE, trial["metadata"]["name"])
            self.sim.forget_trial(trial)

    @rule()
    def a_sweep_is_deleted_and_made_again(self) -> None:
        body = self.sim.cluster.find("Sweep", NAMESPACE, "twin")
        if body is not None:
            self.sim.cluster.remove("Sweep", NAMESPACE, "twin")
            self.sim.apply_sweep("twin", **body["spec"])

    @invariant()
    def no_two_in_one_folder(self) -> None:
        if hasattr(self, "sim"):
            check_folders(self.sim)

    def teardown(self) -> None:
        super().teardown()
        if not hasattr(self, "sim"):
            return
        for name in ("twin", "never"):
            counts = self.sim.sweep(name)["status"]["trials"]
            ended = sum(counts[state] for state in ("succeeded", "failed", "pruned", "skipped"))
            assert ended == 3, self.sim.describe()
            assert counts["reused"] <= counts["succeeded"]
        assert self.sim.sweep("never")["status"]["trials"]["reused"] == 0
        assert self.sim.cluster.find("Sweep", NAMESPACE, "brief") is None
        assert self.sim.cluster.look("Job") == []
        for trial in self.sim.cluster.look("Experiment"):
            status = trial["status"]
            if status["state"] == "Succeeded":
                assert "objective" in status
                assert bool(status.get("reusedFrom")) == (status.get("attemptCount", 0) == 0)


SETTINGS = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
Operator.TestCase.settings = SETTINGS
TestAnything = Operator.TestCase
Twins.TestCase.settings = SETTINGS
TestTwins = Twins.TestCase
