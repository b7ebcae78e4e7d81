"""The watch of Kueue's Workloads: beside kopf's, whose kinds have to be there before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any, Protocol

from orkhaven.engine.workloads import Workloads
from orkhaven.errors import ApiError

log = logging.getLogger(__name__)

PROBE_SECONDS = 30.0
"""Between looks for a Kueue that is not there."""
PAUSE_SECONDS = 1.0
"""Before the next list, where a watch has ended."""


class Watching(Protocol):
    """Of `kube.gateway.Gateway`."""

    def watch(
        self, kind: str, *, namespace: str | None = None, label_selector: str | None = None, version: str
    ) -> contextlib.AbstractAsyncContextManager[AsyncIterator[tuple[str, dict[str, Any]]]]: ...


class WorkloadWatch:
    """A list and a watch from there, again and again: the API server ends each watch within minutes, so that the list
    also finds what the watch has missed."""

    def __init__(self, workloads: Workloads, gateway: Watching, *, probe: float = PROBE_SECONDS) -> None:
        self._workloads, self._gateway, self._probe = workloads, gateway, probe

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            found = await self._workloads.look()
            if found is None:
                # Jitter: two operators need not ask together.
                await asyncio.sleep(self._probe * random.uniform(0.8, 1.2))
                continue
            watches = [asyncio.create_task(self._watch(*place)) for place in found.items()]
            try:
                await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for watch in watches:
                    watch.cancel()
                await asyncio.gather(*watches, return_exceptions=True)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _watch(self, namespace: str | None, version: str) -> None:
        try:
            async with self._gateway.watch(self._workloads.called, namespace=namespace, version=version) as events:
                async for type_, body in events:
                    self._workloads.take(type_, body)
        except ApiError as error:
            log.info("the watch of Kueue's Workloads ended", extra={"error": str(error)})
        except Exception:
            # One odd object must not end the watch for good.
            log.exception("the watch of Kueue's Workloads failed; this is a bug in Orkhaven")
