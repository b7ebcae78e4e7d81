"""Routes for whoever runs the hub: probes, Prometheus, the API's description."""

from __future__ import annotations

import asyncio
import html
import re
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import HTMLResponse, JSONResponse, Response

from orkhaven.hub.context import hub_of, storage_trouble
from orkhaven.hub.errors import unavailable

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """Alive: the writer's thread runs. Nothing that a restart would not mend."""
    if not hub_of(request).writer.is_alive:
        return unavailable("the writer's thread has ended").response()
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Ready: the store answers."""
    try:
        await asyncio.to_thread(hub_of(request).store.reader.ping)
    except SQLAlchemyError as error:
        return storage_trouble(error).response()
    return JSONResponse({"status": "ok"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    hub = hub_of(request)
    hub.telemetry.pending_points.set(hub.writer.pending_points)
    hub.telemetry.status_waiting.set(hub.flusher.waiting)
    if hub.collector is not None:
        hub.telemetry.logs_followed.set(hub.collector.following)
    return Response(generate_latest(hub.telemetry.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as a page. Written here, because FastAPI's own loads its program from a CDN."""
    return HTMLResponse(
        render(request.app.openapi()),
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"},
    )


_STYLE = """ :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; } body { max-width: 60rem; margin:
2rem auto; padding: 0 1rem; } h2 { font: 600 1rem/1.4 ui-monospace, monospace; margin-top: 2.5rem; overflow-wrap:
anywhere; } table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top; padding:
.2rem .8rem .2rem 0; } code { font-family: ui-monospace, monospace; }
"""


def render(document: dict[str, Any]) -> str:
    """One HTML page, complete in itself."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{_text(info['title'])}</title><style>{_STYLE}</style><main>",
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1>",
        f"<p>{_text(info.get('description', ''))}</p><p>For programs: <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<section><h2>{_text(method.upper())} {_text(path)}</h2>")
            parts.append(f"<p>{_prose(operation)}</p>")
            parts.append(_table(operation.get("parameters", [])))
            answers = "; ".join(
                f"{code} {answer.get('description', '')}" for code, answer in operation["responses"].items()
            )
            parts.append(f"<p>Answers: {_text(answers)}</p></section>")
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        parts.append(f"<section><h2>{_text(name)}</h2><p>{_prose(schema)}</p><table>")
        for field, about in schema.get("properties", {}).items():
            parts.append(f"<tr><td><code>{_text(field)}</code><td>{_type(about)}<td>{_prose(about)}")
        parts.append("</table></section>")
    return "".join([*parts, "</main></html>"])


def _table(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = [
        f"<tr><td><code>{_text(one['name'])}</code><td>{_text(one['in'])}"
        f"<td>{'required' if one.get('required') else 'default ' + str(one['schema'].get('default', 'none'))}"
        f"<td>{_prose(one if 'description' in one else one['schema'])}"
        for one in parameters
    ]
    return f"<table>{''.join(rows)}</table>"


def _type(schema: dict[str, Any]) -> str:
    """What JSON Schema says of a field's type, in few words: `string`, `integer or null`, `list of MetricItem`."""
    if "$ref" in schema:
        return _text(schema["$ref"].rsplit("/", 1)[-1])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _text(schema.get("type", "any"))


def _prose(about: dict[str, Any]) -> str:
    """A description (or summary), its `code` marked as such."""
    text = _text(about.get("description", about.get("summary", "")))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


def _text(value: Any) -> str:
    return html.escape(str(value))
