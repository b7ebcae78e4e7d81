"""Who reads logs and Events of pods in the simulation: the real way of reading, at once, or when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from orkhaven.core.actions import ReadPod
from orkhaven.core.views import Heard
from orkhaven.engine.reader import read_pod, unreadable
from orkhaven.errors import Unavailable
from tests.sim.cluster import FakeCluster, drive


@dataclass
class FakeReader:
    """`ports.Reader`. What it was asked for before a crash is forgotten, as in the real one."""

    cluster: FakeCluster
    late: bool = False
    """Answers wait until `give`."""
    asked: list[ReadPod] = field(default_factory=list)
    _waiting: dict[str, tuple[ReadPod, Callable[[Heard], None]]] = field(default_factory=dict)

    def read(self, want: ReadPod, done: Callable[[Heard], None]) -> None:
        self.asked.append(want)
        self._waiting.setdefault(want.uid, (want, done))
        if not self.late:
            self.give()

    def give(self, *, unread: bool = False) -> None:
        """All answers that are waiting. `unread`: their time is over."""
        waiting, self._waiting = self._waiting, {}
        for want, done in waiting.values():
            done(unreadable(want) if unread else self._heard(want))

    def _heard(self, want: ReadPod) -> Heard:
        try:
            return drive(read_pod(self.cluster, want))
        except Unavailable:
            return unreadable(want)
