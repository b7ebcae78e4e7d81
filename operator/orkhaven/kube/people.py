"""Requests as the person whose token it is: what the API server allows them, and changes in their name.

Nothing here is ever sent with Orkhaven's own credentials.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from orkhaven.errors import Conflict, Invalid
from orkhaven.kube.client import MERGE_PATCH, Body, Client
from orkhaven.kube.resources import RESOURCES

FIELD_MANAGER = "orkhaven-dashboard"
"""By which managedFields tell what was changed through the dashboard."""
SECONDS = 10.0
PAGE = 500
"""Objects of one answer."""


class People:
    """Over connections of its own, which are closed with the client."""

    def __init__(self, client: Client) -> None:
        self._client = client.anonymous()

    async def may(self, token: str, *, verb: str, kind: str, namespace: str, name: str) -> bool:
        """Whether this person may do that (SelfSubjectAccessReview). Raises ApiError."""
        resource, about = RESOURCES["SelfSubjectAccessReview"], RESOURCES[kind]
        answer = await self._client.request(
            "POST",
            resource.path(),
            verb="create",
            resource=resource.plural,
            seconds=SECONDS,
            token=token,
            body={
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "spec": {
                    "resourceAttributes": {
                        "verb": verb,
                        "group": about.group,
                        "resource": about.plural,
                        "namespace": namespace,
                        "name": name,
                    }
                },
            },
        )
        return bool((answer.get("status") or {}).get("allowed"))

    async def events_of(self, token: str, namespace: str, *, kind: str, name: str) -> list[Body]:
        """The newest Events of one object that this person may see, 100 at most. Raises ApiError: Forbidden."""
        resource = RESOURCES["Event"]
        answer = await self._client.request(
            "GET",
            resource.path(namespace=namespace),
            verb="list",
            resource=resource.plural,
            # Names are DNS labels, and a comma or an equals sign in one would be another selector.
            query={"fieldSelector": f"involvedObject.kind={kind},involvedObject.name={name}", "limit": "100"},
            seconds=SECONDS,
            token=token,
        )
        return list(answer.get("items") or [])

    async def each(self, token: str, kind: str, *, fields: str | None = None) -> AsyncIterator[Body]:
        """All of the cluster's objects of a kind, page by page. Raises ApiError: Forbidden."""
        resource = RESOURCES[kind]
        query = {"limit": str(PAGE), **({"fieldSelector": fields} if fields else {})}
        while True:
            answer = await self._client.request(
                "GET",
                resource.path(),
                verb="list",
                resource=resource.plural,
                query=query,
                seconds=SECONDS,
                token=token,
            )
            for item in answer.get("items") or ():
                yield item
            following = (answer.get("metadata") or {}).get("continue")
            if not following:
                return
            query = {**query, "continue": following}

    async def patch(self, token: str, kind: str, namespace: str, name: str, body: Body, *, uid: str) -> Body:
        """Merge patch of that very object. Raises ApiError: Forbidden, NotFound, Invalid; Conflict for a namesake, and
        where `body` has a metadata.resourceVersion that is not the object's any more."""
        resource = RESOURCES[kind]
        try:
            return await self._client.request(
                "PATCH",
                resource.path(namespace=namespace, name=name),
                verb="patch",
                resource=resource.plural,
                query={"fieldManager": FIELD_MANAGER},
                body={**body, "metadata": {**body.get("metadata", {}), "uid": uid}},
                content_type=MERGE_PATCH,
                seconds=SECONDS,
                token=token,
            )
        except Invalid as error:
            if "metadata.uid" in str(error):
                raise Conflict(f"this {kind} was deleted and made anew meanwhile", status=409) from error
            raise

    async def create(self, token: str, kind: str, namespace: str, body: Body) -> Body:
        """Raises ApiError: Forbidden, Invalid; AlreadyExists where the name is taken."""
        resource = RESOURCES[kind]
        return await self._client.request(
            "POST",
            resource.path(namespace=namespace),
            verb="create",
            resource=resource.plural,
            query={"fieldManager": FIELD_MANAGER},
            body=body,
            seconds=SECONDS,
            token=token,
        )

    async def remove(self, token: str, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Delete that very object, and what it owns in the background. Raises ApiError: Forbidden, NotFound; Conflict
        for a namesake.
        """
        resource = RESOURCES[kind]
        await self._client.request(
            "DELETE",
            resource.path(namespace=namespace, name=name),
            verb="delete",
            resource=resource.plural,
            body={
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": "Background",
                "preconditions": {"uid": uid},
            },
            seconds=SECONDS,
            token=token,
        )
