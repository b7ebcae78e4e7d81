"""Where the pages' resources come from, with errors that a page can show."""

from __future__ import annotations

from orkhaven.errors import ApiError, NotFound
from orkhaven.hub.context import Hub
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.ports import Body


async def resources(hub: Hub, kind: str, namespace: str, *, labels: str | None = None) -> list[Body]:
    """Raises HttpError 503."""
    found: list[Body] = []
    try:
        async for bodies, _version in hub.gateway.pages(kind, namespace=namespace, label_selector=labels):
            found += bodies
    except ApiError as error:
        raise unavailable(f"the API server did not answer: {error}") from error
    return found


async def resource(hub: Hub, kind: str, namespace: str, name: str) -> Body:
    """Raises HttpError 404 or 503."""
    try:
        return await hub.gateway.get(kind, namespace, name)
    except NotFound:
        raise HttpError(404, "NotFound", f"There is no {kind} {name!r} in namespace {namespace!r}.") from None
    except ApiError as error:
        raise unavailable(f"the API server did not answer: {error}") from error


async def namespaces_with_work(hub: Hub) -> list[str]:
    """Namespaces that have a Sweep, by name. Not yet what somebody may see. Raises HttpError 503."""
    found: set[str] = set()
    try:
        async for bodies, _version in hub.gateway.pages("Sweep"):
            found.update(body["metadata"]["namespace"] for body in bodies)
    except ApiError as error:
        raise unavailable(f"the API server did not answer: {error}") from error
    return sorted(found)
