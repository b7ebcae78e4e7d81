"""Logging in with a Kubernetes token, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.context import pages_of, username_of, viewer_of
from orkhaven.hub.pages.render import PageRoute, page
from orkhaven.hub.pages.security import HEADERS, form_of, require_csrf, require_same_site, safe_next
from orkhaven.hub.session import COOKIE, LIFETIME

MAX_TOKEN = 16 * 1024

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Next = Annotated[str | None, Query(max_length=4096)]


@router.get("/login")
async def login_form(request: Request, next: Next = None) -> Response:
    if pages_of(request).is_open:
        return _to(safe_next(next))
    return page(request, "login.html", viewer=None, next=safe_next(next), problem=None)


@router.post("/login")
async def login(request: Request) -> Response:
    """The token is in the body: a URL would be in logs and histories."""
    require_same_site(request)
    form = await form_of(request)
    token, target = form.get("token", "").strip(), safe_next(form.get("next"))
    token = token.removeprefix("Bearer ").strip()
    try:
        if not token:
            raise HttpError(400, "TokenMissing", "paste a token first")
        if len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
            raise HttpError(400, "BadToken", "this is no token: one long word, such as `kubectl create token` prints")
        username = await username_of(request, token)
    except HttpError as error:
        return page(request, "login.html", viewer=None, status=error.status, next=target, problem=error.message)
    answer = _to(target)
    answer.set_cookie(
        COOKIE,
        pages_of(request).sessions.open(token, username),
        max_age=int(LIFETIME),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    viewer = await viewer_of(request)
    pages = pages_of(request)
    require_csrf(request, pages.sessions, viewer, await form_of(request))
    if viewer.session is not None:
        pages.sessions.close(viewer.session)
    answer = _to("/login")
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers={**HEADERS, "Cache-Control": "no-store"})
