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
        self, kind: str, *, namespace: str | None = None, version: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, Body]]]: ...

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

    async def access_review(self, who: TokenReview, *, verb: str, kind: str, namespace: str) -> bool: ...


def is_finished(experiment: Mapping[str, Any]) -> bool:
    """Whether it ended for good: from then on its status is nobody's but the operator's."""
    conditions = (experiment.get("status") or {}).get("conditions") or []
    return any(condition.get("type") == "Finished" and condition.get("status") == "True" for condition in conditions)
