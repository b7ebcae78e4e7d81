"""How kopf is used: which kinds it watches, with which settings, and what happens with an event.

Only `on.event`: kopf keeps no state, writes nothing and adds no annotation. Its defaults are made for small
operators; each setting here says why it differs.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import kopf

from orkhaven.api.meta import GROUP, VERSION
from orkhaven.engine.parsers import OURS
from orkhaven.engine.ports import Kind

log = logging.getLogger(__name__)

RESOURCES: dict[Kind, tuple[str, str, str]] = {
    Kind.SWEEP: (GROUP, VERSION, "sweeps"),
    Kind.EXPERIMENT: (GROUP, VERSION, "experiments"),
    Kind.JOB: ("batch", "v1", "jobs"),
    Kind.POD: ("", "v1", "pods"),
    Kind.NODE: ("", "v1", "nodes"),
}
OnEvent = Callable[[Kind, str | None, dict[str, Any]], None]
"""Kind, type (ADDED, MODIFIED, DELETED; None: part of a list), body."""

Login = Callable[[], Awaitable[dict[str, Any]]]
"""Server and credentials as kopf.ConnectionInfo takes them, read anew at each call: a token may have been rotated."""


class Backoffs:
    """Seconds between tries of a request that failed: endless, capped, jittered.

    kopf's own list ends after 54 s, and then kopf does: an API server that is away for a minute would end the operator.
    """

    def __init__(self, *, first: float = 0.5, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest

    def __iter__(self) -> Iterator[float]:
        wait = self._first
        while True:
            yield wait * (0.5 + random.random() / 2)
            wait = min(self._longest, wait * 2)


class _NoDiffs(kopf.DiffBaseStorage):
    """For handlers of events alone: none is told what has changed, and no object gets an annotation."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        raise AssertionError("handlers of events alone keep nothing")


class _NoProgress(kopf.ProgressStorage):
    """The same for what handlers have done so far."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        raise AssertionError("handlers of events alone keep nothing")

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        pass

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def settings() -> kopf.OperatorSettings:
    """kopf's settings."""
    made = kopf.OperatorSettings()
    # Events are posted by engine.events: deduplicated, and after the status that they tell of.
    made.posting.enabled = False
    # Peering is no leader election (equal priorities pause each other); a Lease is.
    made.peering.standalone = True
    # No watching of namespaces and CRDs: less to be allowed. The kinds are there before the watch starts (see resync).
    made.scanning.disabled = True
    made.watching.chunk_size = 500
    # 'v1/pods' as a key would be accepted, match nothing and have every pod of the cluster watched; a test reads the
    # query.
    made.watching.label_selectors["", "v1", "pods"] = OURS
    made.watching.label_selectors["batch", "v1", "jobs"] = OURS
    made.networking.error_backoffs = Backoffs()
    made.networking.request_timeout = 30
    made.networking.connect_timeout = 10
    # An object's task ends one second after its last event; worker_limit stays None (with it, start-up takes minutes).
    made.queueing.idle_timeout = 1.0
    # Nothing is ever compared with what was handled last: without these every event's object was copied twice for it,
    # a fifth of the operator's CPU time.
    made.persistence.diffbase_storage = _NoDiffs()
    made.persistence.progress_storage = _NoProgress()
    # kopf is stopped and started again inside a living process; killing its thread later would kill the operator.
    made.process.ultimate_exiting_timeout = None
    return made


def registry(on_event: OnEvent, login: Login) -> kopf.OperatorRegistry:
    """One handler per kind, which hands the event on and returns; `login` is asked again when a token is refused."""
    made = kopf.OperatorRegistry()
    for kind, (group, version, plural) in RESOURCES.items():
        resource = (group, version, plural) if group else (version, plural)
        kopf.on.event(*resource, id=plural, registry=made)(_handler(kind, on_event))

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(**await login())

    # kopf's own 60 s between tries would be as long as an outage that is to be survived.
    kopf.on.login(registry=made, backoff=5)(log_in)
    return made


def _handler(kind: Kind, on_event: OnEvent) -> Callable[..., Any]:
    async def handle(event: dict[str, Any], **_: Any) -> None:
        on_event(kind, event["type"], event["object"])

    return handle
