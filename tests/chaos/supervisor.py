"""Starts again what has ended, as systemd does with `Restart=always`: the cluster's processes have nobody else.

And offers the node's GPUs again where a restart of the kubelet has taken them away, as a device plugin would.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import Cluster, ClusterError
from tests.cluster.gpus import RESOURCE, offer_gpus

PAUSE_SECONDS = 2.0
"""Between the end of a process and its next start."""


class Supervisor:
    """`start`, `stop`; `down` keeps some of them from being started for a while."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._held: Counter[str] = Counter()
        self._dead_since: dict[str, float] = {}
        self.restarts: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> Supervisor:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)

    @contextmanager
    def down(self, *names: str) -> Iterator[None]:
        """They are not started again before the end of this."""
        self._held.update(names)
        try:
            yield
        finally:
            self._held.subtract(names)

    def _run(self) -> None:
        looks = 0
        while not self._over.wait(0.5):
            looks += 1
            for name, pid in self._cluster.processes().items():
                self._look(name, pid)
            if looks % 4 == 0:
                self._offer()

    def _look(self, name: str, pid: int | None) -> None:
        if pid is not None:
            self._dead_since.pop(name, None)
            return
        now = time.monotonic()
        since = self._dead_since.setdefault(name, now)
        if self._held[name] > 0 or now - since < PAUSE_SECONDS:
            return
        try:
            self._cluster.restart(name, wait=False)
        except ClusterError:
            return  # it ended at once: the next look tries again
        self.restarts[name] += 1

    def _offer(self) -> None:
        node = self._cluster.node_name
        try:
            found = self._cluster.api.get(f"/api/v1/nodes/{node}")
            if node and found and found["status"]["allocatable"].get(RESOURCE) != str(self._cluster.settings.gpus):
                offer_gpus(self._cluster.api, node, self._cluster.settings)
        except (ClusterError, OSError):
            return  # the API server is away; there is a next look
