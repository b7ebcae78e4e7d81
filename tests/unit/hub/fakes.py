"""A cluster as the hub sees it, in memory: `FakeCluster` is a `ports.Gateway`; builders put runs, tokens and readers
into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from orkhaven.errors import AlreadyExists, Conflict, Forbidden, Gone, NotFound, Unavailable
from orkhaven.hub.ports import Body
from orkhaven.kube import TokenReview
from orkrun import contract

NAMESPACE = "radiology"
AUDIENCE = contract.TOKEN_AUDIENCE
API_AUDIENCE = "https://kubernetes.default.svc"


class FakeCluster:
    """Objects with uid and resourceVersion; every status write is kept in `applied`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Body] = {}
        self.tokens: dict[str, TokenReview] = {}
        self.readers: set[tuple[str, str]] = set()
        """(username, namespace) that may get experiments."""
        self.log_readers: set[tuple[str, str]] = set()
        """(username, namespace) that may get pods/log."""
        self.changers: set[tuple[str, str, str]] = set()
        """(username, verb, kind) that a person may do."""
        self.patched: list[tuple[str, str, str, Body]] = []
        """(username, kind, name, patch) of each change in a person's name."""
        self.created: list[tuple[str, str, str]] = []
        """(username, kind, name) of each object made in a person's name; `removed`: of each deleted one."""
        self.removed: list[tuple[str, str, str]] = []
        self.applied: list[tuple[str, Body]] = []
        """(experiment, status) of each write that took effect."""
        self.calls: list[str] = []
        self.away = False
        self.before_apply: list[Any] = []
        """Callables run, one each, before the next writes: somebody else's writes in between."""
        self.events: list[tuple[int, str, Body]] = []
        """(version, type, object) of everything that happened, for watches."""
        self.version = 0
        self.oldest_version = 0
        """Watches from before are refused as too old."""
        self.broken_watches = 0
        self.ends_at_once = False
        """Every watch, without an event."""
        self._changed = asyncio.Event()
        self._numbers = itertools.count(1)

    # --- ports.Gateway ---

    async def get(self, kind: str, namespace: str, name: str) -> Body:
        self._called(f"get {kind}")
        try:
            return copy.deepcopy(self.objects[kind, namespace, name])
        except KeyError:
            raise NotFound(f"no {kind} {namespace}/{name}", status=404) from None

    async def pages(
        self,
        kind: str,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[list[Body], str]]:
        self._called(f"list {kind}")
        key, _, value = (label_selector or "").partition("=")
        found = [
            copy.deepcopy(body)
            for (its_kind, its_namespace, _), body in self.objects.items()
            if its_kind == kind
            and namespace in (None, its_namespace)
            and (not key or body["metadata"].get("labels", {}).get(key) == value)
        ]
        version = str(self.version)
        for start in range(0, max(len(found), 1), 2):
            yield found[start : start + 2], version

    @contextlib.asynccontextmanager
    async def watch(
        self, kind: str, *, namespace: str | None = None, label_selector: str | None = None, version: str
    ) -> AsyncIterator[AsyncIterator[tuple[str, Body]]]:
        self._called(f"watch {kind}")
        if int(version) < self.oldest_version:
            raise Gone("too old resource version", status=410)
        yield self._events(kind, namespace, int(version))

    async def _events(self, kind: str, namespace: str | None, version: int) -> AsyncIterator[tuple[str, Body]]:
        seen = 0
        broken = self.broken_watches
        if self.ends_at_once:
            return
        while True:
            while seen < len(self.events):
                number, what, body = self.events[seen]
                seen += 1
                if number > version and body["kind"] == kind and namespace in (None, body["metadata"]["namespace"]):
                    yield what, copy.deepcopy(body)
            changed = self._changed
            if self.away or self.broken_watches != broken:
                raise Unavailable("the stream broke")
            await changed.wait()

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
        if self.before_apply:
            self.before_apply.pop(0)()
        self._called(f"apply {kind}")
        assert field_manager == "orkhaven-hub"
        body = self.objects.get((kind, namespace, name))
        if body is None:
            raise NotFound(f"no {kind} {namespace}/{name}", status=404)
        meta = body["metadata"]
        if uid not in (None, meta["uid"]) or resource_version not in (None, int(meta["resourceVersion"])):
            raise Conflict("the object has been modified", status=409)
        body["status"] = {**body.get("status", {}), **copy.deepcopy(status)}
        self.touch(kind, namespace, name)
        self.applied.append((name, copy.deepcopy(status)))
        return copy.deepcopy(body)

    async def token_review(self, token: str, audiences: Sequence[str]) -> TokenReview:
        self._called("review token")
        known = self.tokens.get(token)
        wanted = list(audiences) or [API_AUDIENCE]
        if known is None:
            return TokenReview(authenticated=False, error="invalid bearer token")
        if not set(wanted) & set(known.audiences):
            return TokenReview(authenticated=False, error=f"token audiences {known.audiences} is invalid")
        return known

    async def access_review(
        self, who: TokenReview, *, verb: str, kind: str, namespace: str, subresource: str = ""
    ) -> bool:
        self._called("review access")
        if (verb, kind, subresource) == ("get", "Pod", "log"):
            return (who.username, namespace) in self.log_readers
        assert (verb, kind, subresource) == ("get", "Experiment", "")
        return (who.username, namespace) in self.readers

    # --- ports.People: of this cluster too ---

    def people(self) -> FakeCluster:
        return self

    async def may(self, token: str, *, verb: str, kind: str, namespace: str, name: str) -> bool:
        self._called(f"may {verb} {kind}")
        return (self.tokens[token].username, verb, kind) in self.changers

    async def events_of(self, token: str, namespace: str, *, kind: str, name: str) -> list[Body]:
        self._called(f"events of {kind} {name}")
        if not await self.may(token, verb="list", kind="Event", namespace=namespace, name=""):
            raise Forbidden(f"{self.tokens[token].username} cannot list events", status=403)
        return [
            copy.deepcopy(body)
            for (its_kind, its_namespace, _), body in self.objects.items()
            if (its_kind, its_namespace) == ("Event", namespace)
            and (body["involvedObject"]["kind"], body["involvedObject"]["name"]) == (kind, name)
        ]

    async def each(self, token: str, kind: str, *, fields: str | None = None) -> AsyncIterator[Body]:
        self._called(f"each {kind}")
        if not await self.may(token, verb="list", kind=kind, namespace="", name=""):
            raise Forbidden(f"{self.tokens[token].username} cannot list {kind}", status=403)
        for (its_kind, _, _), body in list(self.objects.items()):
            if its_kind == kind:
                yield copy.deepcopy(body)

    async def patch(self, token: str, kind: str, namespace: str, name: str, body: Body, *, uid: str) -> Body:
        self._called(f"patch {kind}")
        if not await self.may(token, verb="patch", kind=kind, namespace=namespace, name=name):
            raise Forbidden(f"{self.tokens[token].username} cannot patch {kind}", status=403)
        found = self.objects.get((kind, namespace, name))
        if found is None or found["metadata"]["uid"] != uid:
            raise NotFound(f"no {kind} {namespace}/{name}", status=404)
        self.patched.append((self.tokens[token].username, kind, name, copy.deepcopy(body)))
        found["spec"] = {**found.get("spec", {}), **body["spec"]}
        self.touch(kind, namespace, name)
        return copy.deepcopy(found)

    async def create(self, token: str, kind: str, namespace: str, body: Body) -> Body:
        self._called(f"create {kind}")
        name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{next(self._numbers):05d}"
        if not await self.may(token, verb="create", kind=kind, namespace=namespace, name=""):
            raise Forbidden(f"{self.tokens[token].username} cannot create {kind}", status=403)
        if (kind, namespace, name) in self.objects:
            raise AlreadyExists(f"{kind} {name} already exists", status=409)
        made = self.put(kind, name, namespace=namespace, spec=copy.deepcopy(body["spec"]))
        self.created.append((self.tokens[token].username, kind, name))
        return copy.deepcopy(made)

    async def remove(self, token: str, kind: str, namespace: str, name: str, *, uid: str) -> None:
        self._called(f"delete {kind}")
        if not await self.may(token, verb="delete", kind=kind, namespace=namespace, name=name):
            raise Forbidden(f"{self.tokens[token].username} cannot delete {kind}", status=403)
        found = self.objects.get((kind, namespace, name))
        if found is None:
            raise NotFound(f"no {kind} {namespace}/{name}", status=404)
        if found["metadata"]["uid"] != uid:
            raise Conflict("the UID in the precondition is another", status=409)
        self.removed.append((self.tokens[token].username, kind, name))
        self.delete(kind, name, namespace=namespace)

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.away:
            raise Unavailable("no answer from the API server")

    # --- builders ---

    def put(self, kind: str, name: str, *, namespace: str = NAMESPACE, **body: Any) -> Body:
        """An object with a new uid, replacing a namesake."""
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": f"{kind.lower()}-{next(self._numbers)}",
            "resourceVersion": str(next(self._numbers)),
            "creationTimestamp": "2026-09-01T10:00:00Z",
            **body.pop("metadata", {}),
        }
        made: Body = {"kind": kind, "metadata": metadata, **body}
        self.objects[kind, namespace, name] = made
        self._happened("ADDED", made)
        return made

    def touch(self, kind: str, namespace: str, name: str) -> None:
        body = self.objects[kind, namespace, name]
        body["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._happened("MODIFIED", body)

    def delete(self, kind: str, name: str, *, namespace: str = NAMESPACE) -> None:
        body = self.objects.pop((kind, namespace, name))
        body["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._happened("DELETED", body)

    def break_watches(self, *, lose_history: bool = False) -> None:
        """All watches end; with lost history the next ones have to list first."""
        self.broken_watches += 1
        if lose_history:
            self.version = self.oldest_version = next(self._numbers)
            self.events.clear()
        self._wake()

    def _happened(self, what: str, body: Body) -> None:
        self.version = int(body["metadata"]["resourceVersion"])
        self.events.append((self.version, what, copy.deepcopy(body)))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def finish(self, name: str, *, namespace: str = NAMESPACE) -> None:
        """As the operator does when a run has ended for good."""
        body = self.objects["Experiment", namespace, name]
        condition = {"type": "Finished", "status": "True", "reason": "Completed"}
        body["status"] = {**body.get("status", {}), "conditions": [condition], "state": "Succeeded"}
        self.touch("Experiment", namespace, name)

    def add_run(
        self,
        name: str,
        *,
        namespace: str = NAMESPACE,
        sweep: str | None = None,
        objective: Body | None = None,
        params: Body | None = None,
        rungs: Sequence[int] = (),
    ) -> str:
        """An Experiment with its Job and pod. Returns the pod's token, whose text is `token-<name>`."""
        labels = {contract.LABEL_EXPERIMENT: name}
        spec = {"params": params or {}, **({"objective": objective} if objective else {})}
        spec |= {"rungs": list(rungs)} if rungs else {}
        of_sweep = {contract.LABEL_SWEEP: sweep, contract.LABEL_TRIAL: "0"} if sweep else {}
        experiment = self.put("Experiment", name, namespace=namespace, metadata={"labels": of_sweep}, spec=spec)
        job = self.put(
            "Job",
            f"{name}-1",
            namespace=namespace,
            metadata={"ownerReferences": [owner("orkhaven.io/v1alpha1", experiment)], "labels": labels},
        )
        pod = self.put(
            "Pod",
            f"{name}-1-abcde",
            namespace=namespace,
            metadata={"ownerReferences": [owner("batch/v1", job)], "labels": labels},
        )
        return self.add_pod_token(f"token-{name}", pod)

    def add_pod_token(self, token: str, pod: Body, *, audience: str = AUDIENCE) -> str:
        self.tokens[token] = TokenReview(
            authenticated=True,
            username=f"system:serviceaccount:{pod['metadata']['namespace']}:default",
            audiences=(audience,),
            extra={
                "authentication.kubernetes.io/pod-name": [pod["metadata"]["name"]],
                "authentication.kubernetes.io/pod-uid": [pod["metadata"]["uid"]],
            },
        )
        return token

    def add_log_reader(self, token: str, *, namespace: str = NAMESPACE) -> str:
        """A person's token that may get pods/log there, and nothing else by this."""
        if token not in self.tokens:
            self.add_reader(token, namespace=None)
        self.log_readers.add((f"user-of-{token}", namespace))
        return token

    def add_reader(self, token: str, *, namespace: str | None = NAMESPACE) -> str:
        """A person's token; with a namespace, one that may get experiments there."""
        username = f"user-of-{token}"
        self.tokens[token] = TokenReview(authenticated=True, username=username, audiences=(API_AUDIENCE,))
        if namespace is not None:
            self.readers.add((username, namespace))
        return token


def owner(api_version: str, body: Body) -> Body:
    meta = body["metadata"]
    return {
        "apiVersion": api_version,
        "kind": body["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
