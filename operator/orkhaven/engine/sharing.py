"""How the GPUs are shared, as the cluster's admins say it: weights on Namespaces, quotas.

Polled, not watched: weights change by hand, and what others use of a quota is of interest only while a run waits. What
may not be listed does not count, said once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orkhaven.api.meta import parse_quantity
from orkhaven.core.actions import Note
from orkhaven.core.attempts import POD_PHASES_ENDED
from orkhaven.core.devices import NVIDIA
from orkhaven.core.parse import parse_meta
from orkhaven.core.queue.shares import ANNOTATION_WEIGHT, LEAST_WEIGHT, MOST_WEIGHT, Quota, parse_weight
from orkhaven.core.views import Key, Meta
from orkhaven.engine.ports import Body, EventSink, Gateway
from orkhaven.engine.store import Store
from orkhaven.errors import ApiError, Forbidden

log = logging.getLogger(__name__)

QUOTA_GPU = f"requests.{NVIDIA}"
ALWAYS_OURS = frozenset({"NotTerminating", "NotBestEffort"})
"""Scopes that hold for every pod of a run: it has limits, and no deadline of its own."""


class SharingBook:
    """`weights` and `quotas` by namespace, as read last. `namespaces` empty: quotas of all of them."""

    def __init__(
        self,
        gateway: Gateway,
        store: Store,
        *,
        events: EventSink,
        namespaces: Sequence[str] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._events = events
        self._namespaces: list[str | None] = list(namespaces) or [None]
        self._changed = changed
        self._told: dict[str, str] = {}
        """By namespace: the weight that was complained of."""
        self._forbidden: set[str] = set()
        self.weights: dict[str, float] = {}
        self.quotas: dict[str, Quota] = {}

    async def look(self) -> None:
        """List both anew. What cannot be read now stays as it was. Raises LeaseLost alone."""
        before = (self.weights, self.quotas)
        namespaces = await self._list("Namespace", [None], "weights of namespaces do not count")
        if namespaces is not None:
            self.weights = self._weights(namespaces)
        quotas = await self._list("ResourceQuota", self._namespaces, "quotas of GPUs are not looked at")
        if quotas is not None:
            self.quotas = self._quotas(quotas)
        if (self.weights, self.quotas) != before:
            self._changed()

    async def _list(self, kind: str, namespaces: Sequence[str | None], else_: str) -> list[Body] | None:
        found: list[Body] = []
        try:
            for namespace in namespaces:
                async for bodies, _ in self._gateway.pages(kind, namespace=namespace):
                    found += bodies
        except Forbidden as error:
            if kind not in self._forbidden:
                log.warning(f"a {kind} may not be listed: {else_}", extra={"error": str(error)})
                self._forbidden.add(kind)
            return None
        except ApiError as error:
            log.debug("not read", extra={"kind": kind, "error": str(error)})
            return None
        return found

    def _weights(self, namespaces: Sequence[Body]) -> dict[str, float]:
        weights = {}
        for body in namespaces:
            meta = parse_meta(body)
            said = ((body.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION_WEIGHT)
            name = meta.key.name
            weight = parse_weight(said) if isinstance(said, str) else None
            if weight is not None:
                weights[name] = weight
            if said is None or weight is not None:
                self._told.pop(name, None)
            elif self._told.get(name) != said:
                self._told[name] = said
                self._complain(meta, said)
        return weights

    def _complain(self, meta: Meta, said: Any) -> None:
        name = meta.key.name
        message = (
            f"{ANNOTATION_WEIGHT}: {said!r} is no weight; it has to be a number from {LEAST_WEIGHT:g} to "
            f"{MOST_WEIGHT:.0f}, such as 2 or 0.5. Until then it is 1"
        )
        # In the namespace itself, where its people look.
        inside = Meta(key=Key(name, name), uid=meta.uid, resource_version=meta.resource_version, created=meta.created)
        self._events.post("Namespace", inside, Note(type="Warning", reason="InvalidWeight", message=message[:1000]))
        log.warning("a weight that cannot be read", extra={"key": name, "error": message})

    def _quotas(self, bodies: Sequence[Body]) -> dict[str, Quota]:
        ours: dict[str, int] = {}
        for pod in self._store.all_pods():
            if pod.resource == NVIDIA and pod.phase not in POD_PHASES_ENDED:
                ours[pod.meta.key.namespace] = ours.get(pod.meta.key.namespace, 0) + pod.gpus
        quotas: dict[str, Quota] = {}
        for body in bodies:
            namespace = parse_meta(body).key.namespace
            quota = parse_quota(body, ours=ours.get(namespace, 0))
            known = quotas.get(namespace)
            if quota is not None and (known is None or _left(quota) < _left(known)):
                quotas[namespace] = quota
        return quotas


def _left(quota: Quota) -> int:
    return quota.limit - quota.used_by_others


def parse_quota(body: Mapping[str, Any], *, ours: int) -> Quota | None:
    """What a ResourceQuota says of GPUs; None: nothing, or only of some pods. `ours`: GPUs that our pods of the
    namespace ask for."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    if spec.get("scopeSelector") or not ALWAYS_OURS.issuperset(spec.get("scopes") or ()):
        return None
    limit = _count((spec.get("hard") or {}).get(QUOTA_GPU))
    if limit is None:
        return None
    used = _count((status.get("used") or {}).get(QUOTA_GPU)) or 0
    return Quota(limit=limit, used_by_others=max(used - ours, 0))


def _count(quantity: Any) -> int | None:
    try:
        return int(parse_quantity(str(quantity))) if quantity is not None else None
    except ValueError:
        return None
