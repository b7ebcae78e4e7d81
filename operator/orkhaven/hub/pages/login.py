"""Logging in with a Kubernetes token, or with a one-time code that was made for one; and out."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from orkhaven.hub.auth import bearer
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.context import pages_of, session_cookie, username_of, viewer_of
from orkhaven.hub.pages.render import PageRoute, page
from orkhaven.hub.pages.security import HEADERS, form_of, require_csrf, require_same_site, safe_next
from orkhaven.hub.session import CODE_LIFETIME, LIFETIME

MAX_TOKEN = 16 * 1024

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Next = Annotated[str | None, Query(max_length=4096)]


@router.get("/login")
async def login_form(
    request: Request, next: Next = None, code: Annotated[str | None, Query(max_length=200)] = None
) -> Response:
    if pages_of(request).is_open:
        return _to(safe_next(next))
    if code is not None:
        return await _by_code(request, code, safe_next(next))
    return page(request, "login.html", viewer=None, next=safe_next(next), problem=None)


async def _by_code(request: Request, code: str, target: str) -> Response:
    """Where the code is good: the login, and on to the target.

    On by a page and not by a redirect: whoever comes from another page or from a file is on a way that the strict
    cookie is not sent along, to its very end; a page of ours starts a new one.
    """
    pages = pages_of(request)
    held = request.cookies.get(session_cookie(request))
    if held and pages.sessions.find(held) is not None:
        return _to(target)  # loaded again, or a second window
    opened = pages.codes.exchange(code)
    if opened is not None:
        answer = page(request, "login_done.html", viewer=None, next=target)
        _keep(request, answer, opened)
        return answer
    problem = (
        f"This address was good once, for {CODE_LIFETIME:g} seconds. It is over, or somebody has used it: then that "
        "login has just been ended. kubectl ork dashboard makes a new one."
    )
    return page(request, "login.html", viewer=None, status=401, next=target, problem=problem)


@router.post("/login/code")
async def make_code(request: Request) -> Response:
    """For a bearer token, never for a cookie: a one-time code that logs a browser in as whoever holds the token."""
    try:
        require_same_site(request)
        if pages_of(request).is_open:
            return Response(status_code=204, headers={**HEADERS, "Cache-Control": "no-store"})
        token = bearer(request.headers.get("authorization"))
        made = pages_of(request).codes.make(token, await username_of(request, token))
    except HttpError as error:
        return error.response()
    body = json.dumps({"code": made, "expires_in": CODE_LIFETIME})
    headers = {**HEADERS, "Cache-Control": "no-store"}
    return Response(body, status_code=201, media_type="application/json", headers=headers)


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
    _keep(request, answer, pages_of(request).sessions.open(token, username))
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    viewer = await viewer_of(request)
    pages = pages_of(request)
    require_csrf(request, pages.sessions, viewer, await form_of(request))
    if viewer.session is not None:
        pages.sessions.close(viewer.session)
    answer = _to("/login")
    name = session_cookie(request)
    answer.delete_cookie(name, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


def _keep(request: Request, answer: Response, session: str) -> None:
    answer.set_cookie(
        session_cookie(request),
        session,
        max_age=int(LIFETIME),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers={**HEADERS, "Cache-Control": "no-store"})
