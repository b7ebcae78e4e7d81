"""Kubernetes Events: what a person wants to know about an object, said once.

The same words about the same object become one Event with a rising count; an object that says too much is cut off for
a while; what many objects of one owner have to tell, the first of them tells. Posted by a task of its own, after the
status they tell of was written; losing one loses no state.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orkhaven.core.actions import Note
from orkhaven.core.views import Meta
from orkhaven.engine.ports import Body, Clock, Gateway
from orkhaven.errors import ApiError, LeaseLost, NotFound
from orkhaven.logs import about

log = logging.getLogger(__name__)

COMPONENT = "orkhaven-operator"
WINDOW = 3600.0
"""Seconds during which a repetition raises the count instead of making an Event; the server keeps one that long."""
BURST = 20
"""Events of one object at once."""
REFILL = 30.0
"""Seconds until one more is allowed after a burst."""
WAITING = 1000
"""Events that may wait to be posted; more are dropped, as the API server is in trouble then."""
REMEMBERED = 4096
"""Events and objects that are remembered."""
LONGEST_MESSAGE = 1024
"""Characters that the API server takes."""


@dataclass(slots=True)
class _Posted:
    name: str
    namespace: str
    uid: str
    count: int
    at: float


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    kind: str
    meta: Meta
    note: Note
    at: datetime


class EventRecorder:
    """`post` from the reconciler, `run` as a task."""

    def __init__(self, gateway: Gateway, *, clock: Clock, api_versions: dict[str, str]) -> None:
        self._gateway = gateway
        self._clock = clock
        self._api_versions = api_versions
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)
        self._posted: OrderedDict[tuple[str, ...], _Posted] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._told: OrderedDict[tuple[str, ...], tuple[str, float]] = OrderedDict()
        """(owner, reason, what it is about) -> (uid of who told it, when)."""
        self.dropped = 0

    def post(self, kind: str, meta: Meta, note: Note) -> None:
        """Never blocks, never raises."""
        if self._is_told(meta, note):
            return
        if not self._allowed(meta.uid):
            self.dropped += 1
            return
        try:
            self._queue.put_nowait(_Waiting(kind, meta, note, self._clock.now()))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            await self.post_next()

    async def post_next(self) -> None:
        """Post the next one, waiting for it if need be."""
        waiting = await self._queue.get()
        try:
            await self._post(waiting)
        except LeaseLost:
            # Somebody else leads and says what there is to say.
            self.dropped += 1
        except ApiError as error:
            self.dropped += 1
            log.debug("event not posted", extra=about(waiting.kind, *waiting.meta.key, error=str(error)))

    async def _post(self, waiting: _Waiting) -> None:
        note = waiting.note
        same = (waiting.meta.uid, note.type, note.reason, note.message)
        now = self._clock.monotonic()
        posted = self._posted.get(same)
        if posted is not None and now - posted.at < WINDOW:
            try:
                await self._gateway.patch(
                    "Event",
                    posted.namespace,
                    posted.name,
                    {"count": posted.count + 1, "lastTimestamp": _time(waiting.at)},
                    uid=posted.uid,
                )
            except NotFound:
                del self._posted[same]
            else:
                posted.count, posted.at = posted.count + 1, now
                return
        body = self._body(waiting)
        made = await self._gateway.create("Event", body)
        self._posted[same] = _Posted(
            name=body["metadata"]["name"],
            namespace=body["metadata"]["namespace"],
            uid=made["metadata"]["uid"],
            count=1,
            at=now,
        )
        _bound(self._posted)

    def _body(self, waiting: _Waiting) -> Body:
        meta, note, at = waiting.meta, waiting.note, _time(waiting.at)
        # A name that another attempt at the same Event would have too; the time makes a later one another.
        unique = hashlib.sha256(f"{meta.uid}{note.type}{note.reason}{note.message}{waiting.at}".encode()).hexdigest()[
            :16
        ]
        involved: dict[str, Any] = {
            "apiVersion": self._api_versions[waiting.kind],
            "kind": waiting.kind,
            "namespace": meta.key.namespace,
            "name": meta.key.name,
            "uid": meta.uid,
            "resourceVersion": str(meta.resource_version),
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": meta.key.namespace, "name": f"{meta.key.name[:200]}.{unique}"},
            "involvedObject": involved,
            "type": note.type,
            "reason": note.reason,
            "message": note.message[:LONGEST_MESSAGE],
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }

    def _is_told(self, meta: Meta, note: Note) -> bool:
        """Whether another object of the same owner has told it."""
        if not note.about or meta.owner_uid is None:
            return False
        now, what = self._clock.monotonic(), (meta.owner_uid, note.type, note.reason, note.about)
        who, at = self._told.get(what, (meta.uid, now))
        if who != meta.uid and now - at < WINDOW:
            return True
        self._told[what] = (meta.uid, now)
        self._told.move_to_end(what)
        _bound(self._told)
        return False

    def _allowed(self, uid: str) -> bool:
        now = self._clock.monotonic()
        bucket = self._buckets.setdefault(uid, _Bucket(BURST, now))
        self._buckets.move_to_end(uid)
        _bound(self._buckets)
        bucket.left = min(BURST, bucket.left + (now - bucket.at) / REFILL)
        bucket.at = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bound(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
