"""The real engine on the cluster in memory, under a clock that moves only when told to.

Owns the delivery of events (in order, late, twice, old ones, not at all) and the look at the invariants after every
step.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orkhaven.core import sweep as planner
from orkhaven.core.actions import Note
from orkhaven.core.views import Defaults, Key, Meta
from orkhaven.engine.engine import Engine, Tuning
from orkhaven.engine.parsers import OURS, PARSERS
from orkhaven.engine.ports import Asker, Kind
from orkhaven.engine.resync import Resync
from orkhaven.engine.telemetry import Telemetry
from orkhaven.engine.workloads import Workloads
from orkrun.contract import ANNOTATION_CONFIG, LABEL_ATTEMPT, LABEL_DEBUG
from tests.sim.asker import FakeAsker
from tests.sim.cluster import Body, Event, FakeCluster, OwnClock, VirtualClock, Write, drive
from tests.sim.reader import FakeReader
from tests.sim.world import World, experiment_of, finished, gpus

NAMESPACE = "radiology"
TERMINAL_STATES = ("Succeeded", "Failed", "Skipped", "Pruned")


class Crash(BaseException):
    """The operator's process ends here. Not an Exception: nothing in it may catch it."""


@dataclass
class Events:
    """`ports.EventSink` that keeps what was said."""

    said: list[tuple[str, Key, Note]] = field(default_factory=list)

    def post(self, kind: str, meta: Meta, note: Note) -> None:
        self.said.append((kind, meta.key, note))


Outcome = Callable[[World, Body], None]


def all_succeed(world: World, pod: Body) -> None:
    """Every run ends well, with a value that depends on its name only."""
    world.succeed(pod, value=round(0.5 + (sum(map(ord, experiment_of(pod))) % 400) / 1000, 3))


def mixed(world: World, pod: Body) -> None:
    """By learning rate: 1 ends well, 2 always breaks, 3 runs out of memory, 4 is drained once and then ends well."""
    lr = json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])["params"].get("lr", 1) % 5
    if lr == 2:
        world.fail(pod)
    elif lr == 3:
        world.out_of_memory(pod)
    elif lr == 4 and pod["metadata"]["labels"][LABEL_ATTEMPT] == "1":
        world.evict(pod)
    else:
        all_succeed(world, pod)


class Simulation:
    """One cluster, one operator at a time."""

    def __init__(self, *, nodes: dict[str, int] | None = None, lookahead: int = 2, asker: Asker | None = None) -> None:
        """`asker`: instead of the simulation's own, which starts with each operator anew."""
        self._real_asker = asker
        self.clock = VirtualClock()
        """Of the cluster and its nodes."""
        self.own_clock = OwnClock(self.clock)
        """The operator's."""
        self.cluster = FakeCluster(self.clock)
        self.world = World(self.cluster)
        self.events = Events()
        self.defaults = Defaults(image="trainer:1", output_claim="results", retry_base_seconds=10, lookahead=lookahead)
        for name, count in (nodes or {"node-a": 2}).items():
            self.world.add_node(name, gpus=count)
        self.node_faults = False
        """Whether a node was ever lost: then GPUs released before may exceed what is left."""
        self._ended: dict[str, str] = {}
        """Uid of an experiment -> the terminal state that was seen."""
        self._trials: dict[str, dict[str, str]] = {}
        """Sweep -> name of a trial -> uid: one name, one object, ever."""
        self.restart()

    @classmethod
    def beside(cls, other: Simulation) -> Simulation:
        """A second operator on the same cluster."""
        made = cls.__new__(cls)
        made.__dict__.update(other.__dict__)
        made.restart()
        return made

    def settle_over_crashes(self, outcome: Outcome = all_succeed, *, crashes: int = 1) -> None:
        """`settle`, gone on with by a new process wherever a `Crash` is injected."""
        for _ in range(crashes + 1):
            try:
                self.settle(outcome)
            except Crash:
                self.restart()
            else:
                return
        raise AssertionError(f"it crashed more than {crashes} times")

    def delete_trial(self, name: str) -> None:
        """A person deletes an Experiment: it may be made once more."""
        self.cluster.remove("Experiment", NAMESPACE, name)
        for made in self._trials.values():
            made.pop(name, None)

    # --- the operator ------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """A new process on the same cluster: it remembers nothing, lists, then goes on from there."""
        planner.forget()
        self.telemetry = Telemetry()
        self.asker = FakeAsker()
        """Not asked where there is a real one."""
        self.reader = FakeReader(self.cluster)
        self.engine = Engine(
            self.cluster,
            clock=self.own_clock,
            events=self.events,
            meters=self.telemetry,
            asker=self._real_asker or self.asker,
            reader=self.reader,
            defaults=self.defaults,
            random=random.Random(0).random,
            tuning=Tuning(writes_at_once=1),
        )
        self.resync = Resync(self.engine, self.cluster, meters=self.telemetry)
        self.pending: list[Event] = []
        self.told: list[Event] = []
        self._cursor = len(self.cluster.log)
        self.workloads = Workloads(self.engine, self.cluster)
        drive(self.workloads.look())
        drive(self.resync.run_once())
        drive(self.engine.start())

    def work(self, limit: int = 10_000) -> int:
        """Process what is due now. How many keys."""
        for done in range(limit):
            if drive(self.engine.process_next()) is None:
                return done
        raise AssertionError(f"the operator still has work after {limit} looks: it chases its own tail")

    # --- what it is told ---------------------------------------------------------------------------------------------

    def fetch(self) -> None:
        """What happened since goes into the queue of events."""
        new = self.cluster.log[self._cursor :]
        self._cursor += len(new)
        self.pending += [event for event in new if _watched(event)]

    def deliver(self, count: int | None = None) -> int:
        """The next events, in order. How many."""
        self.fetch()
        batch = self.pending[:count]
        del self.pending[: len(batch)]
        for event in batch:
            self.tell(event)
        if self.engine.dispatcher.unseen():  # as the operator's own loop does, within a second
            drive(self.resync.foreign())
        return len(batch)

    def drop(self, count: int = 1) -> None:
        """The next events are lost."""
        self.fetch()
        del self.pending[:count]

    def tell(self, event: Event) -> None:
        self.told.append(event)
        kind = Kind(event.kind)
        view = PARSERS[kind](event.body)
        if event.type == "DELETED":
            self.engine.forget(kind, view.meta.key, view.meta.uid)
        else:
            self.engine.observe(kind, view)

    # --- until nothing happens ---------------------------------------------------------------------------------------

    def step(self, outcome: Outcome = all_succeed, *, seconds: float = 1.0) -> bool:
        """One round of everybody. Whether anything happened."""
        version = len(self.cluster.log)
        self.deliver()
        worked = self.work()
        self.check()
        self.surround(outcome)
        self.clock.advance(seconds)
        return bool(worked) or len(self.cluster.log) != version

    def surround(self, outcome: Outcome = all_succeed) -> None:
        """One round of everybody but the operator."""
        self.world.job_controller()
        while self.world.scheduler():
            pass
        for pod in self.world.pods("Running"):
            if LABEL_DEBUG not in pod["metadata"]["labels"]:  # that one sleeps
                outcome(self.world, pod)
        for pod in self.world.pods("Pending"):
            self.world.start(pod)
        self.world.job_controller()
        while self.cluster.collect():
            pass

    def settle(self, outcome: Outcome = all_succeed, *, rounds: int = 400) -> None:
        """Until nothing happens any more and nothing is due. Fails where that takes too long."""
        for _ in range(rounds):
            if not self.step(outcome):
                self.fetch()
                due = self.engine.queue.next_due()
                if due is None and not self.pending:
                    return
                if due is not None:
                    self.clock.seconds = max(self.clock.seconds, due)
        raise AssertionError(f"not quiet after {rounds} rounds:\n{self.describe()}")

    # --- what has to hold --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The invariants that hold at any moment, whatever was delivered."""
        jobs = self.cluster.look("Job")
        # A pod to look around in is beside the run.
        live = [job for job in jobs if not finished(job) and LABEL_DEBUG not in job["metadata"].get("labels", {})]
        per_experiment = Counter(ref["uid"] for job in live for ref in job["metadata"].get("ownerReferences", ()))
        doubled = [uid for uid, count in per_experiment.items() if count > 1]
        assert not doubled, f"more than one live Job for {doubled}\n{self.describe()}"
        if not self.node_faults:
            # Of one operator; a released Job holds its GPUs from then on, pod or not, until its pod has ended.
            over = {j["metadata"]["uid"] for j in live if self.world.pod_has_ended(j)}
            released = sum(
                gpus({"spec": j["spec"]["template"]["spec"]})
                for j in live
                if not j["spec"].get("suspend") and j["metadata"]["uid"] not in over
            )
            capacity = sum(int(n["status"]["allocatable"]["nvidia.com/gpu"]) for n in self.cluster.look("Node"))
            assert released <= capacity, f"{released} GPUs released of {capacity}\n{self.describe()}"
        for experiment in self.cluster.look("Experiment"):
            self._check_experiment(experiment)
        for sweep in self.cluster.look("Sweep"):
            size = len(repr(sweep.get("status", {})))
            assert size < 100 * 1024, f"the status of {sweep['metadata']['name']} has {size} characters"

    def check_quiet(self, *, counts: bool = True) -> None:
        """What holds once nothing happens any more: counts are true, and looking again at everything writes nothing.

        `counts`: not where trials of finished sweeps were deleted by hand.
        """
        for sweep in self.cluster.look("Sweep") if counts else ():
            trials = sweep["status"]["trials"]
            children = [e for e in self.cluster.look("Experiment") if _child(e, sweep)]
            replaced = trials["replaced"]
            assert trials["created"] + replaced == len(children), f"{trials} but {len(children)} trials"
            for state, name in (
                ("Succeeded", "succeeded"),
                ("Failed", "failed"),
                ("Pruned", "pruned"),
                ("Running", "running"),
            ):
                count = sum(e["status"]["state"] == state for e in children)
                # What was run once more had failed.
                counted = trials[name] + (replaced if state == "Failed" else 0)
                assert counted == count, f"{trials} but {count} {state}"
        writes = len(self.cluster.writes)
        drive(self.resync.run_once())
        self.work()
        again: list[Write] = self.cluster.writes[writes:]
        assert not again, f"nothing happened, and yet it wrote {again}"
        self.restart()
        self.work()
        again = self.cluster.writes[writes:]
        assert not again, f"a restart wrote {again}"

    def _check_experiment(self, experiment: Body) -> None:
        meta, status = experiment["metadata"], experiment.get("status", {})
        state = status.get("state")
        known = self._ended.get(meta["uid"])
        resumed = (experiment["spec"].get("prune") or {}).get("resume", False)
        if known == "Pruned" and resumed:
            # A person lets it go on.
            del self._ended[meta["uid"]]
            known = None
        if known is not None:
            assert state == known, f"{meta['name']} had ended as {known} and is {state} now"
        if state in TERMINAL_STATES and not (state == "Pruned" and resumed):
            self._ended[meta["uid"]] = state
        if state == "Pruned":
            live = [pod for pod in self.world.pods("Pending", "Running") if experiment_of(pod) == meta["name"]]
            assert not live, f"{meta['name']} is pruned, and runs\n{self.describe()}"
        limit = experiment["spec"].get("retry", {}).get("limit", 2)
        assert status.get("retriesUsed", 0) <= limit, f"{meta['name']}: {status['retriesUsed']} retries of {limit}"
        there = {sweep["metadata"]["uid"] for sweep in self.cluster.look("Sweep")}
        # One of a sweep that is gone, as an operator makes it that has not heard of that yet, is collected.
        for owner in (owner for owner in meta.get("ownerReferences", ()) if owner["uid"] in there):
            known_uid = self._trials.setdefault(owner["uid"], {}).setdefault(meta["name"], meta["uid"])
            assert known_uid == meta["uid"], f"trial {meta['name']} was made twice"

    def forget_trial(self, experiment: Body) -> None:
        """Somebody deleted it by hand: its name may be given to another object."""
        for made in self._trials.values():
            made.pop(experiment["metadata"]["name"], None)

    # --- for people --------------------------------------------------------------------------------------------------

    def apply_sweep(self, name: str = "s", **spec: Any) -> Body:
        base: Body = {
            "objective": {"metric": "val/dice"},
            "parameters": [{"name": "lr", "values": [1, 2, 3, 4]}],
            "parallelism": 2,
            "template": {"params": {"model": "unet", "encoder": None}, "resources": {"gpus": 1}},
        }
        return self.cluster.add(
            {
                "apiVersion": "orkhaven.io/v1alpha1",
                "kind": "Sweep",
                "metadata": {"namespace": NAMESPACE, "name": name},
                "spec": {**base, **spec},
            }
        )

    def sweep(self, name: str = "s") -> Body:
        found = self.cluster.find("Sweep", NAMESPACE, name)
        assert found is not None
        return found

    def end_state(self) -> Body:
        """What is left at the end, without what depends on when and how often it was looked at."""
        out: Body = {}
        for kind in ("Sweep", "Experiment"):
            for body in self.cluster.look(kind):
                status = body.get("status", {})
                out[f"{kind}/{body['metadata']['name']}"] = {
                    "params": body["spec"].get("params"),
                    "state": status.get("state"),
                    "reason": status.get("reason"),
                    "objective": status.get("objective"),
                    "metrics": status.get("metrics"),
                    "trials": status.get("trials"),
                    "best": status.get("best"),
                    "leaderboard": status.get("leaderboard"),
                    "clusters": [(c["reason"], c["count"]) for c in status.get("failureClusters", ())],
                    "attempts": [(a["number"], a.get("reason")) for a in status.get("attempts", ())],
                    "retries": status.get("retriesUsed"),
                }
        out["jobs"] = sorted(body["metadata"]["name"] for body in self.cluster.look("Job"))
        return out

    def describe(self) -> str:
        lines = [f"t={self.clock.seconds:.1f}"]
        for kind in ("Sweep", "Experiment", "Job", "Pod"):
            for body in self.cluster.look(kind):
                status = body.get("status", {})
                what = {
                    k: status.get(k)
                    for k in ("state", "reason", "message", "phase", "trials", "active", "conditions")
                    if status.get(k)
                }
                if kind in ("Sweep", "Experiment"):
                    what.pop("conditions", None)
                lines.append(f"  {kind} {body['metadata']['name']} suspend={body['spec'].get('suspend')} {what}")
        return "\n".join(lines)


def _child(experiment: Body, sweep: Body) -> bool:
    return any(ref["uid"] == sweep["metadata"]["uid"] for ref in experiment["metadata"].get("ownerReferences", ()))


def _watched(event: Event) -> bool:
    """Whether the watch's selectors let it through."""
    if event.kind not in list(Kind):
        return False
    name, value = OURS.split("=")
    return event.kind not in ("Job", "Pod") or event.body["metadata"].get("labels", {}).get(name) == value
