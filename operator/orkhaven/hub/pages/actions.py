"""Changes that a person makes from a page: merge patches of the resource, its deletion (there is no cancelled state to
patch it into), and a single run made once more; all sent with that person's own token.

The API server decides, and its audit log names the person. A page only offers what a SelfSubjectAccessReview allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from orkhaven.api.policy import resumed
from orkhaven.api.rerun import Rerun, rerun_id, rerun_spec, with_rerun
from orkhaven.api.rules import problems
from orkhaven.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import resource
from orkhaven.hub.pages.render import PageRoute, url
from orkhaven.hub.pages.security import HEADERS, form_of, require_csrf
from orkhaven.hub.pages.views.experiments import again
from orkhaven.hub.session import Viewer
from orkrun import contract

MAX_PARALLELISM = 10_000
MAX_SEED = 2**31 - 1

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
    """The failed trials of one cause once more, in their places: the entry of spec.rerun that `kubectl ork rerun`
    writes."""
    token, form = await _person(request, namespace)
    body = await resource(hub_of(request), "Sweep", namespace, name)
    entry = entry_of(form, day=datetime.now(UTC).date())
    clusters = (body.get("status") or {}).get("failureClusters") or []
    if not any(form.get("cluster") in (one.get("id"), one.get("reason")) for one in clusters):
        raise HttpError(404, "NotFound", f"No trial of {name} has failed by {form.get('cluster', '')!r} any more.")
    entries = with_rerun(body, entry)
    if entries is None:
        raise HttpError(409, "AskedAlready", f"Rerun {entry['id']} was asked for already: the same is done once a day.")
    version = {"resourceVersion": body["metadata"]["resourceVersion"]}
    with answered("Sweep", name, namespace):
        await (
            hub_of(request)
            .gateway.people()
            .patch(
                token,
                "Sweep",
                namespace,
                name,
                {"metadata": version, "spec": {"rerun": entries}},
                uid=body["metadata"]["uid"],
            )
        )
    return _see_other(url("n", namespace, "sweeps", name) + "#failures")


def entry_of(form: Mapping[str, str], *, day: date) -> dict[str, Any]:
    """What the form asks for. Raises HttpError 400."""
    cluster = form.get("cluster", "")
    overrides: dict[str, Any] = {}
    resources = {name: value for name in ("memory", "sharedMemory") if (value := form.get(name, "").strip())}
    if resources:
        overrides["resources"] = resources
    if params := _assignments(form.get("params", "")):
        overrides["params"] = params
    if image := form.get("image", "").strip():
        overrides["image"] = image
    entry: dict[str, Any] = {"select": {"reasons" if form.get("by") == "reason" else "clusters": [cluster]}}
    if overrides:
        entry["overrides"] = overrides
    if form.get("scratch"):
        entry["fromCheckpoint"] = False
    entry["id"] = rerun_id(entry, day)
    try:
        Rerun.model_validate(entry)
    except ValidationError as error:
        raise HttpError(400, "BadRerun", "; ".join(problems(error))) from error
    return entry


def _assignments(text: str) -> dict[str, Any]:
    """ "batch_size=4 loss.name=dice": values are JSON where they can be, else texts. Raises HttpError 400."""
    found: dict[str, Any] = {}
    for part in text.split():
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise HttpError(400, "BadRerun", f"parameters: {part!r} should be name=value, with a space between two.")
        try:
            found[name] = json.loads(value, parse_constant=str)
        except ValueError:
            found[name] = value
    return found


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
def answered(kind: str, name: str, namespace: str) -> Iterator[None]:
    """What the API server says to a change, as HttpError."""
    try:
        yield
    except NotFound:
        raise HttpError(404, "NotFound", f"There is no {kind} {name!r} in namespace {namespace!r} any more.") from None
    except Forbidden as error:
        raise HttpError(403, "MayNotChange", f"The API server does not let you: {error}") from error
    except Invalid as error:
        raise HttpError(400, "Refused", f"The API server refuses the change: {error}") from error
    except (AlreadyExists, Conflict) as error:
        raise HttpError(409, "Conflict", f"Somebody was faster: {error}. Load the page again.") from error
    except ApiError as error:
        raise unavailable(f"The change may or may not have been made: {error}") from error


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
