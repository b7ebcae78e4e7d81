"""The operator process: puts gateway, lease, watch, engine and probes together, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from orkhaven import __version__
from orkhaven.config import LogFormat, OperatorSettings, kubeconfig_path
from orkhaven.core.devices import GpuResource
from orkhaven.core.user_rules import UserRule, compile_all
from orkhaven.core.views import Defaults, Key
from orkhaven.engine.asker import WorkerAsker
from orkhaven.engine.engine import Engine, Tuning
from orkhaven.engine.events import EventRecorder
from orkhaven.engine.reader import PodReader
from orkhaven.engine.resync import Resync
from orkhaven.engine.telemetry import Telemetry
from orkhaven.engine.usage_book import UsageBook
from orkhaven.engine.workloads import Workloads
from orkhaven.errors import ApiError, LeaseLost, NotFound
from orkhaven.feed import Watcher
from orkhaven.feed.workloads import WorkloadWatch
from orkhaven.kube import RESOURCES, Client, Gateway, Lease, connect, credentials
from orkhaven.logs import configure
from orkhaven.probes import Probes

log = logging.getLogger(__name__)

QUIET = 3.0
"""Seconds without a listed object after which a list of the watch is taken to be through."""
LONGEST_RETRY = 30.0
USAGE_SECONDS = 60.0
"""Between two writes of what deleted runs have used."""
LAST_WRITE_SECONDS = 3.0
GC_THRESHOLDS = (20_000, 20, 50)
"""Python's own (700, 10, 10) walk through ten thousand cached objects all the time: a seventh of the CPU time there,
the more the more there are. Nothing large here is in cycles.
"""


class SystemClock:
    """`ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def defaults(settings: OperatorSettings) -> Defaults:
    """What the core is told of the settings."""
    return Defaults(
        image=settings.trainer_image,
        image_pull_policy=settings.image_pull_policy,
        output_claim=settings.output_claim,
        hub_url=settings.hub_url,
        termination_grace_seconds=settings.termination_grace_seconds,
        image_pull_timeout_seconds=settings.image_pull_timeout_seconds,
        retry_base_seconds=settings.retry_base_seconds,
        retry_max_seconds=settings.retry_max_seconds,
        start_timeout_seconds=settings.start_timeout_seconds,
        stall_seconds=settings.stall_seconds,
        read_seconds=settings.read_seconds,
        twin_patience_seconds=settings.twin_patience_seconds,
        job_retention_seconds=settings.job_retention_seconds,
        failed_job_retention_seconds=settings.failed_job_retention_seconds,
        lookahead=settings.lookahead,
        kueue_priority_classes={str(name): of for name, of in settings.kueue_priority_classes.items()},
        gpu_resources=tuple(
            GpuResource(one.name, (one.model_label, one.memory_label)) for one in settings.gpu_resources
        ),
        failure_rules=settings_rules(settings),
    )


def settings_rules(settings: OperatorSettings) -> tuple[UserRule, ...]:
    """The rules of the settings that are fine. One that is not stops neither the others nor the operator."""
    rules, wrong = compile_all(settings.failure_rules, where="ORKHAVEN_FAILURE_RULES")
    for problem in wrong:
        log.error("a rule for causes is left out", extra={"error": problem})
    return rules


class Operator:
    """One process. `run` returns after SIGTERM or SIGINT, or raises."""

    def __init__(self, settings: OperatorSettings, client: Client, telemetry: Telemetry) -> None:
        self.settings = settings
        self.client = client
        clock = SystemClock()
        self.lease = Lease(
            client,
            namespace=settings.lease_namespace,
            name=settings.lease_name,
            identity=settings.lease_identity,
            duration=settings.lease_duration_seconds,
            renew_deadline=settings.lease_renew_seconds,
            retry=settings.lease_retry_seconds,
        )
        gateway = Gateway(client, may_write=self.lease.held)
        self.events = EventRecorder(
            gateway, clock=clock, api_versions={kind: resource.api_version for kind, resource in RESOURCES.items()}
        )
        self.asker = WorkerAsker()
        self.reader = PodReader(gateway)
        self.engine = Engine(
            gateway,
            clock=clock,
            events=self.events,
            meters=telemetry,
            asker=self.asker,
            reader=self.reader,
            defaults=defaults(settings),
            random=random.random,
            namespaces=settings.namespaces,
            tuning=Tuning(
                workers=settings.workers,
                sweep_interval=settings.sweep_interval_seconds,
                queue_interval=settings.queue_interval_seconds,
                usage_half_life=settings.usage_half_life_seconds,
                min_run=settings.min_run_seconds,
                backoff_base=settings.backoff_base_seconds,
                backoff_max=settings.backoff_max_seconds,
            ),
        )
        self.usage = UsageBook(
            self.engine.usage,
            gateway,
            clock=clock,
            config_map=Key(settings.lease_namespace, settings.usage_config_map),
        )
        self.resync = Resync(self.engine, gateway, meters=telemetry, namespaces=settings.namespaces)
        self.workloads = Workloads(self.engine, gateway, namespaces=settings.namespaces, enabled=settings.kueue)
        self.workload_watch = WorkloadWatch(self.workloads, gateway)
        self.watcher = Watcher(
            self.engine, login=lambda: credentials(kubeconfig_path()), namespaces=settings.namespaces
        )
        telemetry.gauges(
            states=lambda: (view.status.state for view in self.engine.store.experiments()),
            depth=lambda: self.engine.queue.depth(now=clock.monotonic()),
            leading=self.lease.held,
            avoided=lambda: (node.reason for node in self.engine.dispatcher.avoided()),
        )
        self.probes = Probes(
            host=settings.http_host,
            port=settings.http_port,
            registry=telemetry.registry,
            healthy={"watch": lambda: self.watcher.alive or not self.resync.complete},
            ready={"synced": lambda: self.resync.complete},
        )

    async def run(self) -> None:
        """Until a signal. An error of any part ends all of them and is raised: a part that is dead must be seen."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self.probes.start()
        log.info(
            "operator started",
            extra={
                "version": __version__,
                "server": self.client.server,
                "identity": self.settings.lease_identity,
                "http_port": self.probes.port,
            },
        )
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.lease.run(), name="lease"),
                    group.create_task(self.events.run(), name="events"),
                    group.create_task(self.asker.run(), name="asker"),
                    group.create_task(self.reader.run(), name="reader"),
                    group.create_task(self._synchronize(), name="resync"),
                    group.create_task(self._foreign(), name="foreign"),
                    *([group.create_task(self._kueue(), name="kueue")] if self.settings.kueue else []),
                    group.create_task(self._rules(), name="rules"),
                    group.create_task(self._usage(), name="usage"),
                    group.create_task(self._lead(), name="lead"),
                ]
                await stop.wait()
                log.info("stopping")
                for task in tasks:
                    task.cancel()
        finally:
            await self.watcher.stop()
            with contextlib.suppress(LeaseLost, TimeoutError):
                async with asyncio.timeout(LAST_WRITE_SECONDS):
                    await self._write_usage()
            # Last: from now on somebody else may write, and nothing here does any more.
            await self.lease.release()
            await self.probes.stop()

    async def _lead(self) -> None:
        """Work while the lease is held; stand by, with a warm store, while it is not."""
        while True:
            await self.lease.acquired()
            await _until(lambda: self.resync.complete)
            with contextlib.suppress(ApiError):
                # Standing by, nobody looked at what others hold since the last full list.
                await self.resync.foreign()
            await self.usage.read()
            work = asyncio.create_task(self.engine.run(), name="work")
            lost = asyncio.create_task(self.lease.lost(), name="lost")
            try:
                await asyncio.wait((work, lost), return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                for task in (work, lost):
                    task.cancel()
                await asyncio.gather(work, lost, return_exceptions=True)
            if not self.lease.held():
                log.warning("the lease is lost: standing by")

    async def _synchronize(self) -> None:
        """The first list, then the watch, then a list whenever one is due."""
        # First: what runs wait for is known when they are looked at, and nothing says less after a restart.
        await self.workloads.look()
        await self._persist("list", self.resync.run_once)
        log.info("synchronized", extra={"experiments": len(list(self.engine.store.experiments()))})
        self.watcher.start()
        done = time.monotonic()
        while True:
            await _until(lambda since=done: self._list_due(since), every=1.0)  # type: ignore[misc]
            before, done = done, time.monotonic()
            silent = max(self.watcher.last_event, self.watcher.last_listed) < before
            repaired = await self._persist("list", self.resync.run_once)
            if repaired and silent:
                # Changes that the watch did not tell of, and nothing else from it either: it hangs.
                log.warning(
                    "the watch told of nothing while the cluster changed; starting it again",
                    extra={"changes": repaired},
                )
                self.watcher.restart()

    def _list_due(self, since: float) -> bool:
        """Every so often, and after the watch had to start over: what was deleted in its gap, it will never tell."""
        now = time.monotonic()
        listed = self.watcher.last_listed
        return now - since >= self.settings.resync_seconds or (listed > since and now - listed > QUIET)

    async def _kueue(self) -> None:
        """Kueue's Workloads, from when the Jobs that they are of are known."""
        await _until(lambda: self.resync.complete)
        await self.workload_watch.run()

    async def _foreign(self) -> None:
        """GPUs that others hold, weights and quotas, while somebody of ours waits; of a new node soon: nothing is
        released to it before. Then it is decided anew: whose turn it is, and who may be preempted, depends on the
        time."""
        while True:
            for _ in range(max(1, round(self.settings.foreign_gpu_seconds))):
                await asyncio.sleep(min(1.0, self.settings.foreign_gpu_seconds))
                if self.resync.complete and self.engine.dispatcher.unseen():
                    break
            if self.resync.complete and self.lease.held() and self.engine.dispatcher.anyone_waits:
                with contextlib.suppress(ApiError):
                    await self.resync.foreign()
                with contextlib.suppress(ApiError):
                    await self.engine.sharing.look()
                self.engine.decide_anew()

    async def _rules(self) -> None:
        """The rules for causes of each namespace, now and then: a failure is judged by those that were read last."""
        while True:
            with contextlib.suppress(ApiError):
                await self.engine.rules.look()
            await asyncio.sleep(self.settings.failure_rules_seconds)

    async def _usage(self) -> None:
        """What deleted runs have used, for whoever leads next."""
        while True:
            await asyncio.sleep(USAGE_SECONDS)
            if not self.lease.held():
                await self.usage.read()
            with contextlib.suppress(LeaseLost):
                await self._write_usage()

    async def _write_usage(self) -> None:
        if self.resync.complete and self.lease.held():
            await self.usage.write()

    async def _persist(self, what: str, function: Callable[[], Awaitable[int]]) -> int:
        """Until it succeeds."""
        pause = 1.0
        while True:
            try:
                return await function()
            except NotFound as error:
                log.warning("a kind is missing: are Orkhaven's CRDs installed?", extra={"error": str(error)})
            except ApiError as error:
                log.warning(f"{what} failed, will be tried again", extra={"error": str(error)})
            await asyncio.sleep(pause * (0.5 + random.random() / 2))
            pause = min(LONGEST_RETRY, pause * 2)


async def _until(condition: Callable[[], bool], *, every: float = 0.1) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(every)


async def _run(settings: OperatorSettings) -> None:
    telemetry = Telemetry()
    client = await connect(kubeconfig_path(), on_call=telemetry.api_call)
    try:
        await Operator(settings, client, telemetry).run()
    finally:
        await client.close()


def main() -> int:
    """`orkhaven operator`. The exit code."""
    settings = OperatorSettings()
    configure(level=settings.log_level, as_json=settings.log_format is LogFormat.JSON)
    # kopf says at INFO what we say ourselves, and at WARNING that it gets no signals, which is as it should be.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    gc.set_threshold(*GC_THRESHOLDS)
    asyncio.run(_run(settings))
    return 0
