"""Who may write and who may read.

A training pod writes with its projected token: TokenReview says which pod it is bound to, and the pod's controllers
(Job, then Experiment) say whose run it is. The namespace is the boundary of trust: whoever may create pods in it may
act as its runs. A person reads with the rights that the API server gives: what `kubectl get experiments` shows, no
more.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orkhaven.api import GROUP
from orkhaven.errors import ApiError, NotFound
from orkhaven.hub.cache import SharedCache
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.ports import Body, Gateway
from orkhaven.hub.settings import HubSettings, ReadAuth
from orkhaven.hub.storage import rungs
from orkhaven.hub.storage.ingest import RunIdentity
from orkhaven.kube import TokenReview
from orkrun import contract

log = logging.getLogger(__name__)


def bearer(authorization: str | None) -> str:
    """The token of an Authorization header. Raises HttpError 401."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise HttpError(
            401, "TokenMissing", "send a token: Authorization: Bearer <token>", where="header Authorization"
        )
    return token


class WriteAuth:
    """Token to run, remembered for a while: a run reports far more often than its rights change."""

    def __init__(self, gateway: Gateway, settings: HubSettings, *, clock: Callable[[], float]) -> None:
        self._gateway = gateway
        self._audience = settings.audience
        self._cache: SharedCache[RunIdentity] = SharedCache(
            success_seconds=settings.token_cache_seconds,
            failure_seconds=settings.token_failure_cache_seconds,
            size=settings.token_cache_size,
            clock=clock,
        )

    async def run_of(self, token: str, namespace: str, experiment: str) -> RunIdentity:
        """The run that this token may report for. Raises HttpError 401, 403 or 503."""
        key = (_digest(token), namespace, experiment)
        return await self._cache.get(key, lambda: self._check(token, namespace, experiment))

    async def _check(self, token: str, namespace: str, experiment: str) -> RunIdentity:
        try:
            who = await self._gateway.token_review(token, [self._audience])
            if not who.authenticated:
                raise HttpError(
                    401,
                    "TokenRefused",
                    f"the API server does not accept the token for the audience {self._audience!r}: {_why(who)}",
                    where="header Authorization",
                )
            if self._audience not in who.audiences:
                # An API server whose authenticator knows no audiences accepts any token; this one is not meant for us.
                raise HttpError(
                    401,
                    "TokenRefused",
                    f"the token is for {', '.join(who.audiences) or 'the API server'}, not for {self._audience!r}",
                    where="header Authorization",
                )
            pod = await self._pod(who, namespace)
            return await self._owner(pod, namespace, experiment)
        except ApiError as error:
            raise _unchecked(error) from error

    async def _pod(self, who: TokenReview, namespace: str) -> Body:
        name, uid = who.pod_name, who.pod_uid
        if name is None or uid is None:
            raise _forbidden(
                f"the token of {who.username} is not bound to a pod; use the pod's projected token with the audience "
                f"{self._audience!r}"
            )
        if not who.username.startswith(f"system:serviceaccount:{namespace}:"):
            raise _forbidden(f"{who.username} is not of namespace {namespace!r}")
        try:
            pod = await self._gateway.get("Pod", namespace, name)
        except NotFound:
            raise _forbidden(f"pod {namespace}/{name}, to which the token is bound, is gone") from None
        if pod["metadata"].get("uid") != uid:
            raise _forbidden(f"the token is bound to an earlier pod {namespace}/{name}")
        return pod

    async def _owner(self, pod: Body, namespace: str, experiment: str) -> RunIdentity:
        pod_name = pod["metadata"]["name"]
        label = (pod["metadata"].get("labels") or {}).get(contract.LABEL_EXPERIMENT)
        if label != experiment:
            raise _forbidden(f"pod {pod_name} belongs to experiment {label!r}, not {experiment!r}")
        job_ref = _controller(pod, kind="Job", group="batch")
        job = await self._owned("Job", namespace, job_ref, child=f"pod {pod_name}")
        experiment_ref = _controller(job, kind="Experiment", group=GROUP)
        if experiment_ref["name"] != experiment:
            raise _forbidden(
                f"job {job_ref['name']} belongs to experiment {experiment_ref['name']!r}, not {experiment!r}"
            )
        body = await self._owned("Experiment", namespace, experiment_ref, child=f"job {job_ref['name']}")
        return identity_of(body)

    async def _owned(self, kind: str, namespace: str, ref: Body, *, child: str) -> Body:
        try:
            body = await self._gateway.get(kind, namespace, ref["name"])
        except NotFound:
            raise _forbidden(f"{ref['kind']} {ref['name']}, which {child} belongs to, is gone") from None
        if body["metadata"].get("uid") != ref["uid"]:
            raise _forbidden(f"{child} belongs to an earlier {ref['kind']} {ref['name']}")
        return body


def identity_of(experiment: Body) -> RunIdentity:
    """The run that an Experiment is."""
    metadata = experiment["metadata"]
    spec = experiment.get("spec") or {}
    objective = spec.get("objective") or {}
    metric = objective.get("metric")
    return RunIdentity(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        sweep=(metadata.get("labels") or {}).get(contract.LABEL_SWEEP),
        objective=metric,
        minimize=None if metric is None else objective.get("direction") == "Minimize",
        ladder=rungs.to_text(spec.get("rungs") or ()),
    )


@dataclass(frozen=True, slots=True)
class What:
    """What somebody wants to `get`, as `kubectl auth can-i get` names it."""

    name: str
    kind: str
    subresource: str = ""


EXPERIMENTS = What("experiments", "Experiment")
POD_LOGS = What("pods/log", "Pod", "log")


class ReadAuthorizer:
    """May whoever holds this token `get experiments` in this namespace? Remembered as long as write tokens are."""

    def __init__(self, gateway: Gateway, settings: HubSettings, *, clock: Callable[[], float]) -> None:
        self._gateway = gateway
        self._open = settings.read_auth is ReadAuth.NONE
        self._cache: SharedCache[None] = SharedCache(
            success_seconds=settings.token_cache_seconds,
            failure_seconds=settings.token_failure_cache_seconds,
            size=settings.token_cache_size,
            clock=clock,
        )

    async def require(self, authorization: str | None, namespace: str, *, what: What = EXPERIMENTS) -> None:
        """Raises HttpError 401, 403 or 503."""
        if self._open:
            return
        token = bearer(authorization)
        await self._cache.get((_digest(token), namespace, what), lambda: self._check(token, namespace, what))

    async def identify(self, authorization: str | None) -> None:
        """Only that it is somebody, for answers that say nothing of a namespace. Raises HttpError 401 or 503."""
        if self._open:
            return
        token = bearer(authorization)
        await self._cache.get((_digest(token), None, None), lambda: self._known(token))

    async def _known(self, token: str) -> None:
        try:
            await self._who(token)
        except ApiError as error:
            raise _unchecked(error) from error

    async def _who(self, token: str) -> TokenReview:
        who = await self._gateway.token_review(token, [])
        if not who.authenticated:
            raise HttpError(
                401,
                "TokenRefused",
                f"the API server does not accept the token: {_why(who)}; `kubectl create token NAME` makes one",
                where="header Authorization",
            )
        return who

    async def _check(self, token: str, namespace: str, what: What) -> None:
        try:
            who = await self._who(token)
            if not await self._gateway.access_review(
                who, verb="get", kind=what.kind, namespace=namespace, subresource=what.subresource
            ):
                raise _forbidden(f"{who.username} may not get {what.name} in namespace {namespace!r}")
        except ApiError as error:
            raise _unchecked(error) from error


def _digest(token: str) -> bytes:
    """Tokens themselves are not kept in memory longer than a request."""
    return hashlib.sha256(token.encode()).digest()


def _why(who: TokenReview) -> str:
    return who.error or "it is unknown, expired or revoked"


def _unchecked(error: ApiError) -> HttpError:
    """The API server did not say yes or no: away, or the hub itself lacks a right. The client keeps its lines."""
    log.warning("a token could not be checked", extra={"error": str(error)})
    return unavailable(f"the token cannot be checked now: {error}")


def _controller(body: Body, *, kind: str, group: str) -> dict[str, Any]:
    """The controlling owner reference of that kind. Raises HttpError 403."""
    for ref in body["metadata"].get("ownerReferences") or []:
        if ref.get("controller") and ref["kind"] == kind and ref["apiVersion"].partition("/")[0] == group:
            return dict(ref)
    raise _forbidden(f"{body['metadata']['name']} is not controlled by a {kind} of {group}")


def _forbidden(message: str) -> HttpError:
    return HttpError(403, "Forbidden", message)
