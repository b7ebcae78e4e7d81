"""An API server in memory: enough of its semantics that what passes here can only fail on the real one for speed.

uid, one rising resourceVersion, generation, status kept apart from spec, 404 and 409, preconditions, label selectors,
server-side apply of a status by field (lists are whole), owner references as a step of their own, and a log of events
that somebody else delivers: late, twice, or not at all. The real thing is tested in tests/integration.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from orkhaven.engine.ports import WORKLOADS
from orkhaven.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound

T = TypeVar("T")
Body = dict[str, Any]
Path = tuple[str, ...]
Id = tuple[str, str, str]
"""Kind, namespace, name."""

START = datetime(2026, 1, 1, tzinfo=UTC)
HAS_STATUS = {"Sweep", "Experiment", "Job", "Pod", "Node"}
PAGE = 50


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waited for something: the simulation has no event loop")


def clone(value: Any) -> Any:
    """A copy of JSON; several times as fast as copy.deepcopy, which is most of what a simulation does."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class VirtualClock:
    """`ports.Clock` that moves only when told to."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class OwnClock:
    """The operator's machine: its wall clock may be set wrong, and jump; its monotonic clock goes as all do."""

    true: VirtualClock
    ahead: float = 0.0
    """Seconds."""

    def now(self) -> datetime:
        return self.true.now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return self.true.monotonic()


@dataclass(frozen=True)
class Event:
    """What a watch would tell."""

    type: str
    kind: str
    body: Body


@dataclass(frozen=True)
class Write:
    """A request of the operator that could change something."""

    verb: str
    kind: str
    key: tuple[str, str]
    changed: bool


Hook = Callable[[str, str, tuple[str, str]], None]
"""Verb, kind, (namespace, name); raises what the operator is to see."""


def _nothing(verb: str, kind: str, key: tuple[str, str]) -> None:
    pass


@dataclass
class FakeCluster:
    """The objects. Its async methods are the operator's Gateway; the plain ones are for everybody else."""

    clock: VirtualClock
    objects: dict[Id, Body] = field(default_factory=dict)
    log: list[Event] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    before: Hook = _nothing
    """Called before each of the operator's writes takes effect: raise, and it never happened."""
    after: Hook = _nothing
    """Called after it did, before the answer: raise, and the answer is lost."""
    logs: dict[str, str | ApiError] = field(default_factory=dict)
    """By name of a pod: what its container has written, or what asking for it is answered."""
    read: list[str] = field(default_factory=list)
    """Pods whose log was asked for."""
    workloads: tuple[str, ...] = ()
    """Versions of Kueue's API that are served: none, as long as it is not installed."""
    _version: int = 0
    _uids: int = 0
    _managers: dict[str, dict[str, set[Path]]] = field(default_factory=dict)
    """uid -> field manager -> what it owns of the status."""

    # --- for everybody -----------------------------------------------------------------------------------------------

    def find(self, kind: str, namespace: str, name: str) -> Body | None:
        found = self.objects.get((kind, namespace, name))
        return clone(found) if found is not None else None

    def all(self, kind: str) -> list[Body]:
        return [clone(body) for body in self.look(kind)]

    def look(self, kind: str) -> list[Body]:
        """As `all`, not copied: to be looked at only."""
        return [body for (k, _, _), body in sorted(self.objects.items(), key=lambda item: item[0]) if k == kind]

    def add(self, body: Body) -> Body:
        """Create. Raises AlreadyExists."""
        made = clone(body)
        made.pop("status", None)
        meta = made["metadata"]
        id_ = (made["kind"], meta.get("namespace", ""), meta["name"])
        if id_ in self.objects:
            raise AlreadyExists(f"{id_} exists", status=409)
        self._uids += 1
        meta["uid"] = f"uid-{self._uids}"
        meta["generation"] = 1
        meta["creationTimestamp"] = stamp(self.clock.now())
        if made["kind"] in {"Job", "Pod", "Node"} and "status" in body:
            made["status"] = clone(body["status"])
        self._store(id_, made, "ADDED")
        return clone(made)

    def change(self, kind: str, namespace: str, name: str, change: Callable[[Body], None]) -> Body:
        """Apply a function to the object; a change of the spec raises its generation. No change, no event."""
        id_ = (kind, namespace, name)
        if id_ not in self.objects:
            raise NotFound(f"{id_} not found", status=404)
        old = self.objects[id_]
        new = clone(old)
        change(new)
        if new == old:
            return clone(old)
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self._store(id_, new, "MODIFIED")
        return clone(new)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete at once; what it owned is left to `collect`."""
        id_ = (kind, namespace, name)
        body = self.objects.pop(id_, None)
        if body is None:
            return
        # The DELETED event carries a version of its own, as the real one's does.
        self._version += 1
        body = clone(body)
        body["metadata"]["resourceVersion"] = str(self._version)
        self.log.append(Event("DELETED", kind, body))

    def collect(self) -> bool:
        """One step of the garbage collector: delete what has lost its owner. Whether there was something."""
        uids = {body["metadata"]["uid"] for body in self.objects.values()}
        lost = [
            id_
            for id_, body in sorted(self.objects.items(), key=lambda item: item[0])
            if any(ref["uid"] not in uids for ref in body["metadata"].get("ownerReferences", ()))
        ]
        for id_ in lost:
            self.remove(*id_)
        return bool(lost)

    # --- Gateway -----------------------------------------------------------------------------------------------------

    async def get(self, kind: str, namespace: str, name: str) -> Body:
        found = self.find(kind, namespace, name)
        if found is None:
            raise NotFound(f"{kind} {namespace}/{name} not found", status=404)
        return found

    async def pages(
        self,
        kind: str,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[list[Body], str]]:
        kind = self._served(kind)
        items = [
            clone(body)
            for body in self.look(kind)
            if (namespace is None or body["metadata"].get("namespace") == namespace)
            and _selected(body["metadata"].get("labels") or {}, label_selector)
            and _has_fields(body, field_selector)
        ]
        version = str(self._version)
        for start in range(0, max(len(items), 1), PAGE):
            yield items[start : start + PAGE], version

    async def pod_tail(self, namespace: str, pod: str, *, container: str) -> str:
        self.read.append(pod)
        if ("Pod", namespace, pod) not in self.objects:
            raise NotFound(f"pods {pod} not found", status=404)
        found = self.logs.get(pod, Invalid("no log", status=400))
        if isinstance(found, ApiError):
            raise found
        return found[-64 * 1024 :]

    async def create(self, kind: str, body: Body) -> Body:
        meta = body["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        # What would not survive the wire must not survive here.
        body = json.loads(json.dumps({**body, "kind": kind}))
        self.before("create", kind, key)
        existing = self.find(kind, *key)
        if existing is not None:
            self._wrote("create", kind, key, changed=False)
            if _owner(existing) is not None and _owner(existing) == _owner(body):
                return existing
            raise AlreadyExists(f"{kind} {key} exists and belongs to another", status=409)
        made = self.add(body)
        self._wrote("create", kind, key, changed=True)
        return made

    async def patch(
        self, kind: str, namespace: str, name: str, body: Body, *, uid: str, resource_version: int | None = None
    ) -> Body:
        kind = self._served(kind)
        key = (namespace, name)
        self.before("patch", kind, key)
        self._check(kind, namespace, name, uid, resource_version)

        def merge(stored: Body) -> None:
            _merge(stored, {k: v for k, v in body.items() if k not in {"status", "metadata"}})
            for part in ("annotations", "labels"):
                named = (body.get("metadata") or {}).get(part)
                if named:
                    _merge(stored["metadata"].setdefault(part, {}), named)

        version = self._version
        made = self.change(kind, namespace, name, merge)
        self._wrote("patch", kind, key, changed=version != self._version)
        return made

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
        key = (namespace, name)
        status = json.loads(json.dumps(status))
        self.before("apply", kind, key)
        # As on the real server: a status applied looks at the resource version, not at the uid.
        stored = self._check(kind, namespace, name, None, resource_version)
        managers = self._managers.setdefault(stored["metadata"]["uid"], {})
        before = managers.get(field_manager, set())
        others = set().union(*(fields for manager, fields in managers.items() if manager != field_manager))

        paths = set(_paths(status))

        def apply(body: Body) -> None:
            held = body.setdefault("status", {})
            for gone in sorted(before - paths - others):
                _remove(held, gone)
            _merge(held, clone(status))

        version = self._version
        made = self.change(kind, namespace, name, apply)
        for fields in managers.values():
            fields -= paths
        managers[field_manager] = paths
        self._wrote("apply", kind, key, changed=version != self._version)
        return made

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        key = (namespace, name)
        self.before("delete", kind, key)
        stored = self.objects.get((kind, namespace, name))
        there = stored is not None and stored["metadata"]["uid"] == uid
        if there:
            self.remove(kind, namespace, name)
        self._wrote("delete", kind, key, changed=there)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _store(self, id_: Id, body: Body, type_: str) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.objects[id_] = body
        # Stored bodies are replaced, never changed, so the log may share them.
        self.log.append(Event(type_, id_[0], body))

    def _check(self, kind: str, namespace: str, name: str, uid: str | None, version: int | None) -> Body:
        stored = self.objects.get((kind, namespace, name))
        if stored is None:
            raise NotFound(f"{kind} {namespace}/{name} not found", status=404)
        meta = stored["metadata"]
        if uid is not None and meta["uid"] != uid:
            raise Conflict(f"{kind} {namespace}/{name}: uid is {meta['uid']}, not {uid}", status=409)
        if version is not None and meta["resourceVersion"] != str(version):
            raise Conflict(f"{kind} {namespace}/{name} was changed", status=409)
        return stored

    def _served(self, kind: str) -> str:
        """The kind of which the Gateway's word for it is. Raises NotFound for a Workload where Kueue is not."""
        for version, called in WORKLOADS.items():
            if kind == called and version not in self.workloads:
                raise NotFound("the server could not find the requested resource", status=404)
        return kind.partition(".")[0]

    def _wrote(self, verb: str, kind: str, key: tuple[str, str], *, changed: bool) -> None:
        self.writes.append(Write(verb, kind, key, changed))
        self.after(verb, kind, key)


def _owner(body: Body) -> str | None:
    return next((ref["uid"] for ref in body["metadata"].get("ownerReferences", ()) if ref.get("controller")), None)


def _paths(value: Body, above: Path = ()) -> Iterator[Path]:
    """Of all that is no object, or an empty one."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _paths(item, (*above, key))
        else:
            yield (*above, key)


def _remove(held: Body, path: Path) -> None:
    """What stands there, and the objects above it that are empty then."""
    head, *rest = path
    if not rest:
        held.pop(head, None)
    elif isinstance(held.get(head), dict):
        _remove(held[head], tuple(rest))
        if not held[head]:
            del held[head]


def _has_fields(body: Body, selector: str | None) -> bool:
    """The two that are used: an Event's object by uid, and pods that are bound."""
    if selector and selector.startswith("involvedObject.uid="):
        return bool(body["involvedObject"]["uid"] == selector.partition("=")[2])
    return not selector or bool(body.get("spec", {}).get("nodeName"))


def _selected(labels: dict[str, str], selector: str | None) -> bool:
    """`a=b` and `a!=b`, the two that are used."""
    if not selector:
        return True
    if "!=" in selector:
        name, value = selector.split("!=")
        return labels.get(name) != value
    name, value = selector.split("=")
    return labels.get(name) == value


def _merge(target: Body, patch: Body) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value
