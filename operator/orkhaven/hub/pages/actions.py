"""Changes that a person makes from a page: merge patches of the resource, its deletion (there is no cancelled state to
patch it into), and failed runs made once more; all sent with that person's own token.

The API server decides, and its audit log names the person. A page only offers what a SelfSubjectAccessReview allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from orkhaven.api import GROUP
from orkhaven.api.experiment import rerun_names, rerun_spec
from orkhaven.api.policy import resumed
from orkhaven.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import asked, resource
from orkhaven.hub.pages.render import PageRoute, url
from orkhaven.hub.pages.security import HEADERS, form_of, require_csrf
from orkhaven.hub.pages.views.experiments import again
from orkhaven.hub.query.rows import ExperimentRow
from orkhaven.hub.session import Viewer
from orkrun import contract

MAX_PARALLELISM = 10_000
MAX_SEED = 2**31 - 1
MAX_RERUNS = 100
"""By one click."""
MOST_NAMED = 20
"""Of the list that a rerun leads to; a filter has room for so many names."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a page offers, or why it offers nothing."""

    may: bool
    """Patch it."""
    may_cancel: bool = False
    may_rerun: bool = False
    """Make Experiments in its namespace."""
    command: str = ""
    """By which the person sees the API server's own answer; empty where there is no person."""


async def allowed(request: Request, viewer: Viewer, *, kind: str, namespace: str, name: str) -> Allowed:
    """What this person may do. An API server that does not answer is a no: the page is shown all the same."""
    plural = f"{kind.lower()}s.orkhaven.io"
    token = viewer.token
    if token is None:
        return Allowed(may=False)
    people = hub_of(request).gateway.people()

    async def ask(verb: str, kind: str, name: str) -> bool:
        async def question() -> bool:
            return await people.may(token, verb=verb, kind=kind, namespace=namespace, name=name)

        try:
            return await pages_of(request).rights.get((viewer.csrf, verb, kind, namespace, name), question)
        except ApiError:
            return False

    may, may_cancel, may_rerun = await asyncio.gather(
        ask("patch", kind, name), ask("delete", kind, name), ask("create", "Experiment", "")
    )
    return Allowed(may, may_cancel, may_rerun, command=f"kubectl auth can-i patch {plural}/{name} -n {namespace}")


@router.post("/n/{namespace}/sweeps/{name}/change")
async def change_sweep(request: Request, namespace: Namespace, name: Name) -> Response:
    return await _change(request, "Sweep", namespace, name)


@router.post("/n/{namespace}/experiments/{name}/change")
async def change_experiment(request: Request, namespace: Namespace, name: Name) -> Response:
    return await _change(request, "Experiment", namespace, name)


@router.post("/n/{namespace}/experiments/{name}/again")
async def run_again(request: Request, namespace: Namespace, name: Name) -> Response:
    """The same run under a seed as a run of its own."""
    token, form = await _person(request, namespace)
    old = await resource(hub_of(request), "Experiment", namespace, name)
    body = again(old)
    body["spec"] = rerun_spec(old, {**body["spec"], "seed": _whole(form, "seed", most=MAX_SEED)})
    with answered("Experiment", name, namespace):
        made = await hub_of(request).gateway.people().create(token, "Experiment", namespace, body)
    return _see_other(url("n", namespace, "experiments", made["metadata"]["name"]))


@router.post("/n/{namespace}/sweeps/{name}/rerun")
async def rerun_failed(request: Request, namespace: Namespace, name: Name) -> Response:
    """The failed runs of one cause once more, as Experiments of their own: what `kubectl ork rerun` makes."""
    token, form = await _person(request, namespace)
    hub = hub_of(request)
    with asked():
        rows = await hub.queries.rows(namespace, name)
        taken = dict(hub.queries.catalogue.experiments(namespace))
    chosen = [row for row in rows if row.state == "Failed" and row.reason == form.get("reason")]
    chosen = sorted(chosen, key=lambda row: row.name)[:MAX_RERUNS]
    if not chosen:
        raise HttpError(404, "NotFound", f"No run of {name} has failed by {form.get('reason', '')!r} any more.")
    made: list[str] = []
    for row in chosen:
        new = free_name(row.name, taken)
        if new is None:
            continue  # it is being run again: a second click makes no second run
        old = await resource(hub, "Experiment", namespace, row.name)
        body = {
            "apiVersion": f"{GROUP}/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": new, "namespace": namespace},
            "spec": rerun_spec(old, old["spec"]),
        }
        with answered("Experiment", new, namespace, so_far=f"{len(made)} of {len(chosen)} were made. "):
            await hub.gateway.people().create(token, "Experiment", namespace, body)
        made.append(new)
    if not made:
        raise HttpError(409, "UnderWay", f"All {len(chosen)} of them are being run again already.")
    shown = f"name in ({', '.join(json.dumps(one) for one in made)})" if len(made) <= MOST_NAMED else None
    return _see_other(url("n", namespace, "experiments", filter=shown))


def free_name(name: str, taken: Mapping[str, ExperimentRow]) -> str | None:
    """The first that nobody has; None where an earlier rerun of it has not ended."""
    for candidate in rerun_names(name):
        if candidate not in taken:
            return candidate
        if candidate != name and not taken[candidate].finished:
            break
    return None


async def _person(request: Request, namespace: str) -> tuple[str, dict[str, str]]:
    """The token of whoever changes something, and the form. Raises HttpError."""
    viewer = await viewer_in(request, namespace)
    form = await form_of(request)
    require_csrf(request, pages_of(request).sessions, viewer, form)
    if viewer.token is None:
        raise HttpError(
            403, "NoPerson", "This hub is open to all readers, so it does not know who you are: use kubectl."
        )
    return viewer.token, form


@contextlib.contextmanager
def answered(kind: str, name: str, namespace: str, *, so_far: str = "") -> Iterator[None]:
    """What the API server says to a change, as HttpError."""
    try:
        yield
    except NotFound:
        raise HttpError(404, "NotFound", f"There is no {kind} {name!r} in namespace {namespace!r} any more.") from None
    except Forbidden as error:
        raise HttpError(403, "MayNotChange", f"{so_far}The API server does not let you: {error}") from error
    except Invalid as error:
        raise HttpError(400, "Refused", f"{so_far}The API server refuses the change: {error}") from error
    except (AlreadyExists, Conflict) as error:
        raise HttpError(409, "Conflict", f"{so_far}Somebody was faster: {error}. Load the page again.") from error
    except ApiError as error:
        raise unavailable(f"{so_far}The change may or may not have been made: {error}") from error


async def _change(request: Request, kind: str, namespace: str, name: str) -> Response:
    token, form = await _person(request, namespace)
    cancels = form.get("action") == "cancel"
    body = await resource(hub_of(request), kind, namespace, name)
    now = datetime.fromtimestamp(hub_of(request).clocks.wall(), UTC)
    spec = {} if cancels else spec_of(kind, form, body, now=now)
    uid = body["metadata"]["uid"]
    if form.get("uid", uid) != uid:
        raise HttpError(409, "Replaced", f"This {kind} was deleted and made anew meanwhile: load its page again.")
    people = hub_of(request).gateway.people()
    plural = "sweeps" if kind == "Sweep" else "experiments"
    if not cancels:
        with answered(kind, name, namespace):
            await people.patch(token, kind, namespace, name, {"spec": spec}, uid=uid)
        return _see_other(url("n", namespace, plural, name))
    sweep = (body["metadata"].get("labels") or {}).get(contract.LABEL_SWEEP)
    if kind == "Experiment" and sweep:
        raise HttpError(
            409, "OfASweep", f"This is a trial of sweep {sweep}, which would make it again: suspend it, or cancel that."
        )
    with answered(kind, name, namespace):
        await people.remove(token, kind, namespace, name, uid=uid)
    return _see_other(url("n", namespace, plural))


def _see_other(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers={**HEADERS, "Cache-Control": "no-store"})


def spec_of(kind: str, form: dict[str, str], body: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """What the form changes in the resource as it is now. Raises HttpError 400."""
    match form.get("action"):
        case "suspend":
            return {"suspend": True}
        case "resume":
            return resumed(body.get("status"), now=now)
        case "parallelism" if kind == "Sweep":
            return {"parallelism": _whole(form, "parallelism", most=MAX_PARALLELISM)}
    raise HttpError(400, "UnknownAction", "There is no such action.")


def _whole(form: dict[str, str], field: str, *, most: int) -> int:
    text = form.get(field, "").strip()
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise HttpError(400, f"Bad{field.capitalize()}", f"A {field} is a whole number from 0 to {most}.")
    return int(text)
