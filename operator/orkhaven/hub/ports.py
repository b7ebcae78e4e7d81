"""What the hub needs of the API server, as a Protocol: `kube.Gateway` is one, tests have a fake. Errors are those of
`orkhaven.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from orkhaven.kube import TokenReview

FIELD_MANAGER = "orkhaven-hub"

Body = dict[str, Any]
"""An API object as JSON."""


class LogBytes(Protocol):
    """What a pod says, as it comes."""

    async def read(self) -> bytes:
        """Empty at the end. Raises ApiError where the connection broke. One that is cancelled loses nothing."""
        ...


class People(Protocol):
    """Asks and changes as the person whose token it is. See `kube.people.People`."""

    async def may(self, token: str, *, verb: str, kind: str, namespace: str, name: str) -> bool: ...

    async def events_of(self, token: str, namespace: str, *, kind: str, name: str) -> list[Body]: ...

    def each(self, token: str, kind: str, *, fields: str | None = None) -> AsyncIterator[Body]: ...

    async def patch(self, token: str, kind: str, namespace: str, name: str, body: Body, *, uid: str) -> Body: ...

    async def create(self, token: str, kind: str, namespace: str, body: Body) -> Body: ...

    async def remove(self, token: str, kind: str, namespace: str, name: str, *, uid: str) -> None: ...


class Gateway(Protocol):
    """See `kube.gateway.Gateway` for what each verb promises. Kinds are named as in YAML."""

    async def get(self, kind: str, namespace: str, name: str) -> Body: ...

    def pages(
        self,
        kind: str,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[list[Body], str]]: ...

    def watch(
        self, kind: str, *, namespace: str | None = None, label_selector: str | None = None, version: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, Body]]]: ...

    def pod_log(
        self, namespace: str, pod: str, *, container: str, follow: bool, since: str | None = None
    ) -> AbstractAsyncContextManager[LogBytes]: ...

    async def apply_status(
        self,
        kind: str,
        namespace: str,
        name: str,
        status: Body,
        *,
        field_manager: str,
        uid: str | None = None,
        resource_version: int | None = None,
    ) -> Body: ...

    async def token_review(self, token: str, audiences: Sequence[str]) -> TokenReview: ...

    def people(self) -> People: ...

    async def access_review(
        self, who: TokenReview, *, verb: str, kind: str, namespace: str, subresource: str = ""
    ) -> bool: ...


def is_finished(experiment: Mapping[str, Any]) -> bool:
    """Whether it ended for good: from then on its status is nobody's but the operator's."""
    conditions = (experiment.get("status") or {}).get("conditions") or []
    return any(condition.get("type") == "Finished" and condition.get("status") == "True" for condition in conditions)
