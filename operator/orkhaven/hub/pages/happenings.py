"""Kubernetes Events on a run's page, asked for with the person's own token: what `kubectl get events` would show them,
and the hub itself needs no right to any.
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from orkhaven.errors import ApiError, Forbidden
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import resource
from orkhaven.hub.pages.render import PageRoute, page
from orkhaven.hub.pages.views.happenings import event_views, objects_of
from orkhaven.hub.ports import Body

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/n/{namespace}/experiments/{name}/happenings")
async def happenings(request: Request, namespace: Namespace, name: Name) -> Response:
    viewer = await viewer_in(request, namespace)
    hub = hub_of(request)
    body = await resource(hub, "Experiment", namespace, name)
    events: list[Body] = []
    problem = command = ""
    if viewer.token is None:
        problem = "This hub is open to all readers, so it does not know whether you may list Events: use kubectl."
        command = f"kubectl get events -n {namespace}"
    else:
        token = viewer.token

        async def ask() -> list[Body]:
            people = hub.gateway.people()
            found = await asyncio.gather(
                *(people.events_of(token, namespace, kind=kind, name=name) for kind, name in objects_of(body))
            )
            return [event for of_one in found for event in of_one]

        try:
            # A page is told of each change of its sweep; Events are looked for less often.
            events = await pages_of(request).happenings.get((viewer.csrf, namespace, body["metadata"]["uid"]), ask)
        except Forbidden:
            problem = "You may not list Events in this namespace."
            command = f"kubectl auth can-i list events -n {namespace}"
        except ApiError as error:
            problem = f"The API server did not answer: {error}"
    return page(
        request,
        "experiment_happenings.html",
        viewer=viewer,
        namespace=namespace,
        happenings=event_views(events),
        problem=problem,
        command=command,
    )
