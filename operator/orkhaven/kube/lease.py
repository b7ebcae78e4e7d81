"""Who may write: leader election by a coordination.k8s.io/v1 Lease.

Own, and not `kubernetes.aio.leaderelection` 37.0: that one has no time limit on its calls (a hung renewal outlives
the lease), ends on a refused connection, stamps local time as UTC, reads before each renewal and never releases. The
rules are client-go's: a candidate trusts only its own clock and takes the lease after it has not seen it change for
the duration that stands in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orkhaven.errors import ApiError, Conflict, NotFound
from orkhaven.kube.client import Body, Client
from orkhaven.kube.resources import RESOURCES

log = logging.getLogger(__name__)

_LEASE = RESOURCES["Lease"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A version of the Lease and when, on our own monotonic clock, it was first seen."""

    version: str
    at: float


class Lease:
    """One candidate. `held()` is safe to ask at any time; `run()` keeps trying until it is cancelled."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: int,
        renew_deadline: float,
        retry: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace, self._name = namespace, name
        self.identity = identity
        self._duration, self._renew_deadline, self._retry = duration, renew_deadline, retry
        self._clock = clock
        self._renewed: float | None = None
        self._seen: _Seen | None = None
        self._lasts = float(duration)
        """Seconds that the stored lease is valid for without being renewed, as its holder wrote."""
        self._body: Body | None = None
        self._changed = asyncio.Event()

    def held(self) -> bool:
        """Whether writing is allowed: a renewal *sent* less than the deadline ago was granted."""
        return self._renewed is not None and self._clock() - self._renewed < self._renew_deadline

    async def acquired(self) -> None:
        """Returns once it is held."""
        while not self.held():
            self._changed.clear()
            await self._changed.wait()

    async def lost(self) -> None:
        """Returns once it is not held any more."""
        while self.held():
            assert self._renewed is not None
            await asyncio.sleep(max(0.05, self._renewed + self._renew_deadline - self._clock()))

    async def run(self) -> None:
        """Get it, renew it, get it again after a loss. Never ends by itself."""
        waiting_for, failing = "", False
        while True:
            before = self.held()
            try:
                holder = await self._try()
                failing = False
            except ApiError as error:
                holder = ""
                # Said once for an outage, not every two seconds of it.
                level = logging.DEBUG if failing else logging.WARNING
                log.log(level, "lease not renewed" if before else "lease not acquired", extra={"error": str(error)})
                failing = True
            if self.held() and not before:
                log.info("lease acquired: leading", extra={"identity": self.identity})
            elif not self.held() and holder and holder != waiting_for:
                log.info("standing by: another operator leads", extra={"holder": holder})
            waiting_for = holder
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Until the next try; a lease that is about to run out is tried for at that moment, not a retry later."""
        if self.held() or self._seen is None:
            return self._retry
        left = self._seen.at + self._lasts - self._clock()
        return min(self._retry, left + 0.01) if left > 0 else self._retry

    async def release(self) -> None:
        """Give it up, so that the next one need not wait until it runs out. Writes end before this is called."""
        if self._renewed is None or self._body is None:
            return
        self._renewed = None
        body = {**self._body, "spec": {**self._body["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            await self._put(body)
        except ApiError as error:
            log.warning("lease not released", extra={"error": str(error)})

    async def _try(self) -> str:
        """One attempt; who holds it now."""
        sent = self._clock()
        if self._body is not None and self.held():
            # One request where nothing intervened: the version that we wrote last is still the stored one.
            try:
                return await self._take(self._body, sent)
            except (Conflict, NotFound):
                self._body = None
        try:
            found = await self._client.request(
                "GET", self._path(self._name), seconds=self._seconds(), verb="get", resource=_LEASE.plural
            )
        except NotFound:
            return await self._create(sent)
        spec = found.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        version = str(found["metadata"]["resourceVersion"])
        if self._seen is None or self._seen.version != version:
            self._seen = _Seen(version=version, at=self._clock())
        self._lasts = float(spec.get("leaseDurationSeconds") or self._duration)
        if holder and holder != self.identity and self._clock() - self._seen.at < self._lasts:
            self._renewed = None
            return holder
        return await self._take(found, sent)

    async def _create(self, sent: float) -> str:
        body = {
            "apiVersion": _LEASE.api_version,
            "kind": _LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec({}),
        }
        self._granted(
            await self._client.request(
                "POST",
                _LEASE.path(namespace=self._namespace),
                body=body,
                seconds=self._seconds(),
                verb="create",
                resource=_LEASE.plural,
            ),
            sent,
        )
        return self.identity

    async def _take(self, stored: Body, sent: float) -> str:
        self._granted(await self._put({**stored, "spec": self._spec(stored.get("spec") or {})}), sent)
        return self.identity

    async def _put(self, body: Body) -> Body:
        """Raises Conflict where the stored resourceVersion is not the body's: somebody else was faster."""
        return await self._client.request(
            "PUT", self._path(self._name), body=body, seconds=self._seconds(), verb="update", resource=_LEASE.plural
        )

    def _granted(self, body: Body, sent: float) -> None:
        self._body = body
        # From when it was sent, not answered: the server's clock for others starts at the latest then.
        self._renewed = sent
        self._changed.set()

    def _spec(self, old: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = old.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._duration,
            "acquireTime": old.get("acquireTime") if mine and old.get("acquireTime") else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if mine or not old else 1),
        }

    def _path(self, name: str) -> str:
        return _LEASE.path(namespace=self._namespace, name=name)

    def _seconds(self) -> float:
        # An answer later than this is worth nothing: the deadline has passed by then.
        return max(1.0, self._renew_deadline / 2)
