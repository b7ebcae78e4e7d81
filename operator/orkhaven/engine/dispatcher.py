"""The one decision about who gets the GPUs, made again and again, and what has to be remembered between two.

Decides nothing itself: `admission` gathers what `core.queue` decides from. Here what it says is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime

from orkhaven.api.retry import AvoidedNode
from orkhaven.core.actions import Preempt, SuspendJob
from orkhaven.core.nodes import avoided_nodes, same_until
from orkhaven.core.queue import Quota, Shares
from orkhaven.core.status import holds
from orkhaven.core.views import Defaults, Key
from orkhaven.engine.admission import Requests, plan_admission
from orkhaven.engine.executor import Executor, side_by_side
from orkhaven.engine.outcome import Outcome
from orkhaven.engine.ports import Clock, Kind
from orkhaven.engine.store import Store
from orkhaven.engine.told import Waiting
from orkhaven.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class _Avoided:
    """Nodes that all runs go past, as long as nothing else is known: every look at a run asks, and after a thousand
    failures there is much to go through."""

    version: int
    """Of the blames."""
    until: datetime | None
    nodes: list[AvoidedNode]


class Dispatcher:
    """One per engine. Never runs twice at once; the work queue sees to that."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        clock: Clock,
        defaults: Callable[[str], Defaults],
        shares: Callable[[datetime], Shares],
        quotas: Callable[[], Mapping[str, Quota]],
        again: Callable[[Key], None],
        at_once: int,
    ) -> None:
        """`defaults`: those of a namespace. `shares`: what is due to whom, `quotas`: by namespace. `again`: has a sweep
        looked at. `at_once`: Jobs that are switched at a time."""
        self._store = store
        self._executor = executor
        self._clock = clock
        self._defaults = defaults
        self._shares = shares
        self._quotas = quotas
        self._again = again
        self._at_once = at_once
        self._requests = Requests()
        self._kept: Set[Key] = frozenset()
        """Jobs for which the last decision keeps a node."""
        self._told: dict[str, str] = {}
        """Nodes that all runs go past, and why, as the sweeps were told."""
        self._avoided: _Avoided | None = None
        self.waiting = Waiting()
        self.foreign_gpus: dict[str, dict[str, int]] = {}
        """Devices by node and resource that pods of others hold, as the last list said."""
        self.seen: frozenset[str] | None = frozenset()
        """Uids of the nodes that this list was about; None: there is none, and never will be."""

    @property
    def anyone_waits(self) -> bool:
        """Whether a run waits for GPUs."""
        return bool(self.waiting)

    def unseen(self) -> frozenset[str]:
        """Nodes with GPUs of which it is not known yet what others hold there: they have come since, or the GPUs of the
        first node have. Nothing is released to them before."""
        if self.seen is None:
            return frozenset()
        nodes, seen = self._store.nodes(), self.seen
        return frozenset(name for name, node in nodes.items() if node.devices and node.meta.uid not in seen)

    def avoided(self) -> list[AvoidedNode]:
        """Nodes that all runs go past at present."""
        now, known = self._clock.now(), self._avoided
        if known is not None and known.version == self._store.blamed and (known.until is None or now < known.until):
            return known.nodes
        blames = list(self._store.blames())
        self._avoided = _Avoided(self._store.blamed, same_until(blames, now=now), avoided_nodes(blames, now=now))
        return self._avoided.nodes

    async def decide(self) -> Outcome:
        """Who gets the GPUs, and where not. Raises ApiError."""
        now, suspect = self._clock.now(), self.avoided()
        avoided = {node.node: node.reason for node in suspect}
        if avoided != self._told:
            # Every sweep that runs says it.
            self._told = avoided
            for key, sweep in self._store.all(Kind.SWEEP).items():
                if not holds(sweep.status.conditions, "Finished"):
                    self._again(key)
        plan = plan_admission(
            self._store,
            self._requests,
            foreign_gpus=self.foreign_gpus,
            avoided=frozenset(avoided),
            shares=self._shares(now),
            quotas=self._quotas(),
            unseen=self.unseen(),
            kinds=self._defaults("").gpu_resources,
            kept=self._kept,
            now=now,
        )
        self._kept = plan.kept
        changed = self.waiting.decided(plan, stored=self._store.experiment, now=now)
        failed: list[Key] = []

        async def switch(action: SuspendJob | Preempt) -> None:
            try:
                await self._executor.execute(action)
            except (Conflict, NotFound):
                # Changed since: one Job's race must not keep the others waiting. Read it, then decide anew.
                key = action.job if isinstance(action, Preempt) else action.key
                failed.append(key)
                await self._executor.refresh(Kind.JOB, key, action.uid)

        # Those that give way first: they take their grace period to do it.
        switches: tuple[SuspendJob | Preempt, ...] = (*plan.preempt, *plan.release)
        await side_by_side(switch, switches, at_once=self._at_once)
        result = "conflict" if failed else "changed" if switches else "unchanged"
        # Who waits may have a place when a node is used again.
        ends = [(node.until - now).total_seconds() for node in suspect if node.until is not None]
        again = min(ends, default=None) if self.waiting else None
        return Outcome(result=result, retry=bool(failed), again_after=again, also=tuple(sorted(changed)))
