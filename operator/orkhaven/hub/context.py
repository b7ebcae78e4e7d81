"""What a request handler works with; made once per application."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from orkhaven.hub.artifacts.volume import Volumes
from orkhaven.hub.auth import ReadAuthorizer, WriteAuth
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.flusher import Flusher
from orkhaven.hub.logs.collector import Collector
from orkhaven.hub.logs.grep import Grep
from orkhaven.hub.ports import Gateway
from orkhaven.hub.query import Queries
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.silence import Silence
from orkhaven.hub.storage.store import Store
from orkhaven.hub.telemetry import Telemetry
from orkhaven.hub.writer import Writer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Two clocks: for what is stored, and for waiting."""

    wall: Callable[[], float] = time.time
    """Seconds since the epoch."""
    monotonic: Callable[[], float] = time.monotonic

    def steady(self) -> Callable[[], float]:
        """Seconds since the epoch that go on from now as time does, whatever is done to the wall clock: what is deleted
        by its age must not go because a clock jumped.
        """
        offset = self.wall() - self.monotonic()
        return lambda: self.monotonic() + offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    settings: HubSettings
    gateway: Gateway
    store: Store
    writer: Writer
    flusher: Flusher
    silence: Silence
    queries: Queries
    write_auth: WriteAuth
    read_auth: ReadAuthorizer
    telemetry: Telemetry
    collector: Collector | None
    """None: logs are not kept."""
    grep: Grep
    volumes: Volumes
    clocks: Clocks


def hub_of(request: Request) -> Hub:
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub


def storage_trouble(error: SQLAlchemyError) -> HttpError:
    """503 with what the database says, without the statement and its values."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    log.error("the store failed", extra={"error": cause})
    return unavailable(f"the store cannot be used now: {cause}")
