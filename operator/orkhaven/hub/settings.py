"""The hub's settings: environment variables ORKHAVEN_HUB_<NAME>, each documented where it is defined."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orkrun import contract

DEFAULT_PORT = 8000


class ReadAuth(StrEnum):
    KUBERNETES = "kubernetes"
    NONE = "none"


class HubSettings(BaseSettings):
    """Read once at start. Logging is set by ORKHAVEN_LOG_LEVEL and ORKHAVEN_LOG_FORMAT, as the operator's."""

    model_config = SettingsConfigDict(env_prefix="ORKHAVEN_HUB_", frozen=True, extra="ignore", env_ignore_empty=True)

    host: Annotated[str, Field(description="Address to listen on. All of them: the hub runs in a pod.")] = "0.0.0.0"
    port: Annotated[int, Field(description="TCP port.", ge=1, le=65535)] = DEFAULT_PORT
    database_url: Annotated[
        str,
        Field(
            description="SQLAlchemy URL of the store: sqlite:////absolute/path or postgresql://user:password@host/db. "
            "SQLite needs a local volume and one replica; with PostgreSQL several replicas may run."
        ),
    ] = "sqlite:////var/lib/orkhaven/hub.db"

    namespaces: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="Namespaces whose sweeps are shown, separated by commas. Empty: all, by a ClusterRole."),
    ] = ()
    audience: Annotated[str, Field(description="Audience that a training pod's token must have.", min_length=1)] = (
        contract.TOKEN_AUDIENCE
    )
    read_auth: Annotated[
        ReadAuth,
        Field(
            description="kubernetes: whoever reads shows a bearer token and may `get experiments` in that namespace. "
            "none: whoever reaches the port reads everything; for a hub behind a proxy that does its own checks."
        ),
    ] = ReadAuth.KUBERNETES
    token_cache_seconds: Annotated[
        float,
        Field(
            description="Seconds for which an accepted token is not asked about again. A revoked one works this long; "
            "shorter means more calls to the API server: one per run and this time.",
            ge=0,
            le=600,
        ),
    ] = 60
    token_failure_cache_seconds: Annotated[
        float,
        Field(
            description="Seconds for which a refused token is refused without asking. Short, because a pod may be seen "
            "before its Job is.",
            ge=0,
            le=60,
        ),
    ] = 5
    token_cache_size: Annotated[
        int, Field(description="Tokens remembered; about 1 KB each. The oldest go first.", ge=1)
    ] = 10_000

    flush_seconds: Annotated[
        float,
        Field(
            description="Seconds between two writes of one run's status. 10,000 runs that report all the "
            "time make 1,000 writes a second at 10; the first report of a run is written at once.",
            gt=0,
        ),
    ] = 10
    flush_concurrency: Annotated[
        int, Field(description="Status writes under way at once: what the API server feels of a restart.", ge=1, le=64)
    ] = 8
    flush_backoff_max_seconds: Annotated[
        float, Field(description="Longest pause in seconds after failed status writes.", gt=0)
    ] = 60

    max_body_bytes: Annotated[
        int,
        Field(description="Largest body of one POST in bytes. The reporter sends 256 KiB at most.", ge=1024),
    ] = 4 * 1024 * 1024
    max_body_seconds: Annotated[
        float,
        Field(description="Longest time in seconds that a POST's body may take to arrive; then 408.", gt=0),
    ] = 30
    max_metrics_per_run: Annotated[
        int,
        Field(
            description="Distinct metric names of one run. A name with the step in it would otherwise fill the store.",
            ge=1,
        ),
    ] = 1000
    max_pending_points: Annotated[
        int,
        Field(
            description="Points accepted into memory and not committed yet; above it a POST is answered 503 and comes "
            "again. About 200 bytes each.",
            ge=1000,
        ),
    ] = 200_000
    retention_days: Annotated[
        float | None,
        Field(
            description="Days after its last report when a run's history is deleted. Unset: never; 10,000 runs "
            "x 20 metrics x 100 points are 0.6 GB in SQLite.",
            gt=0,
        ),
    ] = None

    usage_retention_days: Annotated[
        float,
        Field(
            description="Days after its end when a line of the ledger of GPU time is deleted: a year and a month, so "
            "that a month can be held against the same one of the year before. A line is 300 bytes, one per pod.",
            gt=0,
        ),
    ] = 400

    logs: Annotated[
        bool,
        Field(description="Keep the logs of attempts. Needs `list` and `watch` of pods and `get` of pods/log."),
    ] = True
    log_head_bytes: Annotated[
        int,
        Field(
            description="Bytes kept of the beginning of an attempt's log: how it was set up. In steps of 64 KiB.",
            ge=64 * 1024,
        ),
    ] = 4 * 1024 * 1024
    log_tail_bytes: Annotated[
        int,
        Field(
            description="Bytes kept of the end of an attempt's log: what it died of. What lies between is left out, "
            "and the log says how much. 16 MiB in all are about 2 MiB compressed.",
            ge=64 * 1024,
        ),
    ] = 12 * 1024 * 1024
    log_store_bytes: Annotated[
        int,
        Field(
            description="Bytes that all logs together may take, compressed; above it the oldest ended ones are "
            "deleted. Half of the chart's volume: 10,000 runs that print 200 KB each take 0.3 GB.",
            ge=1024 * 1024,
        ),
    ] = 4 * 1024**3
    log_retention_days: Annotated[
        float,
        Field(
            description="Days after its end when a log is deleted: a quarter, in which one still asks why it failed.",
            gt=0,
        ),
    ] = 90
    log_streams: Annotated[
        int,
        Field(
            description="Logs of running containers followed at once. Each is a connection to the API server and, "
            "while it says much, 0.3 MB of memory. One more waits until another has ended, and is read then from its "
            "start.",
            ge=1,
            le=10_000,
        ),
    ] = 500
    log_flush_seconds: Annotated[
        float,
        Field(
            description="Longest time in seconds that a line is in memory only. Who follows a log sees it this late.",
            gt=0,
            le=60,
        ),
    ] = 1.0
    log_bytes_per_second: Annotated[
        float,
        Field(
            description="Bytes of log read a second, over all runs. Above it the nodes wait, and nothing is lost "
            "unless the kubelet rotates more away than its files hold. 10 MB take about half of a CPU core, which "
            "metrics need too.",
            ge=64 * 1024,
        ),
    ] = 10_000_000

    output_root: Annotated[
        Path | None,
        Field(
            description="Folder below which output volumes are mounted, read-only, as NAMESPACE/CLAIM: artifacts that "
            "are too large to be uploaded are served from there. Unset: only what was uploaded is served."
        ),
    ] = None
    output_claim: Annotated[
        str, Field(description="The claim of runs that name none: the operator's setting of the same name.")
    ] = ""
    artifact_run_bytes: Annotated[
        int,
        Field(
            description="Uploaded bytes kept of one run; what comes after is listed, not kept. Some hundred pictures.",
            ge=0,
        ),
    ] = 64 * 1024 * 1024
    artifact_store_bytes: Annotated[
        int,
        Field(
            description="Uploaded bytes kept of all runs; above it the oldest go, with their lines. A fifth of the "
            "chart's volume: 10,000 runs with a report of 0.2 MB each.",
            ge=0,
        ),
    ] = 2 * 1024**3
    artifact_retention_days: Annotated[
        float | None,
        Field(description="Days after it came when an artifact is forgotten. Unset: by artifact_store_bytes.", gt=0),
    ] = None

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("port", mode="before")
    @classmethod
    def _not_a_service_link(cls, value: Any) -> Any:
        # Kubernetes itself sets ORKHAVEN_HUB_PORT=tcp://10.0.0.1:8000 in pods beside a Service named orkhaven-hub.
        return DEFAULT_PORT if isinstance(value, str) and value.startswith("tcp://") else value
