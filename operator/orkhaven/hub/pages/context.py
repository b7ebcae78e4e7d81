"""What the pages have beside the hub's own parts, and who is asking."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypedDict

from starlette.requests import Request

from orkhaven.errors import ApiError
from orkhaven.hub.auth import EXPERIMENTS, What, bearer
from orkhaven.hub.cache import SharedCache
from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.pages.security import refuse_embedding
from orkhaven.hub.ports import Body
from orkhaven.hub.session import Codes, Sessions, Viewer, cookie_name
from orkhaven.hub.settings import HubSettings, ReadAuth

if TYPE_CHECKING:
    from orkhaven.hub.pages.gpus import Cluster
    from orkhaven.hub.pages.importance import Importance
    from orkhaven.hub.pages.render import Packed

ANYONE = "anyone"
HAPPENINGS_SECONDS = 5.0
CLUSTER_SECONDS = 10.0
"""Listing all pods is dear."""
MAX_DRAWN = 24
"""Plots' data that is kept: of 10,000 runs 0.7 MB each."""


class Limits(TypedDict):
    success_seconds: float
    failure_seconds: float
    size: int
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    sessions: Sessions
    codes: Codes
    names: SharedCache[str]
    """Usernames of bearer tokens, by digest."""
    rights: SharedCache[bool]
    """Who may patch what."""
    drawn: SharedCache[Packed]
    """Data of plots, by what they are of and the state of that: all who look at a sweep share one computation."""
    importances: SharedCache[Importance]
    """By sweep and number of completed trials."""
    happenings: SharedCache[list[Body]]
    """Events of a run as one person may see them, for a moment."""
    clusters: SharedCache[Cluster]
    """Nodes and pods with GPUs as one person may see them, for a moment."""
    computing: asyncio.Semaphore
    """Of importances: one at a time, the hub has other things to do."""
    stopping: asyncio.Event
    """Set when the server is to end: streams of events end then, by themselves they never would."""
    wall: Callable[[], float]
    monotonic: Callable[[], float]
    is_open: bool
    """Whether all may read (settings: read_auth): then there is no login, and nothing can be changed."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall(), UTC)


def make_pages(settings: HubSettings, *, wall: Callable[[], float], monotonic: Callable[[], float]) -> Pages:
    limits: Limits = {
        "success_seconds": settings.token_cache_seconds,
        "failure_seconds": settings.token_failure_cache_seconds,
        "size": settings.token_cache_size,
        "clock": monotonic,
    }
    sessions = Sessions(clock=monotonic)
    return Pages(
        sessions=sessions,
        codes=Codes(sessions, clock=monotonic),
        names=SharedCache(**limits),
        rights=SharedCache(**limits),
        drawn=SharedCache(success_seconds=60, failure_seconds=0, size=MAX_DRAWN, clock=monotonic),
        importances=SharedCache(success_seconds=3600, failure_seconds=0, size=200, clock=monotonic),
        happenings=SharedCache(success_seconds=HAPPENINGS_SECONDS, failure_seconds=0, size=200, clock=monotonic),
        clusters=SharedCache(success_seconds=CLUSTER_SECONDS, failure_seconds=0, size=200, clock=monotonic),
        computing=asyncio.Semaphore(1),
        stopping=asyncio.Event(),
        wall=wall,
        monotonic=monotonic,
        is_open=settings.read_auth is ReadAuth.NONE,
    )


def pages_of(request: Request) -> Pages:
    pages = request.app.state.pages
    assert isinstance(pages, Pages)
    return pages


async def viewer_of(request: Request) -> Viewer:
    """Who asks: by a bearer header, else by the login's cookie. Raises HttpError 401 or 503."""
    pages = pages_of(request)
    viewer = await _viewer(request, pages)
    request.state.viewer = viewer
    return viewer


async def _viewer(request: Request, pages: Pages) -> Viewer:
    if pages.is_open:
        return Viewer(token=None, username=ANYONE, csrf=pages.sessions.csrf_for(ANYONE))
    header = request.headers.get("authorization")
    if header is not None:
        token = bearer(header)
        username = await username_of(request, token)
        return Viewer(token=token, username=username, csrf=pages.sessions.csrf_for(token))
    cookie = request.cookies.get(session_cookie(request))
    viewer = pages.sessions.find(cookie) if cookie else None
    if viewer is None:
        raise HttpError(401, "LoginMissing", "log in with a Kubernetes token")
    return viewer


def session_cookie(request: Request) -> str:
    """The name of the login's cookie at the address that was asked. Raises HttpError 400."""
    try:
        return cookie_name(request.url.port)
    except ValueError:
        raise HttpError(400, "BadHost", "the header Host is no host and port", where="header Host") from None


async def username_of(request: Request, token: str) -> str:
    """Whom the API server says the token belongs to. Raises HttpError 401 or 503."""
    gateway = hub_of(request).gateway

    async def ask() -> str:
        try:
            who = await gateway.token_review(token, [])
        except ApiError as error:
            raise unavailable(f"the token cannot be checked now: {error}") from error
        if not who.authenticated:
            why = who.error or "it is unknown, expired or revoked"
            raise HttpError(401, "TokenRefused", f"the API server does not accept the token: {why}")
        return who.username

    return await pages_of(request).names.get(_digest(token), ask)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def authorize(request: Request, namespace: str, *, what: What = EXPERIMENTS) -> None:
    """For what programs and pages both read, logs and artifacts: by the bearer header, else by the login's cookie.
    Raises HttpError 401, 403 or 503.
    """
    refuse_embedding(request)
    header = request.headers.get("authorization")
    cookie = request.cookies.get(session_cookie(request))
    if header is None and cookie:
        login = pages_of(request).sessions.find(cookie)
        header = None if login is None else login.authorization
    await hub_of(request).read_auth.require(header, namespace, what=what)


async def viewer_in(request: Request, namespace: str) -> Viewer:
    """As `viewer_of`, and the namespace is one that the person may read. Raises HttpError 401, 403 or 503."""
    viewer = await viewer_of(request)
    await hub_of(request).read_auth.require(viewer.authorization, namespace)
    return viewer
