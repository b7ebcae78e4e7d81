"""Keeps the logs of all attempts: sees their pods come and go, has each followed, deletes what is too old or too much.

Level-triggered: what is to be followed is what the list and watch of pods show and the store has not to its end. A pod
that went while no hub looked is found by its unfinished log.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from orkhaven.errors import ApiError, Gone, NotFound
from orkhaven.hub.logs.commit import Bell, Budget, Committer
from orkhaven.hub.logs.follower import BACKOFF_BASE, BACKOFF_MAX, Follower, Tools
from orkhaven.hub.logs.pieces import Limits
from orkhaven.hub.logs.pods import SELECTOR, Phase, pod_of
from orkhaven.hub.logs.store import LogStore
from orkhaven.hub.logs.turn import Turn
from orkhaven.hub.ports import Body, Gateway
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.writer import BusyError, Writer, beside
from orkhaven.pauses import Pauses

PAST = 8
"""Logs of ended containers read at once: after a restart there may be thousands, and the living come first."""
TURN_SECONDS = 10.0
"""Between two looks whether it is this hub's turn."""
RETENTION_SECONDS = 600.0

log = logging.getLogger(__name__)


class Collector:
    """`start` once, `close` at the end. Of one event loop."""

    def __init__(
        self,
        gateway: Gateway,
        logs: LogStore,
        writer: Writer,
        settings: HubSettings,
        *,
        turn: Turn,
        namespaces: Sequence[str],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> None:
        """`namespaces`: where to look; empty: everywhere."""
        self._gateway = gateway
        self._logs = logs
        self._writer = writer
        self._clock = clock
        self._monotonic = monotonic
        # A wall clock that jumps makes no log old.
        self._offset = clock() - monotonic()
        self._rng = rng
        self._turn = turn
        self._scopes: list[str | None] = [*namespaces] or [None]
        self._retention = settings.log_retention_days * 86_400
        self._max_bytes = settings.log_store_bytes
        self._committer = Committer(logs, writer, clock=clock)
        self._tools = Tools(
            gateway=gateway,
            logs=logs,
            writer=writer,
            committer=self._committer,
            budget=Budget(settings.log_bytes_per_second, clock=monotonic),
            limits=Limits(head=settings.log_head_bytes, tail=settings.log_tail_bytes),
            flush_seconds=settings.log_flush_seconds,
            clock=clock,
            monotonic=monotonic,
            rng=rng,
            on_bytes=on_bytes,
        )
        self._live = asyncio.Semaphore(settings.log_streams)
        self._past = asyncio.Semaphore(PAST)
        self._followers: dict[str, tuple[Follower, asyncio.Task[None]]] = {}
        """By the pod's uid."""
        self._done: set[str] = set()
        """Pods that are still there and whose log is kept to its end."""
        self._main: list[asyncio.Task[None]] = []

    @property
    def bell(self) -> Bell:
        """Rings when a log has grown or ended, as far as this hub follows it."""
        return self._committer.bell

    @property
    def following(self) -> int:
        """Pods whose log is being read, or waits to be."""
        return len(self._followers)

    def start(self) -> None:
        self._committer.start()
        self._main = [
            asyncio.create_task(self._take_turns(), name="hub-logs"),
            asyncio.create_task(self._retain(), name="hub-log-retention"),
        ]

    async def close(self) -> None:
        """Stops where it is: the store knows how far it came."""
        await _cancel(self._main)
        await self._stop_following()
        await self._committer.close()
        await asyncio.to_thread(self._turn.close)

    async def _stop_following(self) -> None:
        followers = [task for _, task in self._followers.values()]
        await _cancel(followers)
        self._followers.clear()
        self._done.clear()

    async def _take_turns(self) -> None:
        watching: list[asyncio.Task[None]] = []
        try:
            while True:
                mine = await asyncio.to_thread(self._turn.take)
                if mine and not watching:
                    watching = [asyncio.create_task(self._watch(scope)) for scope in self._scopes]
                elif not mine and watching:
                    log.warning("the turn to follow logs was lost: the database was away, or another hub has it")
                    await _cancel(watching)
                    watching = []
                    await self._stop_following()
                await asyncio.sleep(TURN_SECONDS)
        finally:
            await _cancel(watching)

    # --- which pods there are ---

    async def _watch(self, namespace: str | None) -> None:
        failures = 0
        pauses = Pauses(clock=self._monotonic, rng=self._rng.random)
        while True:
            try:
                version = await self._list(namespace)
                while True:
                    pauses.begin()
                    async with self._gateway.watch(
                        "Pod", namespace=namespace, label_selector=SELECTOR, version=version
                    ) as events:
                        failures = 0
                        async for kind, body in events:
                            version = str(body["metadata"].get("resourceVersion") or version)
                            if kind != "BOOKMARK":
                                pauses.heard()
                                self._seen(body, deleted=kind == "DELETED")
                    await asyncio.sleep(pauses.after_end())
            except Gone:
                await asyncio.sleep(pauses.after_end())
                continue
            except (ApiError, SQLAlchemyError, BusyError) as error:
                failures += 1
                if failures in (1, 5):
                    log.warning("pods cannot be watched for their logs", extra={"error": str(error)})
            except Exception:
                failures += 1
                log.exception("pods cannot be watched for their logs")
            ceiling = min(BACKOFF_MAX, BACKOFF_BASE * 2 ** min(failures, 10))
            await asyncio.sleep(self._rng.uniform(ceiling / 2, ceiling))

    async def _list(self, namespace: str | None) -> str:
        version = "0"
        there: set[str] = set()
        async for bodies, found in self._gateway.pages("Pod", namespace=namespace, label_selector=SELECTOR):
            version = found
            there.update(body["metadata"]["uid"] for body in bodies)
            uids = [body["metadata"]["uid"] for body in bodies]
            self._done |= await asyncio.to_thread(self._logs.ended_pods, uids)
            for body in bodies:
                self._seen(body, deleted=False)
        await self._end_those_gone(namespace, there)
        return version

    async def _end_those_gone(self, namespace: str | None, there: set[str]) -> None:
        for log_id, who in await asyncio.to_thread(self._logs.unfinished):
            if who.pod_uid in there or who.pod_uid in self._followers or namespace not in (None, who.namespace):
                continue
            if self._scopes != [None] and who.namespace not in self._scopes:
                continue
            try:
                body = await self._gateway.get("Pod", who.namespace, who.pod)
            except NotFound:
                body = None
            if body is not None and body["metadata"]["uid"] == who.pod_uid:
                continue  # made after the list
            note = f"the log ends here: pod {who.pod} was deleted while nobody followed it, later lines may be missing"
            await self._writer.call(beside(self._logs.end, log_id, pod_uid=who.pod_uid, note=note, now=self._clock()))
            self.bell.ring(log_id)

    def _seen(self, body: Body, *, deleted: bool) -> None:
        uid = body["metadata"]["uid"]
        if deleted:
            self._done.discard(uid)
        pod = pod_of(body)
        known = self._followers.get(uid)
        if known is not None:
            known[0].seen(None if deleted else pod)
        elif pod is not None and not deleted and uid not in self._done and pod.phase is not Phase.WAITING:
            follower = Follower(self._tools, pod)
            task = asyncio.create_task(self._follow(follower), name=f"hub-log-{pod.name}")
            self._followers[uid] = (follower, task)

    async def _follow(self, follower: Follower) -> None:
        uid = follower.pod.uid
        try:
            async with self._live if follower.pod.phase is Phase.RUNNING else self._past:
                await follower.run()
            if not follower.deleted:
                self._done.add(uid)
        except Exception:
            log.exception("a log is not followed any more", extra={"pod": follower.pod.name})
        finally:
            # Not where all were stopped: by then the table may hold another one.
            if self._followers.get(uid, (None,))[0] is follower:
                del self._followers[uid]

    # --- what is too old or too much ---

    async def _retain(self) -> None:
        while True:
            before = self._monotonic() + self._offset - self._retention
            try:
                while await self._writer.call(
                    beside(self._logs.forget, ended_before=before, max_bytes=self._max_bytes)
                ):
                    continue
            except (SQLAlchemyError, BusyError) as error:
                log.warning("old logs were not deleted", extra={"error": str(error).splitlines()[0]})
            await asyncio.sleep(RETENTION_SECONDS)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
