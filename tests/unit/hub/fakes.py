"""A cluster as the hub sees it, in memory: `FakeCluster` is a `ports.Gateway`; builders put runs, tokens and readers
into it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from orkhaven.errors import Conflict, Forbidden, NotFound, Unavailable
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
        self.changers: set[tuple[str, str, str]] = set()
        """(username, verb, kind) that a person may do."""
        self.patched: list[tuple[str, str, str, Body]] = []
        """(username, kind, name, patch) of each change in a person's name."""
        self.applied: list[tuple[str, Body]] = []
        """(experiment, status) of each write that took effect."""
        self.calls: list[str] = []
        self.away = False
        self.before_apply: list[Any] = []
        """Callables run, one each, before the next writes: somebody else's writes in between."""
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
        for start in range(0, len(found), 2):
            yield found[start : start + 2], "1"

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

    async def access_review(self, who: TokenReview, *, verb: str, kind: str, namespace: str) -> bool:
        self._called("review access")
        assert (verb, kind) == ("get", "Experiment")
        return (who.username, namespace) in self.readers

    # --- ports.People: of this cluster too ---

    def people(self) -> FakeCluster:
        return self

    async def may(self, token: str, *, verb: str, kind: str, namespace: str, name: str) -> bool:
        self._called(f"may {verb} {kind}")
        return (self.tokens[token].username, verb, kind) in self.changers

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
        return made

    def touch(self, kind: str, namespace: str, name: str) -> None:
        self.objects[kind, namespace, name]["metadata"]["resourceVersion"] = str(next(self._numbers))

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
    ) -> str:
        """An Experiment with its Job and pod. Returns the pod's token, whose text is `token-<name>`."""
        labels = {contract.LABEL_EXPERIMENT: name}
        spec = {"params": params or {}, **({"objective": objective} if objective else {})}
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
