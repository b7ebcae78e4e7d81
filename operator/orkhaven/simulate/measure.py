"""The sums of a replay: GPUs held and wanted over time, waits, what preemption cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from orkhaven.api import Priority
from orkhaven.simulate.world import Run

ALWAYS = 0.99
"""A namespace that has someone waiting for this share of the time counts as always waiting."""


class Integral:
    """A level over time, and its sum."""

    __slots__ = ("_since", "_sum", "level")

    def __init__(self) -> None:
        self.level = 0.0
        self._since = 0.0
        self._sum = 0.0

    def set(self, level: float, now: float) -> None:
        self._sum += self.level * (now - self._since)
        self.level, self._since = level, now

    def add(self, by: float, now: float) -> None:
        self.set(self.level + by, now)

    def at(self, now: float) -> float:
        return self._sum + self.level * (now - self._since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds from submission to the first start."""

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    longest: float = 0.0


def waits(seconds: Sequence[float]) -> Waits:
    if not seconds:
        return Waits()
    ordered = sorted(seconds)
    return Waits(count=len(ordered), p50=_quantile(ordered, 0.50), p95=_quantile(ordered, 0.95), longest=ordered[-1])


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[max(ceil(share * len(ordered)) - 1, 0)]


def jain(values: Sequence[float]) -> float | None:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has everything. None where there are not two."""
    if len(values) < 2 or not any(values):
        return None
    return float(sum(values) ** 2 / (len(values) * sum(value * value for value in values)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out of a replay."""

    policy: str
    runs: int
    fits_no_node: int
    unfinished: int
    """Still there when nothing could start any more."""
    utilisation: float
    """GPU-seconds held, of what any schedule could have used, until the last submission."""
    waits: Mapping[Priority, Waits]
    fairness: float | None
    always_waiting: int
    """Namespaces that `fairness` is of."""
    shares: Mapping[str, float]
    """GPUs held on average, by namespace, after the warm-up."""
    longest_turn: float
    """Seconds: the longest that a namespace with someone waiting saw none of its runs start."""
    preemptions: int
    lost: float
    """GPU-seconds held for nothing because of preemption, of all that were held."""
    decisions: int


@dataclass(slots=True)
class Recorder:
    """Told of everything that happens, in order."""

    capacity: int
    until: float
    """The last submission: utilisation and fairness are measured until then."""
    warm_up: float
    """From when fairness is measured: at first nobody waits."""
    weights: Mapping[str, float]
    busy: Integral = field(default_factory=Integral)
    usable: Integral = field(default_factory=Integral)
    wanted: float = 0.0
    held: dict[str, Integral] = field(default_factory=lambda: defaultdict(Integral))
    waiting: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    waited: dict[str, Integral] = field(default_factory=lambda: defaultdict(Integral))
    seconds: dict[Priority, list[float]] = field(default_factory=lambda: {priority: [] for priority in Priority})
    longest_turn: float = 0.0
    _turn: dict[str, float] = field(default_factory=dict)
    """By namespace: since when somebody waits and none has started."""
    preemptions: int = 0
    lost: float = 0.0
    total: float = 0.0
    _marks: dict[str, tuple[dict[str, float], dict[str, float]]] = field(default_factory=dict)
    _utilisation: float = 1.0

    def submitted(self, run: Run, now: float) -> None:
        self._want(run.trace.gpus, now)
        self.waits(run, now)

    def waits(self, run: Run, now: float, *, by: int = 1) -> None:
        namespace = run.trace.namespace
        if by > 0 and not self.waiting[namespace]:
            self._turn[namespace] = now
        self.waiting[namespace] += by
        self.waited[namespace].set(1.0 if self.waiting[namespace] else 0.0, now)

    def started(self, run: Run, now: float) -> None:
        self.busy.add(run.trace.gpus, now)
        self.held[run.trace.namespace].add(run.trace.gpus, now)
        self.longest_turn = max(self.longest_turn, now - self._turn[run.trace.namespace])
        self._turn[run.trace.namespace] = now
        if run.attempt == 1:
            self.seconds[run.trace.priority].append(now - run.trace.submitted)

    def freed(self, run: Run, now: float, *, lost: float) -> None:
        """Its pod is gone. `lost`: seconds of its time that preemption made useless."""
        gpus = run.trace.gpus
        self.busy.add(-gpus, now)
        self.held[run.trace.namespace].add(-gpus, now)
        self.total += gpus * (now - run.since)
        self.lost += gpus * lost

    def ended(self, run: Run, now: float) -> None:
        self._want(-run.trace.gpus, now)

    def _want(self, gpus: int, now: float) -> None:
        self.wanted += gpus
        self.usable.set(min(self.wanted, self.capacity), now)

    def mark(self, name: str, now: float) -> None:
        """The sums as they are at the warm-up's end and at the last submission."""
        self._marks[name] = (
            {namespace: held.at(now) for namespace, held in self.held.items()},
            {namespace: waited.at(now) for namespace, waited in self.waited.items()},
        )
        usable = self.usable.at(now)
        self._utilisation = self.busy.at(now) / usable if usable else 1.0

    def result(self, policy: str, *, runs: int, fits_no_node: int, unfinished: int, decisions: int) -> Measured:
        held_from, waited_from = self._marks["warm"]
        held_to, waited_to = self._marks["last"]
        span = max(self.until - self.warm_up, 1.0)
        shares = {name: (held_to[name] - held_from.get(name, 0.0)) / span for name in sorted(held_to)}
        always = [name for name in shares if waited_to.get(name, 0.0) - waited_from.get(name, 0.0) >= ALWAYS * span]
        return Measured(
            policy=policy,
            runs=runs,
            fits_no_node=fits_no_node,
            unfinished=unfinished,
            utilisation=self._utilisation,
            waits={priority: waits(seconds) for priority, seconds in self.seconds.items()},
            fairness=jain([shares[name] / self.weights.get(name, 1.0) for name in always]),
            always_waiting=len(always),
            shares=shares,
            longest_turn=self.longest_turn,
            preemptions=self.preemptions,
            lost=self.lost / self.total if self.total else 0.0,
            decisions=decisions,
        )
