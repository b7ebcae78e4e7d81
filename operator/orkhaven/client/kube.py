"""The API server over HTTP: read, apply, patch, delete, watch, follow a log; its refusals as sentences for people.

Speaks to whatever `connect` has opened: `kubectl proxy` on a laptop, the API server itself in a pod. The user's own
rights are all there is.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orkhaven.client.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NoCluster,
    NotFound,
    NotInstalled,
    OrkhavenError,
)
from orkhaven.client.wire import Answer, Wire, WireError, segment
from orkhaven.pauses import Pauses

Body = dict[str, Any]

API_VERSION = "orkhaven.io/v1alpha1"
PAGE = 500
"""Objects of one list request: 10,000 experiments are some 40 MB, too much for one answer."""
TIMEOUT = 60.0
"""Seconds for an answer, and until one that goes on begins."""
AWAY_TRIES = 12
"""Times that a watch is tried again while the API server does not answer: some five minutes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the objects of a kind are."""

    name: str
    root: str
    plural: str
    namespaced: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        Kind("Sweep", f"/apis/{API_VERSION}", "sweeps"),
        Kind("Experiment", f"/apis/{API_VERSION}", "experiments"),
        Kind("Pod", "/api/v1", "pods"),
        Kind("Service", "/api/v1", "services"),
        Kind("Event", "/api/v1", "events"),
        Kind("Deployment", "/apis/apps/v1", "deployments"),
        Kind("ResourceQuota", "/api/v1", "resourcequotas"),
        Kind("Namespace", "/api/v1", "namespaces", namespaced=False),
        Kind("Node", "/api/v1", "nodes", namespaced=False),
    )
}
OURS = ("Sweep", "Experiment")

INSTALL = "install the chart: helm install orkhaven helm/orkhaven -n orkhaven-system --create-namespace"


class Kube:
    """One API server and the user's namespace in it. Close it, or use it in a `with`."""

    def __init__(self, wire: Wire, *, namespace: str, where: str, on_close: Callable[[], None] = lambda: None) -> None:
        self._wire = wire
        self.namespace = namespace
        self.where = where
        """For messages: which cluster this is."""
        self._on_close = on_close

    def __enter__(self) -> Kube:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._wire.close()
        self._on_close()

    # --- read ---

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> Body:
        """Raises NotFound, Forbidden, NoCluster and the like."""
        found: Body = self._call("GET", self._path(kind, namespace, name), about=(kind, name, namespace)).json()
        return found

    def each(
        self,
        kind: str,
        *,
        namespace: str | None = None,
        everywhere: bool = False,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Iterator[Body]:
        """Objects page by page."""
        query = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = labels
        if fields:
            query["fieldSelector"] = fields
        path = self._path(kind, namespace, everywhere=everywhere)
        while True:
            answer = self._call("GET", path, query=query, about=(kind, "", namespace)).json()
            # A list leaves kind and apiVersion out of its items.
            shown = {"apiVersion": answer["apiVersion"], "kind": kind}
            for item in answer.get("items") or ():
                yield {**shown, **item}
            following = answer["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    def names(self, kind: str, *, labels: str | None = None) -> list[str]:
        """Names alone: the server sends metadata only, as completion asks between two keystrokes."""
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        query = {"labelSelector": labels} if labels else {}
        answer = self._call(
            "GET", self._path(kind, None), query=query, headers={"Accept": accept}, about=(kind, "", None)
        )
        return [item["metadata"]["name"] for item in answer.json()["items"] or ()]

    def states(self, body: Body, *, pause: Callable[[float], None] = time.sleep) -> Iterator[Body]:
        """The object after each change from `body` on, for as long as the reader wants. Raises NotFound once it is
        deleted, NoCluster where the API server stays away for minutes.
        """
        kind, meta = body["kind"], body["metadata"]
        away, pauses = 0, Pauses()
        while True:
            try:
                pauses.begin()
                for event, seen in self._watch(kind, meta["name"], namespace=meta["namespace"], version=_version(body)):
                    if event == "DELETED":
                        raise NotFound(f"{kind} {meta['name']!r} was deleted")
                    if event == "ERROR":  # 410: the version is too old by now
                        break
                    away, body = 0, seen
                    pauses.heard()
                    yield body
                latest = self.get(kind, meta["name"], namespace=meta["namespace"])
                if latest["metadata"]["uid"] != meta["uid"]:
                    raise NotFound(f"{kind} {meta['name']!r} was deleted, and there is a new one of that name")
                away = 0
                if _version(latest) != _version(body):
                    body = latest
                    pauses.heard()
                    yield body
                pause(pauses.after_end())
            except NoCluster:
                away += 1
                if away > AWAY_TRIES:
                    raise
                pause(min(2.0**away, 30))

    def change_of(self, kind: str, *, everywhere: bool, seconds: int = 60, settle: float = 1.0) -> None:
        """Returns a moment after something of that kind has changed, at the latest after `seconds`."""
        path = self._path(kind, None, everywhere=everywhere)
        version = self._call("GET", path, query={"limit": "1"}, about=(kind, "", None)).json()["metadata"]
        query = {"watch": "true", "resourceVersion": version["resourceVersion"], "timeoutSeconds": str(seconds)}
        with contextlib.closing(self._lines(path, query=query, about=(kind, "", None))) as events:
            if next(events, None) is not None:
                time.sleep(settle)  # the changes of one moment are one picture

    def _watch(
        self, kind: str, name: str, *, namespace: str, version: str, seconds: int = 300
    ) -> Iterator[tuple[str, Body]]:
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        for line in self._lines(self._path(kind, namespace), query=query, about=(kind, name, namespace)):
            event = json.loads(line)
            yield event["type"], event["object"]

    def log(
        self, pod: str, *, namespace: str | None = None, follow: bool = False, tail: int | None = None
    ) -> Iterator[str]:
        """Lines of the trainer's log while its pod is there."""
        query = {"container": "trainer"}
        if follow:
            query["follow"] = "true"
        if tail is not None:
            query["tailLines"] = str(tail)
        path = self._path("Pod", namespace, pod) + "/log"
        return self._lines(path, query=query, about=("Pod", pod, namespace))

    def events_of(self, body: Body, *, count: int = 10) -> list[Body]:
        """The last Events about an object, oldest first. None where the user may not see them."""
        meta = body["metadata"]
        fields = f"involvedObject.name={meta['name']},involvedObject.uid={meta['uid']}"
        try:
            found = list(self.each("Event", namespace=meta["namespace"], fields=fields))
        except Forbidden:
            return []
        return sorted(found, key=event_time)[-count:]

    def raw(self, path: str) -> Any:
        """The JSON at a path of the API server."""
        return self._call("GET", path).json()

    def whoami(self) -> str:
        """The user's name, as the API server knows them."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = self._call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review).json()
        return str(answer["status"]["userInfo"].get("username") or "")

    # --- write ---

    def apply(
        self, body: Body, *, manager: str, dry_run: bool = False, force: bool = False, subresource: str = ""
    ) -> Body:
        """Server-side apply. Raises Conflict where another manager owns a field that would change."""
        meta = body["metadata"]
        kind, namespace = body["kind"], meta.get("namespace") or self.namespace
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        if force:
            query["force"] = "true"
        path = self._path(kind, namespace, meta["name"]) + (f"/{subresource}" if subresource else "")
        return self._write(path, body, "application/apply-patch+yaml", query, (kind, meta["name"], namespace))

    def patch(self, kind: str, name: str, changes: Body, *, manager: str, namespace: str | None = None) -> Body:
        """A merge patch, for the one field that a verb is about."""
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        path = self._path(kind, namespace, name)
        return self._write(path, changes, "application/merge-patch+json", query, (kind, name, namespace))

    def delete(self, kind: str, name: str, *, namespace: str | None = None, uid: str | None = None) -> None:
        """`uid` guards against a namesake that was made in between."""
        options: Body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        self._call("DELETE", self._path(kind, namespace, name), body=options, about=(kind, name, namespace))

    def _write(
        self, path: str, body: Body, content: str, query: Mapping[str, str], about: tuple[str, str, str | None]
    ) -> Body:
        written: Body = self._call("PATCH", path, query=query, body=body, content=content, about=about).json()
        return written

    # --- requests ---

    def _path(self, kind: str, namespace: str | None, name: str = "", *, everywhere: bool = False) -> str:
        where = KINDS[kind]
        scope = "" if everywhere or not where.namespaced else f"/namespaces/{segment(namespace or self.namespace)}"
        return f"{where.root}{scope}/{where.plural}" + (f"/{segment(name)}" if name else "")

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        content: str = "application/json",
        headers: Mapping[str, str] | None = None,
        about: tuple[str, str, str | None] | None = None,
    ) -> Answer:
        sent = {"Content-Type": content} if body is not None else {}
        try:
            answer = self._wire.request(
                method,
                path,
                params=query,
                content=json.dumps(body).encode() if body is not None else None,
                headers={"Accept": "application/json", **sent, **(headers or {})},
                timeout=TIMEOUT,
            )
        except WireError as error:
            raise self._unreachable(error) from error
        if answer.status_code >= 300:
            raise self._refusal(answer, about)
        return answer

    def _lines(
        self, path: str, *, query: Mapping[str, str], about: tuple[str, str, str | None]
    ) -> Generator[str, None, None]:
        try:
            with self._wire.stream("GET", path, params=query, timeout=TIMEOUT) as answer:
                if answer.status_code >= 300:
                    answer.read()
                    raise self._refusal(answer, about)
                yield from _split(answer.iter_bytes())
        except WireError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> NoCluster:
        return NoCluster(f"no answer from {self.where}: {error or type(error).__name__}", hint=CHECK_CLUSTER)

    def _refusal(self, answer: Answer, about: tuple[str, str, str | None] | None) -> OrkhavenError:
        status = _status_of(answer)
        message = status.get("message") or answer.text.strip()[:500] or f"HTTP {answer.status_code}"
        kind, name, namespace = about or ("", "", None)
        namespace = namespace or self.namespace
        match answer.status_code:
            case code if code >= 500 and not status:
                # kubectl proxy's own words: it could not reach the API server.
                return NoCluster(f"no answer from {self.where}: {message}", hint=CHECK_CLUSTER)
            case 404 if kind in OURS and not (status.get("details") or {}).get("name"):
                return NotInstalled(f"{self.where} has no {KINDS[kind].plural}.orkhaven.io", hint=INSTALL)
            case 404 if kind and not KINDS[kind].namespaced:
                return NotFound(f"there is no {kind} {name!r}")
            case 404:
                hint = f"kubectl ork status -n {namespace} lists what is there; -n says another namespace"
                return NotFound(
                    f"there is no {kind} {name!r} in namespace {namespace!r}" if kind else message,
                    hint=hint if kind in OURS else "",
                )
            case 401:
                return Forbidden(
                    f"{self.where} does not know you: {message}", hint="log in again, or choose another --context"
                )
            case 403:
                return Forbidden(message, hint=_rights(kind, namespace, everywhere="at the cluster scope" in message))
            case 409 if status.get("reason") == "Conflict":
                return Conflict(_conflict(message, status))
            case 400 | 409 | 422:
                return Invalid(_causes(message, status))
        return OrkhavenError(f"{self.where}: {message}")


CHECK_CLUSTER = "kubectl cluster-info says whether kubectl reaches it; --context and --kubeconfig choose another"


def _version(body: Body) -> str:
    return str(body["metadata"]["resourceVersion"])


def event_time(event: Body) -> str:
    """RFC 3339: sorts as text."""
    series = event.get("series") or {}
    meta = event["metadata"].get("creationTimestamp")
    return str(event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime") or meta or "")


def _status_of(answer: Answer) -> Body:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _rights(kind: str, namespace: str, *, everywhere: bool) -> str:
    if not kind:
        return ""
    plural = KINDS[kind].plural + (".orkhaven.io" if kind in OURS else "")
    if everywhere:
        return (
            "-n says one namespace; an administrator can let you read all by a ClusterRoleBinding to the ClusterRole "
            f"view (read {plural})"
        )
    return (
        f"kubectl auth can-i --list -n {namespace} shows what you may; an administrator can bind you to the "
        f"ClusterRole view (read {plural}) or edit (write them) in that namespace"
    )


def _causes(message: str, status: Body) -> str:
    causes = (status.get("details") or {}).get("causes") or []
    lines = [f"{cause.get('field', '')}: {cause.get('message', '')}".removeprefix(": ") for cause in causes]
    return "the API server refuses it:\n" + "\n".join(f"  {line}" for line in lines) if lines else message


def _conflict(message: str, status: Body) -> str:
    causes = (status.get("details") or {}).get("causes") or []
    fields = [f"{cause.get('field', '')} ({cause.get('message', '')})" for cause in causes]
    return "somebody else set: " + ", ".join(fields) if fields else message


def _split(chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines by "\\n" alone: a progress bar's "\\r" and Unicode's line separators are the line's own."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
