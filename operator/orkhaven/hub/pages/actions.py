"""Changes that a person makes from a page: merge patches of the resource, sent with that person's own token.

The API server decides, and its audit log names the person. A page only offers what a SelfSubjectAccessReview allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from orkhaven.errors import ApiError, Forbidden, Invalid, NotFound
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import resource
from orkhaven.hub.pages.render import PageRoute, url
from orkhaven.hub.pages.security import HEADERS, form_of, require_csrf
from orkhaven.hub.session import Viewer

MAX_PARALLELISM = 10_000

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a page offers, or why it offers nothing."""

    may: bool
    command: str = ""
    """By which the person sees the API server's own answer; empty where there is no person."""


async def allowed(request: Request, viewer: Viewer, *, kind: str, namespace: str, name: str) -> Allowed:
    """Whether this person may patch it. An API server that does not answer is a no: the page is shown all the same."""
    plural = f"{kind.lower()}s.orkhaven.io"
    token = viewer.token
    if token is None:
        return Allowed(may=False)
    people = hub_of(request).gateway.people()

    async def ask() -> bool:
        return await people.may(token, verb="patch", kind=kind, namespace=namespace, name=name)

    try:
        may = await pages_of(request).rights.get((viewer.csrf, kind, namespace, name), ask)
    except ApiError:
        may = False
    return Allowed(may=may, command=f"kubectl auth can-i patch {plural}/{name} -n {namespace}")


@router.post("/n/{namespace}/sweeps/{name}/change")
async def change_sweep(request: Request, namespace: Namespace, name: Name) -> Response:
    return await _change(request, "Sweep", namespace, name)


@router.post("/n/{namespace}/experiments/{name}/change")
async def change_experiment(request: Request, namespace: Namespace, name: Name) -> Response:
    return await _change(request, "Experiment", namespace, name)


async def _change(request: Request, kind: str, namespace: str, name: str) -> Response:
    viewer = await viewer_in(request, namespace)
    form = await form_of(request)
    require_csrf(request, pages_of(request).sessions, viewer, form)
    if viewer.token is None:
        raise HttpError(
            403, "NoPerson", "This hub is open to all readers, so it does not know who you are: use kubectl."
        )
    spec = spec_of(kind, form)
    body = await resource(hub_of(request), kind, namespace, name)
    if form.get("uid", body["metadata"]["uid"]) != body["metadata"]["uid"]:
        raise HttpError(409, "Replaced", f"This {kind} was deleted and made anew meanwhile: load its page again.")
    people = hub_of(request).gateway.people()
    try:
        await people.patch(viewer.token, kind, namespace, name, {"spec": spec}, uid=body["metadata"]["uid"])
    except NotFound:
        raise HttpError(404, "NotFound", f"There is no {kind} {name!r} in namespace {namespace!r} any more.") from None
    except Forbidden as error:
        raise HttpError(403, "MayNotChange", f"The API server does not let you: {error}") from error
    except Invalid as error:
        raise HttpError(400, "Refused", f"The API server refuses the change: {error}") from error
    except ApiError as error:
        raise unavailable(f"The change may or may not have been made: {error}") from error
    headers = {**HEADERS, "Cache-Control": "no-store"}
    plural = "sweeps" if kind == "Sweep" else "experiments"
    return RedirectResponse(url("n", namespace, plural, name), status_code=303, headers=headers)


def spec_of(kind: str, form: dict[str, str]) -> dict[str, Any]:
    """What the form changes. Raises HttpError 400."""
    match form.get("action"):
        case "suspend":
            return {"suspend": True}
        case "resume":
            return {"suspend": False}
        case "parallelism" if kind == "Sweep":
            text = form.get("parallelism", "").strip()
            if not text.isascii() or not text.isdigit() or int(text) > MAX_PARALLELISM:
                raise HttpError(400, "BadParallelism", f"Parallelism is a whole number from 0 to {MAX_PARALLELISM}.")
            return {"parallelism": int(text)}
    raise HttpError(400, "UnknownAction", "There is no such action.")
