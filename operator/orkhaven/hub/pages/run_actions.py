"""What a person does to a run beside changing it: end it for good, run it again. With that person's own token.

There is no cancelled state to patch a resource into: what is to end for good is deleted, as `kubectl ork cancel` does.
A trial is its sweep's, which would make it again: it is suspended, or its sweep is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from orkhaven.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import resource
from orkhaven.hub.pages.render import PageRoute, url
from orkhaven.hub.pages.security import HEADERS, form_of, require_csrf
from orkhaven.hub.pages.views.experiments import again
from orkhaven.hub.ports import Body
from orkhaven.hub.session import Viewer

MAX_SEED = 2**31 - 1

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Offered:
    cancel: bool
    again: bool


async def offered(request: Request, viewer: Viewer, body: Body, *, is_over: bool) -> Offered:
    meta = body["metadata"]
    ends = not is_over and sweep_of(body) is None
    return Offered(
        cancel=ends and await _may(request, viewer, verb="delete", namespace=meta["namespace"], name=meta["name"]),
        again=await _may(request, viewer, verb="create", namespace=meta["namespace"], name=""),
    )


async def _may(request: Request, viewer: Viewer, *, verb: str, namespace: str, name: str) -> bool:
    """An API server that does not answer is a no: the page is shown all the same."""
    token = viewer.token
    if token is None:
        return False
    people = hub_of(request).gateway.people()

    async def ask() -> bool:
        return await people.may(token, verb=verb, kind="Experiment", namespace=namespace, name=name)

    try:
        return await pages_of(request).rights.get((viewer.csrf, verb, "Experiment", namespace, name), ask)
    except ApiError:
        return False


def sweep_of(body: Body) -> str | None:
    """The Sweep that makes it anew when it is gone."""
    owners = body["metadata"].get("ownerReferences") or []
    return next((str(one["name"]) for one in owners if one.get("controller") and one.get("kind") == "Sweep"), None)


@router.post("/n/{namespace}/experiments/{name}/cancel")
async def cancel(request: Request, namespace: Namespace, name: Name) -> Response:
    token, form, body = await _asked(request, namespace, name)
    uid = body["metadata"]["uid"]
    if form.get("uid", uid) != uid:
        raise HttpError(409, "Replaced", "This Experiment was deleted and made anew meanwhile: load its page again.")
    sweep = sweep_of(body)
    if sweep is not None:
        raise HttpError(
            400,
            "IsTrial",
            f"It is a trial of sweep {sweep!r}, which would make it again: suspend it, or end the sweep.",
        )
    people = hub_of(request).gateway.people()
    with _errors("The run may or may not have been ended"):
        await people.delete_object(token, "Experiment", namespace, name, uid=uid)
    return _to(url("n", namespace, "experiments"))


@router.post("/n/{namespace}/experiments/{name}/again")
async def run_again(request: Request, namespace: Namespace, name: Name) -> Response:
    token, form, body = await _asked(request, namespace, name)
    made = again(body)
    made["spec"] = {**made["spec"], "seed": _seed(form)}
    people = hub_of(request).gateway.people()
    with _errors("The run may or may not have been made"):
        created = await people.create(token, "Experiment", namespace, made)
    return _to(url("n", namespace, "experiments", created["metadata"]["name"]))


async def _asked(request: Request, namespace: str, name: str) -> tuple[str, dict[str, str], Body]:
    """(token, form, resource) of a request that came from our own page. Raises HttpError."""
    viewer = await viewer_in(request, namespace)
    form = await form_of(request)
    require_csrf(request, pages_of(request).sessions, viewer, form)
    if viewer.token is None:
        raise HttpError(
            403, "NoPerson", "This hub is open to all readers, so it does not know who you are: use kubectl."
        )
    return viewer.token, form, await resource(hub_of(request), "Experiment", namespace, name)


def _seed(form: dict[str, str]) -> int:
    text = form.get("seed", "").strip()
    if not text.isascii() or not text.isdigit() or int(text) > MAX_SEED:
        raise HttpError(400, "BadSeed", f"A seed is a whole number from 0 to {MAX_SEED}.")
    return int(text)


@contextlib.contextmanager
def _errors(unknown: str) -> Iterator[None]:
    """The API server's answers as pages; `unknown` where it gave none."""
    try:
        yield
    except (NotFound, Conflict) as error:
        raise HttpError(404, "NotFound", "It is gone, or was made anew meanwhile.") from error
    except Forbidden as error:
        raise HttpError(403, "MayNotChange", f"The API server does not let you: {error}") from error
    except Invalid as error:
        raise HttpError(400, "Refused", f"The API server refuses it: {error}") from error
    except ApiError as error:
        raise unavailable(f"{unknown}: {error}") from error


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers={**HEADERS, "Cache-Control": "no-store"})
