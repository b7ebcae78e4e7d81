"""What the hub counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Telemetry:
    """One registry per application, so that two in one process (tests) do not share numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.lines = Counter(
            "orkhaven_hub_ingest_lines",
            "Metric lines by what became of them: accepted, duplicate, rejected.",
            ["result"],
            registry=self.registry,
        )
        # Children are looked up once: each look takes a lock and makes a key, and ingest counts thousands a second.
        self.accepted, self.duplicates, self.rejected = (
            self.lines.labels(result) for result in ("accepted", "duplicate", "rejected")
        )
        self.points = Counter("orkhaven_hub_ingest_points", "Points stored.", registry=self.registry)
        self.requests = Counter(
            "orkhaven_hub_requests",
            "HTTP requests by route, method and status code.",
            ["route", "method", "code"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "orkhaven_hub_request_seconds",
            "Time until a request was answered; for metrics until they were committed.",
            ["route"],
            buckets=_FAST,
            registry=self.registry,
        )
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.status_writes = Counter(
            "orkhaven_hub_status_writes",
            "Looks at a run's status: written, unchanged, finished, gone, failed.",
            ["result"],
            registry=self.registry,
        )
        self.status_waiting = Gauge(
            "orkhaven_hub_status_waiting", "Runs whose status is behind.", registry=self.registry
        )
        self.pending_points = Gauge(
            "orkhaven_hub_pending_points", "Points received and not committed yet.", registry=self.registry
        )
        self.log_bytes = Counter(
            "orkhaven_hub_log_bytes", "Bytes of pods' logs read from the API server.", registry=self.registry
        )
        self.logs_followed = Gauge(
            "orkhaven_hub_logs_followed", "Pods whose log is being read, or waits to be.", registry=self.registry
        )

    def answered(self, route: str, method: str, code: int, *, seconds: float) -> None:
        """Counts and times a request."""
        known = self._answered.get((route, method, code))
        if known is None:  # routes, methods and codes are few
            known = self.requests.labels(route, method, str(code)), self.latency.labels(route)
            self._answered[route, method, code] = known
        known[0].inc()
        known[1].observe(seconds)
