"""Meters for Prometheus, in a registry of their own. The names are a promise: dashboards use them."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from orkhaven.api import Reason
from orkhaven.api.experiment import State
from orkhaven.core.nodes import OF_NODES

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60)


class Telemetry:
    """Implements `ports.Meters`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._reconciles = Counter(
            "orkhaven_reconciles_total",
            "Looks at an object, by what came of it.",
            ["kind", "result"],
            registry=registry,
        )
        self._reconcile_seconds = Histogram(
            "orkhaven_reconcile_duration_seconds",
            "How long a look took.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "orkhaven_queue_latency_seconds",
            "How long a key that was due waited for a worker.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._api_calls = Counter(
            "orkhaven_api_calls_total",
            "Requests to the API server; watches are not counted.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._api_seconds = Histogram(
            "orkhaven_api_call_duration_seconds",
            "How long they took.",
            ["verb", "resource"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._failures = Counter(
            "orkhaven_failures_total", "Attempts that failed, by their cause.", ["reason"], registry=registry
        )
        self._stopped = Counter(
            "orkhaven_early_stopped_total", "Attempts that early stopping ended.", registry=registry
        )
        self._gpu_seconds = Counter(
            "orkhaven_gpu_seconds_total",
            "GPUs times seconds held by attempts that have ended, by what came of them.",
            ["namespace", "outcome"],
            registry=registry,
        )
        self._gpu_seconds_saved = Counter(
            "orkhaven_gpu_seconds_saved_total",
            "GPUs times seconds that runs have cost whose results were taken over.",
            ["namespace"],
            registry=registry,
        )
        self._repairs = Counter(
            "orkhaven_resync_repairs_total",
            "Differences that a full list found and the watch had not told of.",
            ["kind"],
            registry=registry,
        )
        self._events_dropped = 0

    # --- Meters ----------------------------------------------------------------------------------------------------

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        self._reconciles.labels(str(kind), result).inc()
        self._reconcile_seconds.labels(str(kind)).observe(seconds)

    def waited(self, kind: str, seconds: float) -> None:
        self._queue_seconds.labels(str(kind)).observe(seconds)

    def attempt_ended(self, reason: str) -> None:
        if reason == Reason.EARLY_STOPPED:
            self._stopped.inc()
        elif reason != Reason.COMPLETED:
            self._failures.labels(reason).inc()

    def gpu_seconds(self, namespace: str, spent: str, seconds: float) -> None:
        # Causes are counted by orkhaven_failures_total: with them here, too, there would be hundreds of series.
        self._gpu_seconds.labels(namespace, str(spent)).inc(seconds)

    def gpu_seconds_saved(self, namespace: str, seconds: float) -> None:
        if seconds:
            self._gpu_seconds_saved.labels(namespace).inc(seconds)

    def resynced(self, kind: str, repaired: int) -> None:
        self._repairs.labels(str(kind)).inc(repaired)

    # --- others ----------------------------------------------------------------------------------------------------

    def api_call(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """`kube.client.OnCall`."""
        self._api_calls.labels(verb, resource, code).inc()
        self._api_seconds.labels(verb, resource).observe(seconds)

    def gauges(
        self,
        *,
        states: Callable[[], Iterable[State | None]],
        depth: Callable[[], int],
        leading: Callable[[], bool],
        avoided: Callable[[], Iterable[str]] = lambda: (),
    ) -> None:
        """What is read when somebody scrapes, rather than kept up to date. `avoided`: why, for each node that all runs
        go past."""
        self.registry.register(_Gauges(states, depth, leading, avoided))


class _Gauges(Collector):
    def __init__(
        self,
        states: Callable[[], Iterable[State | None]],
        depth: Callable[[], int],
        leading: Callable[[], bool],
        avoided: Callable[[], Iterable[str]],
    ) -> None:
        self._states, self._depth, self._leading, self._avoided = states, depth, leading, avoided

    def collect(self) -> Iterable[Metric]:
        counts = Count(state.value if state else "New" for state in self._states())
        experiments = GaugeMetricFamily("orkhaven_experiments", "Experiments by state.", labels=["state"])
        for state in [*(s.value for s in State), "New"]:
            # All states, so that a graph falls to zero instead of ending.
            experiments.add_metric([state], counts.get(state, 0))
        yield experiments
        nodes = Count(self._avoided())
        avoided = GaugeMetricFamily("orkhaven_avoided_nodes", "Nodes that all runs go past.", labels=["reason"])
        for reason in sorted(OF_NODES | nodes.keys()):
            avoided.add_metric([reason], nodes.get(reason, 0))
        yield avoided
        yield GaugeMetricFamily("orkhaven_queue_depth", "Keys that are due and wait for a worker.", self._depth())
        yield GaugeMetricFamily("orkhaven_leader", "1 where this process leads.", float(self._leading()))
