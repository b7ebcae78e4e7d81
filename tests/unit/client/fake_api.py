"""An API server in memory, at the HTTP port of `Kube`: reads, selectors, pages, apply, merge patch, delete, watch."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable
from typing import Any

import httpx

from orkhaven.client.kube import KINDS, Kube
from tests.cli_world import NAMESPACE, Body

_PLURALS = {kind.plural: kind.name for kind in KINDS.values()}


class FakeApi:
    def __init__(self, bodies: Iterable[Body] = ()) -> None:
        self.objects: dict[tuple[str, str], Body] = {}
        self.requests: list[httpx.Request] = []
        self.refuse: dict[str, httpx.Response] = {}
        """METHOD -> answer."""
        self.forbidden: set[str] = set()
        """Kinds that may not be read; "Kind everywhere": only in a namespace."""
        self.watched: list[list[tuple[str, Body]]] = []
        """What each watch tells, in order; after the last, nothing."""
        self.logs: dict[str, str] = {}
        self.user = "ada@clinic.example"
        self._versions = itertools.count(1)
        for body in bodies:
            self.put(body)

    def put(self, body: Body) -> Body:
        made = copy.deepcopy(body)
        made["metadata"] |= {"uid": f"uid-{made['metadata']['name']}", "resourceVersion": str(next(self._versions))}
        made["metadata"].setdefault("namespace", NAMESPACE)
        self.objects[made["kind"], made["metadata"]["name"]] = made
        return made

    def kube(self, namespace: str = NAMESPACE) -> Kube:
        http = httpx.Client(transport=httpx.MockTransport(self.answer), base_url="http://api")
        return Kube(http, namespace=namespace, where="the cluster")

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.method in self.refuse:
            return self.refuse[request.method]
        if request.url.path.endswith("/selfsubjectreviews"):
            return httpx.Response(201, json={"status": {"userInfo": {"username": self.user}}})
        parts = request.url.path.strip("/").split("/")
        at = next(index for index, part in enumerate(parts) if part in _PLURALS)
        if parts[at] == "namespaces" and len(parts) > at + 2:  # not the kind: where the object is
            at += 2
        kind, rest = _PLURALS[parts[at]], parts[at + 1 :]
        if kind in self.forbidden or (f"{kind} everywhere" in self.forbidden and "namespaces" not in parts[:at]):
            return refusal(403, "Forbidden", f"cannot list {parts[at]} at the cluster scope")
        if not rest:
            return self._list(kind, request)
        name = rest[0]
        if rest[1:] == ["log"]:
            return httpx.Response(200, text=self.logs[name]) if name in self.logs else _missing(kind, name)
        held = self.objects.get((kind, name))
        if request.method == "PATCH":
            return self._patch(kind, name, held, request, status=rest[1:] == ["status"])
        if held is None:
            return _missing(kind, name)
        if request.method == "DELETE":
            del self.objects[kind, name]
        return httpx.Response(200, json=held)

    def _list(self, kind: str, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        if query.get("watch"):
            events = self.watched.pop(0) if self.watched else []
            lines = "".join(json.dumps({"type": what, "object": body}) + "\n" for what, body in events)
            return httpx.Response(200, text=lines)
        key, _, value = query.get("labelSelector", "").partition("=")
        found = [
            body
            for (its, _), body in self.objects.items()
            if its == kind and (not key or body["metadata"].get("labels", {}).get(key) == value)
        ]
        start = int(query.get("continue", 0))
        size = 3 if "limit" in query else len(found)  # small pages, so that reading them is tried
        page = found[start : start + size]
        more = {"continue": str(start + size)} if start + size < len(found) else {}
        meta = {"resourceVersion": "1", **more}
        return httpx.Response(200, json={"apiVersion": "v1", "metadata": meta, "items": page})

    def _patch(
        self, kind: str, name: str, held: Body | None, request: httpx.Request, *, status: bool
    ) -> httpx.Response:
        body: Body = json.loads(request.content)
        if request.url.params.get("dryRun"):
            return httpx.Response(200, json=body)
        if held is None:
            if "apply" not in request.headers["content-type"]:
                return _missing(kind, name)
            return httpx.Response(201, json=self.put({**body, "kind": kind}))
        if status:
            held["status"] = body["status"]
        else:
            held["spec"] = {**held["spec"], **body["spec"]}
        return httpx.Response(200, json=self.put(held))


def refusal(code: int, reason: str, message: str, **details: Any) -> httpx.Response:
    return httpx.Response(code, json={"kind": "Status", "reason": reason, "message": message, "details": details})


def _missing(kind: str, name: str) -> httpx.Response:
    return refusal(404, "NotFound", f"{kind} {name!r} not found", name=name)
