"""Which GPUs were held when, as a watch of pods and Jobs shows it, and the sums of that.

A pod holds its GPUs from when it is bound to a node until it has ended or is gone: those are the GPUs that the
scheduler gives to nobody else. All times are those at which the watch told, by the monotonic clock, in seconds.
"""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orkhaven.core.attempts import POD_PHASES_ENDED
from orkhaven.core.devices import NVIDIA
from orkhaven.simulate.measure import Integral, jain

Body = dict[str, Any]
LONG_GAP = 5.0
"""Seconds: longer than the machinery takes, so that somebody wanted the GPU to wait."""
FEW = 0.03
"""Of the GPUs: more than that are not to be idle."""


@dataclass(slots=True)
class Run:
    """One pod, and the Job that made it."""

    namespace: str
    gpus: int
    released: float | None = None
    """Its Job is not suspended."""
    made: float | None = None
    bound: float | None = None
    ended: float | None = None
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    seconds: float
    busy: float
    """GPU-seconds held, of all."""
    fairness: float | None
    """Jain's index of GPUs held on average, divided by weights, until the first namespace had nobody waiting."""
    fair_seconds: float
    fair_busy: float
    """GPU-seconds held, of all, in these."""
    shares: Mapping[str, float]
    """By namespace: GPUs held on average in these, of what its weight gives it."""
    idle: float
    """GPUs, on average."""
    most_idle: int
    longest_idle: float
    """Seconds in one piece with more than FEW of them idle."""
    runs_for: float
    """Seconds for which a run held its GPUs, on average."""
    gap: float
    """Seconds from a run's end to the next one on that GPU, on average: idle GPUs are starts per second times that."""
    gap_median: float
    """The same of half of the GPUs that were given again, where of one node's the one is given first that is idle
    longest."""
    long_gaps: float
    """Idle GPU-seconds in those of more than LONG_GAP, of all in gaps."""
    to_pod: float
    """Of it: from a Job's release to its pod, the median."""
    loose: float
    """Runs, of all that began, that went to a node with more GPUs free than another one that would have done: kept for
    a larger run, or in one piece, these were to be."""
    to_node: float
    """And from there to its node."""
    started: int


@dataclass(slots=True)
class Held:
    """`gpus`: all that there are, so many of them on each node. `wanted`: by namespace, what all its runs ask for
    together."""

    gpus: int
    each: int
    wanted: Mapping[str, int]
    clock: Callable[[], float]
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    """By namespace and name of the Job."""
    full_at: float | None = None
    """As many GPUs as there are have been given."""
    over_at: float | None = None
    """Fewer are waited for than are free."""
    _given: int = 0
    _held: int = 0

    def see_job(self, body: Body) -> None:
        if not body["spec"].get("suspend") and (run := self._run(body, body["metadata"]["name"])).released is None:
            run.released = self.clock()

    def see_pod(self, kind: str, body: Body) -> None:
        """`kind`: ADDED, MODIFIED or DELETED."""
        run = self._run(body, body["metadata"]["labels"]["batch.kubernetes.io/job-name"])
        now = self.clock()
        run.made = run.made or now
        if run.bound is None and body["spec"].get("nodeName"):
            run.bound, run.node = now, body["spec"]["nodeName"]
            run.gpus = sum(int(one["resources"]["limits"].get(NVIDIA, 0)) for one in body["spec"]["containers"])
            self._given += run.gpus
            self._held += run.gpus
        gone = kind == "DELETED" or body.get("status", {}).get("phase") in POD_PHASES_ENDED
        if gone and run.bound is not None and run.ended is None:
            run.ended = now
            self._held -= run.gpus
        if self.full_at is None and self._given >= self.gpus:
            self.full_at = now
        if self.over_at is None and self.full_at is not None and self.waiting < self.gpus - self._held:
            self.over_at = now

    @property
    def waiting(self) -> int:
        """GPUs that are still asked for."""
        return sum(self.wanted.values()) - self._given

    @property
    def held(self) -> int:
        return self._held

    def _run(self, body: Body, job: str) -> Run:
        namespace = body["metadata"]["namespace"]
        return self.runs.setdefault((namespace, job), Run(namespace, gpus=0))

    def figures(self, weights: Mapping[str, float]) -> Figures:
        """Between `full_at` and `over_at`."""
        assert self.full_at is not None
        assert self.over_at is not None
        begin, end = self.full_at, self.over_at
        changes = self._changes()
        total = _held(changes, begin, end)
        fair_until = max(begin, min([end, *self._last_starts()]))
        by_namespace: dict[str, list[tuple[float, str, int]]] = {name: [] for name in self.wanted}
        for change in changes:
            by_namespace[change[1]].append(change)
        average = {name: _held(ones, begin, fair_until) for name, ones in by_namespace.items()}
        whole = sum(weights.get(name, 1.0) for name in average)
        due = {name: self.gpus * weights.get(name, 1.0) / whole for name in average}
        done = [run for run in self.runs.values() if run.bound is not None and run.ended is not None]
        within = [run for run in self.runs.values() if run.bound is not None and begin <= run.bound <= end]
        started = sum(run.gpus for run in within)
        most, longest = self._idle(changes, begin, end)
        gaps = sorted(gap for gap, at in self._gaps() if begin <= at <= end)
        return Figures(
            seconds=end - begin,
            busy=total / self.gpus,
            fairness=jain([held / weights.get(name, 1.0) for name, held in average.items()]),
            fair_seconds=fair_until - begin,
            fair_busy=_held(changes, begin, fair_until) / self.gpus,
            shares={name: held / due[name] for name, held in average.items()},
            idle=self.gpus - total,
            most_idle=most,
            longest_idle=longest,
            runs_for=statistics.fmean(_between(run.bound, run.ended) for run in done),
            gap=(self.gpus - total) * (end - begin) / started,
            gap_median=statistics.median(gaps),
            long_gaps=sum(gap for gap in gaps if gap > LONG_GAP) / max(sum(gaps), 1e-9),
            loose=sum(begin <= at <= end for at in self._loose()) / len(within),
            to_pod=statistics.median(_between(run.released, run.made) for run in within),
            to_node=statistics.median(_between(run.made, run.bound) for run in within),
            started=len(within),
        )

    def profile(self, *, every: float = 30.0) -> str:
        """Busy GPUs, of all, in steps of so many seconds from the first one bound."""
        changes = self._changes()
        first, last = changes[0][0], self.over_at or changes[-1][0]
        steps = [first + number * every for number in range(int((last - first) // every))]
        return " ".join(f"{_held(changes, at, at + every) / self.gpus:.3f}" for at in steps)

    def _changes(self) -> list[tuple[float, str, int]]:
        """(when, namespace, GPUs more or less)."""
        found = []
        for run in self.runs.values():
            if run.bound is not None:
                found.append((run.bound, run.namespace, run.gpus))
            if run.ended is not None:
                found.append((run.ended, run.namespace, -run.gpus))
        return sorted(found)

    def _moments(self) -> list[tuple[float, int, Run]]:
        """Ends (0) and beginnings (1) in order."""
        moments = [(run.bound, 1, run) for run in self.runs.values() if run.bound is not None]
        moments += [(run.ended, 0, run) for run in self.runs.values() if run.ended is not None]
        return sorted(moments, key=lambda one: one[:2])

    def _loose(self) -> list[float]:
        """When a run began on a node that was not the tightest. Of nodes that have been used."""
        free = {run.node: self.each for run in self.runs.values() if run.bound is not None}
        found = []
        for at, begins, run in self._moments():
            if begins and any(run.gpus <= other < free[run.node] for other in free.values()):
                found.append(at)
            free[run.node] += -run.gpus if begins else run.gpus
        return found

    def _gaps(self) -> list[tuple[float, float]]:
        """Of each GPU that was given again: for how many seconds it was idle, and when it was given."""
        free: dict[str, deque[float]] = defaultdict(deque)
        found = []
        for at, begins, run in self._moments():
            idle = free[run.node]
            if not begins:
                idle.extend([at] * run.gpus)
            else:
                found += [(at - idle.popleft(), at) for _ in range(min(run.gpus, len(idle)))]
        return found

    def _last_starts(self) -> list[float]:
        """Of each namespace all of whose runs have begun."""
        bound: dict[str, list[float]] = defaultdict(list)
        given: dict[str, int] = defaultdict(int)
        for run in self.runs.values():
            if run.bound is not None:
                bound[run.namespace].append(run.bound)
                given[run.namespace] += run.gpus
        return [max(times) for name, times in bound.items() if given[name] >= self.wanted[name]]

    def _idle(self, changes: Iterable[tuple[float, str, int]], begin: float, end: float) -> tuple[int, float]:
        """Most GPUs idle at a moment, and the longest time with more than a few."""
        held, most, longest = 0, 0, 0.0
        since: float | None = None
        last = begin
        for at, _, gpus in [*changes, (end, "", 0)]:
            if at > end:
                break
            if at > begin:
                idle = self.gpus - held
                most = max(most, idle)
                since = (since if since is not None else last) if idle > FEW * self.gpus else None
                longest = max(longest, at - since) if since is not None else longest
                last = at
            held += gpus
        return most, longest


def _held(changes: Iterable[tuple[float, str, int]], begin: float, end: float) -> float:
    """GPUs on average between two moments; 0 where these are one."""
    if end <= begin:
        return 0.0
    level = Integral()
    before = None
    for at, _, gpus in changes:
        if at > begin and before is None:
            before = level.at(begin)
        if at > end:
            break
        level.add(gpus, at)
    if before is None:
        before = level.at(begin)
    return (level.at(end) - before) / (end - begin)


def _between(one: float | None, other: float | None) -> float:
    """What was told of late, by the other watch, took no time."""
    return max(0.0, other - one) if one is not None and other is not None else 0.0
