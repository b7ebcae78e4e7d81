"""Pods that say something: a `FakeCluster` with a kubelet, whose logs grow, break off and end as a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orkhaven.errors import Invalid, NotFound, Unavailable
from orkhaven.hub.logs.stamps import SECOND, parse
from orkrun import contract
from tests.unit.hub.fakes import NAMESPACE, FakeCluster, owner

BEGIN = 1_790_000_000 * SECOND


def stamp(time: int) -> bytes:
    """As the kubelet writes it: nine digits."""
    seconds = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time // SECOND)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{seconds}.{time % SECOND:09d}Z".encode()


@dataclass
class Said:
    """A container's log on its node."""

    lines: list[tuple[int, bytes]] = field(default_factory=list)
    """(nanoseconds, text with its newline; the last one may be open)."""
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    breaks: int = 0
    """Rises when all connections are to break."""

    def bytes_since(self, since: str | None) -> bytes:
        floor = 0 if since is None else parse(since.encode())
        return b"".join(stamp(time) + b" " + text for time, text in self.lines if time >= floor)


class Stream:
    def __init__(self, cluster: LogCluster, said: Said, *, since: str | None, follow: bool) -> None:
        self._cluster, self._said, self._since, self._follow = cluster, said, since, follow
        self._sent = 0
        self._breaks = said.breaks

    async def read(self) -> bytes:
        while True:
            if self._breaks != self._said.breaks:
                raise Unavailable("the stream broke")
            data = self._said.bytes_since(self._since)[self._sent :][: self._cluster.block]
            if data:
                self._sent += len(data)
                return data
            if self._said.ended or not self._follow:
                return b""
            self._said.changed.clear()
            await self._said.changed.wait()


class LogCluster(FakeCluster):
    """`say` makes a pod talk, `end` ends its container, `drop` its connections, `vanish` takes the pod away."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, Said] = {}
        """By the pod's name."""
        self.block = 1 << 16
        self.opened: list[tuple[str, str | None, bool]] = []
        """(pod, since, follow) of each request for a log."""

    # --- ports.Gateway ---

    @contextlib.asynccontextmanager
    async def pod_log(
        self, namespace: str, pod: str, *, container: str, follow: bool, since: str | None = None
    ) -> AsyncIterator[Stream]:
        self._called(f"log {pod}")
        self.opened.append((pod, since, follow))
        if ("Pod", namespace, pod) not in self.objects:
            raise NotFound(f'pods "{pod}" not found', status=404)
        said = self.logs.get(pod)
        if said is None:
            raise Invalid(f'container "{container}" in pod "{pod}" is waiting to start', status=400)
        yield Stream(self, said, since=since, follow=follow)

    # --- builders ---

    def add_talker(self, name: str, *, attempt: int = 1, running: bool = True, suffix: str = "abcde") -> str:
        """An Experiment with a Job and a running pod; returns the pod's name."""
        labels = {
            contract.LABEL_EXPERIMENT: name,
            contract.LABEL_ATTEMPT: str(attempt),
            contract.LABEL_MANAGED_BY: contract.MANAGED_BY,
        }
        experiment = self.objects.get(("Experiment", NAMESPACE, name)) or self.put("Experiment", name, spec={})
        job = self.objects.get(("Job", NAMESPACE, f"{name}-{attempt}")) or self.put(
            "Job",
            f"{name}-{attempt}",
            metadata={"labels": labels, "ownerReferences": [owner("orkhaven.io/v1alpha1", experiment)]},
        )
        pod = f"{name}-{attempt}-{suffix}"
        self.put(
            "Pod",
            pod,
            metadata={"labels": labels, "ownerReferences": [owner("batch/v1", job)]},
            spec={"containers": [{"name": "trainer"}]},
            status={"containerStatuses": [{"name": "trainer", "state": {"running": {}} if running else {}}]},
        )
        if running:
            self.logs[pod] = Said()
        return pod

    def say(self, pod: str, *texts: bytes, step: int = SECOND // 10) -> None:
        """Adds lines; a text without a newline is one whose end has not come."""
        said = self.logs[pod]
        time = said.lines[-1][0] if said.lines else BEGIN
        for text in texts:
            time += step
            if said.lines and not said.lines[-1][1].endswith(b"\n"):
                said.lines[-1] = (said.lines[-1][0], said.lines[-1][1] + text)
            else:
                said.lines.append((time, text))
        said.changed.set()

    def begin(self, pod: str) -> None:
        """Its container runs, the kubelet has no log yet."""
        body = self.objects["Pod", NAMESPACE, pod]
        body["status"]["containerStatuses"][0]["state"] = {"running": {}}
        self.touch("Pod", NAMESPACE, pod)

    def end(self, pod: str, *, code: int = 0) -> None:
        self.logs[pod].ended = True
        body = self.objects["Pod", NAMESPACE, pod]
        body["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": code}}
        self.touch("Pod", NAMESPACE, pod)
        self.logs[pod].changed.set()

    def drop(self, pod: str) -> None:
        """All connections to its log break."""
        self.logs[pod].breaks += 1
        self.logs[pod].changed.set()

    def vanish(self, pod: str) -> None:
        self.delete("Pod", pod)
        self.logs[pod].ended = True
        self.logs[pod].changed.set()

    def text(self, pod: str) -> bytes:
        """All that it said."""
        return b"".join(text for _, text in self.logs[pod].lines)
