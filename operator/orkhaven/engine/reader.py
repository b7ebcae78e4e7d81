"""`ports.Reader`: reads the end of a pod's log and its Events, beside everything else.

A few at a time, each twice at most and within its time, so that a kubelet that hangs costs nobody anything but the
attempts whose pods it has, and these no more than that time. That something cannot be read is never an error here: the
attempt is judged by what is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from orkhaven.core.actions import ReadPod
from orkhaven.core.parse import CONTAINER, parse_pod_event
from orkhaven.core.views import Heard, PodEvent, ReadState
from orkhaven.engine.ports import Gateway
from orkhaven.errors import ApiError, Forbidden, Unavailable
from orkhaven.logs import about

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Pods: each answer has a few hundred KiB, and its kubelet may hang."""
TRIES = 2
PAUSE = 0.5
"""Seconds between the two."""
MAX_EVENTS = 20
"""Warnings of one pod, the last ones."""


async def read_pod(gateway: Gateway, want: ReadPod) -> Heard:
    """One try. Raises Unavailable where another one may help; whatever else is refused is unreadable."""
    heard = Heard()
    if want.log:
        try:
            tail = await gateway.pod_tail(*want.key, container=CONTAINER)
            heard = replace(heard, log_state=ReadState.READ, log_tail=tail)
        except Unavailable:
            raise
        except ApiError as error:
            _say(want, "log", error)
            heard = replace(heard, log_state=ReadState.UNREADABLE)
    if want.events:
        try:
            heard = replace(heard, events_state=ReadState.READ, events=await _events(gateway, want))
        except Unavailable:
            raise
        except ApiError as error:
            _say(want, "Events", error)
            heard = replace(heard, events_state=ReadState.UNREADABLE)
    return heard


async def _events(gateway: Gateway, want: ReadPod) -> tuple[PodEvent, ...]:
    found: list[PodEvent] = []
    selector = f"involvedObject.uid={want.uid}"
    async for bodies, _ in gateway.pages("Event", namespace=want.key.namespace, field_selector=selector):
        found += [event for body in bodies if (event := parse_pod_event(body)) is not None]
    found.sort(key=lambda event: event.at or datetime.min.replace(tzinfo=UTC))
    return tuple(found[-MAX_EVENTS:])


def unreadable(want: ReadPod) -> Heard:
    return Heard(
        log_state=ReadState.UNREADABLE if want.log else ReadState.UNREAD,
        events_state=ReadState.UNREADABLE if want.events else ReadState.UNREAD,
    )


def _say(want: ReadPod, what: str, error: ApiError) -> None:
    level = logging.WARNING if isinstance(error, Forbidden) else logging.DEBUG
    log.log(level, f"a pod's {what} cannot be read", extra=about("Pod", *want.key, error=str(error)))


@dataclass(frozen=True, slots=True)
class _Wanted:
    want: ReadPod
    until: float
    """By the loop's clock."""
    done: Callable[[Heard], None]


class PodReader:
    """One per engine; `run` does the work."""

    def __init__(self, gateway: Gateway, *, at_once: int = AT_ONCE) -> None:
        self._gateway, self._at_once = gateway, at_once
        self._wanted: asyncio.Queue[_Wanted] = asyncio.Queue()
        self._reading: set[str] = set()
        """Uids of pods that are not answered yet."""

    def read(self, want: ReadPod, done: Callable[[Heard], None]) -> None:
        if want.uid not in self._reading:
            self._reading.add(want.uid)
            until = asyncio.get_running_loop().time() + want.seconds
            self._wanted.put_nowait(_Wanted(want, until, done))

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._at_once):
                group.create_task(self._work(), name=f"reader-{number}")

    async def _work(self) -> None:
        while True:
            wanted = await self._wanted.get()
            # Those that were asked for together run out of time together: none waits for all before it.
            heard = await self._read(wanted)
            self._reading.discard(wanted.want.uid)
            wanted.done(heard)

    async def _read(self, wanted: _Wanted) -> Heard:
        loop, want, why = asyncio.get_running_loop(), wanted.want, "its time was over before its turn came"
        for left in reversed(range(TRIES)):
            now = loop.time()
            if now >= wanted.until:
                break
            try:
                # A try that hangs leaves time for the next.
                async with asyncio.timeout_at(now + (wanted.until - now) / (left + 1)):
                    return await read_pod(self._gateway, want)
            except TimeoutError:
                why = "no answer in time"
            except Unavailable as error:
                why = str(error)
                if left and loop.time() + PAUSE < wanted.until:
                    await asyncio.sleep(PAUSE)
            except Exception:
                # A bug here must not keep an attempt from being settled.
                log.exception("a pod was not read; this is a bug in Orkhaven", extra=about("Pod", *want.key))
                return unreadable(want)
        log.info("a pod was not read, its end is judged without", extra=about("Pod", *want.key, error=why))
        return unreadable(want)
