"""The few verbs with which Orkhaven reads and writes the cluster.

Every write is safe to repeat, and is refused on this side once the lease is not held.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from orkhaven.errors import AlreadyExists, Conflict, Gone, Invalid, LeaseLost, NotFound, Unavailable
from orkhaven.kube.client import APPLY_PATCH, MERGE_PATCH, Body, ByteStream, Client
from orkhaven.kube.people import People
from orkhaven.kube.resources import RESOURCES

PAGE = 500
"""Objects in one answer to a list: about 2 MB of Experiments."""
WRITE_TIMEOUT = 10.0
"""Seconds. Shorter than a read: a write that hangs is better decided anew."""

TAIL_BYTES = 64 * 1024
TAIL_LINES = (2000, 200)
"""Lines that a log's end is looked for in. The second where the first are more than MOST_READ."""
MOST_READ = 4 * 1024 * 1024
"""Bytes that are read of a log for its end."""
NO_LOG = re.compile(r"unable to retrieve container logs for |failed to try resolving symlinks in path ")

WATCH_SECONDS = 300
"""After which the API server is to end a watch: connections move on to servers that are new or less busy."""
WATCH_IDLE_SECONDS = 150.0
"""A watch that says nothing for so long is taken for dead: the API server sends a bookmark about once a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReview:
    """Whom a bearer token belongs to, as the API server says."""

    authenticated: bool
    username: str = ""
    """system:serviceaccount:<namespace>:<name>"""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = field(default_factory=dict)
    """For a token bound to a pod: authentication.kubernetes.io/pod-name and pod-uid."""
    audiences: tuple[str, ...] = ()
    error: str = ""

    @property
    def pod_name(self) -> str | None:
        return next(iter(self.extra.get("authentication.kubernetes.io/pod-name", ())), None)

    @property
    def pod_uid(self) -> str | None:
        return next(iter(self.extra.get("authentication.kubernetes.io/pod-uid", ())), None)


class Gateway:
    """Kinds are named as in YAML ("Job"); namespaces of cluster-scoped kinds are empty."""

    def __init__(self, client: Client, *, may_write: Callable[[], bool] = lambda: True) -> None:
        self._client = client
        self._may_write = may_write

    # --- read ------------------------------------------------------------------------------------------------------

    async def get(self, kind: str, namespace: str, name: str) -> Body:
        """Raises NotFound."""
        resource = RESOURCES[kind]
        return await self._client.request(
            "GET", resource.path(namespace=namespace, name=name), verb="get", resource=resource.plural
        )

    async def pages(
        self,
        kind: str,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[list[Body], str]]:
        """Pages of at most `PAGE` objects and the list's resourceVersion, the same on each page.

        Raises Gone where the list took so long that its version was compacted away.
        """
        resource = RESOURCES[kind]
        query = {"limit": str(PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            body = await self._client.request(
                "GET", resource.path(namespace=namespace), verb="list", resource=resource.plural, query=query
            )
            meta = body.get("metadata") or {}
            items = body.get("items") or []
            for item in items:
                # A list leaves them out of its items; parsers and error messages want them.
                item.setdefault("kind", kind)
                item.setdefault("apiVersion", resource.api_version)
            yield items, str(meta.get("resourceVersion") or "0")
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    @contextlib.asynccontextmanager
    async def watch(
        self, kind: str, *, namespace: str | None = None, label_selector: str | None = None, version: str
    ) -> AsyncIterator[AsyncIterator[tuple[str, Body]]]:
        """What happens after `version` (a list's, or an earlier event's resourceVersion), as (type, object).

        Types are ADDED, MODIFIED, DELETED and BOOKMARK; the object of a bookmark has nothing but its resourceVersion.
        Entered once the API server has taken the watch; ends when the server ends it, and goes on from the version seen
        last. Raises Gone, also out of the events, where the version is too old: then list again.
        """
        resource = RESOURCES[kind]
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        if label_selector:
            query["labelSelector"] = label_selector
        path = resource.path(namespace=namespace)
        async with self._client.stream(
            path, verb="watch", resource=resource.plural, query=query, idle_seconds=WATCH_IDLE_SECONDS
        ) as lines:
            yield _events(path, lines)

    @contextlib.asynccontextmanager
    async def pod_log(
        self, namespace: str, pod: str, *, container: str, follow: bool, since: str | None = None
    ) -> AsyncIterator[ByteStream]:
        """A container's log with a time before each line, RFC 3339 with nanoseconds; `since`: whole seconds only, the
        kubelet is asked for no less. With `follow` it ends when the container has.

        Raises NotFound where the pod is gone, Invalid where its container has not started.
        """
        query = {"container": container, "timestamps": "true", "follow": "true" if follow else "false"}
        if since is not None:
            query["sinceTime"] = since
        path = RESOURCES["Pod"].path(namespace=namespace, name=pod, subresource="log")
        async with self._client.stream_bytes(path, verb="log", resource="pods", query=query) as stream:
            yield stream

    async def pod_tail(self, namespace: str, pod: str, *, container: str) -> str:
        """The last 64 KiB of a container's log at most.

        limitBytes would cut off the end: the kubelet counts it from the first of the lines that it is asked for. So
        these are read through, and where they are too many in bytes fewer are asked for: a line of the kubelet's file
        has 16 KiB at most. Raises NotFound where the pod is gone, Invalid where there is no log, Unavailable where the
        node does not answer.
        """
        path = RESOURCES["Pod"].path(namespace=namespace, name=pod, subresource="log")
        for lines in TAIL_LINES:
            query = {"container": container, "tailLines": str(lines)}
            async with self._client.stream_bytes(path, verb="log", resource="pods", query=query) as stream:
                tail = await _tail(stream)
            if tail is None:
                continue
            text = tail.decode("utf-8", "replace")
            if NO_LOG.match(text):
                # Said by the kubelet with 200, where the container and its log are gone.
                raise Invalid(f"GET {path}: {text.strip()[:300]}")
            return text
        raise Invalid(f"GET {path}: {TAIL_LINES[-1]} lines have more than {MOST_READ} bytes")

    # --- write -----------------------------------------------------------------------------------------------------

    async def create(self, kind: str, body: Body) -> Body:
        """The new object, or the one that is there already if it has the same controlling owner.

        So a create whose answer was lost, or that was decided from a stale view, may be repeated.
        Raises AlreadyExists where the name belongs to another owner.
        """
        resource = RESOURCES[kind]
        meta = body["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        try:
            return await self._write("POST", resource.path(namespace=namespace), verb="create", kind=kind, body=body)
        except AlreadyExists as taken:
            try:
                found = await self.get(kind, namespace, name)
            except NotFound as vanished:
                raise Conflict(f"{kind} {namespace}/{name} was there and has just gone; try again") from vanished
            mine, theirs = _controller(body), _controller(found)
            if mine is not None and theirs is not None and mine["uid"] == theirs["uid"]:
                return found
            whose = f"belongs to {theirs['kind']} {theirs['name']}" if theirs else "was not made by Orkhaven"
            raise AlreadyExists(
                f"{kind} {namespace}/{name} exists and {whose}; delete it or rename what needs the name", status=409
            ) from taken

    async def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: Body,
        *,
        uid: str,
        resource_version: int | None = None,
    ) -> Body:
        """Merge patch. Raises NotFound, and Conflict where uid or resource version are not these any more."""
        meta: Body = {"uid": uid}
        if resource_version is not None:
            meta["resourceVersion"] = str(resource_version)
        merged = {**body, "metadata": {**body.get("metadata", {}), **meta}}
        try:
            return await self._write(
                "PATCH",
                RESOURCES[kind].path(namespace=namespace, name=name),
                verb="patch",
                kind=kind,
                body=merged,
                content_type=MERGE_PATCH,
            )
        except Invalid as error:
            raise _namesake(error) from error

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
    ) -> Body:
        """Server-side apply of the status: `status` is all that this manager owns; what it leaves out is given up.

        Raises NotFound, and Conflict where the resource version is not this any more. The server does not look at the
        uid of a status that is applied, so only the resource version keeps a namesake apart.
        """
        resource = RESOURCES[kind]
        meta: Body = {"name": name, "namespace": namespace}
        if uid is not None:
            meta["uid"] = uid
        if resource_version is not None:
            meta["resourceVersion"] = str(resource_version)
        try:
            return await self._write(
                "PATCH",
                resource.path(namespace=namespace, name=name, subresource="status"),
                verb="apply",
                kind=kind,
                body={"apiVersion": resource.api_version, "kind": kind, "metadata": meta, "status": status},
                query={"fieldManager": field_manager, "force": "true"},
                content_type=APPLY_PATCH,
            )
        except Invalid as error:
            raise _namesake(error) from error

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Delete it, and what it owns in the background. One that is gone, or is another by now, is success."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._write(
                "DELETE",
                RESOURCES[kind].path(namespace=namespace, name=name),
                verb="delete",
                kind=kind,
                body=options,
            )
        except (NotFound, Conflict):
            return

    async def replace(self, kind: str, body: Body) -> Body:
        """PUT of the whole object. Raises Conflict where its resourceVersion is not the stored one any more."""
        meta = body["metadata"]
        path = RESOURCES[kind].path(namespace=meta.get("namespace", ""), name=meta["name"])
        return await self._write("PUT", path, verb="update", kind=kind, body=body)

    async def token_review(self, token: str, audiences: Sequence[str]) -> TokenReview:
        """Whose token it is, and whether it is meant for one of `audiences`. Nothing is stored: no lease is needed."""
        resource = RESOURCES["TokenReview"]
        answer = await self._client.request(
            "POST",
            resource.path(),
            verb="create",
            resource=resource.plural,
            body={
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "spec": {"token": token, "audiences": list(audiences)},
            },
        )
        status = answer.get("status") or {}
        user = status.get("user") or {}
        return TokenReview(
            authenticated=bool(status.get("authenticated")),
            username=str(user.get("username") or ""),
            uid=str(user.get("uid") or ""),
            groups=tuple(str(group) for group in user.get("groups") or ()),
            extra={str(k): [str(v) for v in vs] for k, vs in (user.get("extra") or {}).items()},
            audiences=tuple(status.get("audiences") or ()),
            error=str(status.get("error") or ""),
        )

    async def access_review(
        self, who: TokenReview, *, verb: str, kind: str, namespace: str, subresource: str = ""
    ) -> bool:
        """Whether the API server would allow `who` this verb on all objects of the kind in the namespace, or on that
        part of them (`log` of pods).
        """
        resource, about = RESOURCES["SubjectAccessReview"], RESOURCES[kind]
        answer = await self._client.request(
            "POST",
            resource.path(),
            verb="create",
            resource=resource.plural,
            body={
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "spec": {
                    "user": who.username,
                    "uid": who.uid,
                    "groups": list(who.groups),
                    "extra": who.extra,
                    "resourceAttributes": {
                        "verb": verb,
                        "group": about.group,
                        "resource": about.plural,
                        "namespace": namespace,
                        **({"subresource": subresource} if subresource else {}),
                    },
                },
            },
        )
        return bool((answer.get("status") or {}).get("allowed"))

    def people(self) -> People:
        """To ask and change something as a person, with that person's token. Needs no lease: it is not our change."""
        return People(self._client)

    async def _write(self, method: str, path: str, *, verb: str, kind: str, **request: Any) -> Body:
        if not self._may_write():
            raise LeaseLost(f"{method} {path}: not sent, the lease is not held")
        return await self._client.request(
            method, path, verb=verb, resource=RESOURCES[kind].plural, seconds=WRITE_TIMEOUT, **request
        )


async def _tail(stream: ByteStream) -> bytes | None:
    """The end of it; None where it is too long to be read through."""
    kept, read = bytearray(), 0
    while piece := await stream.read():
        read += len(piece)
        if read > MOST_READ:
            return None
        kept += piece
        if len(kept) > 2 * TAIL_BYTES:
            del kept[:-TAIL_BYTES]
    return bytes(kept[-TAIL_BYTES:])


async def _events(path: str, lines: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, Body]]:
    async for line in lines:
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            kind, body = event["type"], event["object"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"GET {path}: not a watch event: {line[:200]!r}") from error
        if kind == "ERROR":
            text = f"GET {path}: {body.get('code')} {body.get('message')}"
            raise (Gone if body.get("code") == 410 else Unavailable)(text, status=body.get("code"))
        yield kind, body


def _controller(body: Body) -> Body | None:
    """The owner reference of the controlling owner."""
    owners: list[Body] = (body.get("metadata") or {}).get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def _namesake(error: Invalid) -> Invalid | Conflict:
    """A patch that names another uid is answered 422 "field is immutable": to us the same as a conflict."""
    return Conflict(str(error), status=409) if "metadata.uid" in str(error) else error
