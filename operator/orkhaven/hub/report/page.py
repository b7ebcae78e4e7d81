"""A sweep's report as HTML: one file, nothing fetched, and a policy inside it that lets only its own scripts run."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from typing import Any

from fastapi import Request
from markupsafe import Markup

from orkhaven import __version__
from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.context import pages_of
from orkhaven.hub.pages.data import asked, resource
from orkhaven.hub.pages.importance import Importance, importance_of
from orkhaven.hub.pages.render import environment
from orkhaven.hub.pages.views.sweeps import sweep_view
from orkhaven.hub.query.rows import flatten
from orkhaven.hub.report import bundle
from orkhaven.hub.report.content import MAX_FAILED, MAX_ROWS, content_of

NO_IMPORTANCE = "It could not be computed when the report was made"


async def report_of(request: Request, namespace: str, name: str) -> bytes:
    """Whoever calls has checked the reader's rights. Raises HttpError 404 or 503."""
    hub, pages = hub_of(request), pages_of(request)
    now = pages.now()
    with asked():
        row = hub.queries.sweep(namespace, name)
    body = await resource(hub, "Sweep", namespace, name)
    with asked():
        content = await content_of(hub.queries, row, now=now.timestamp())
    try:
        importance = await importance_of(request, namespace, name)
    except HttpError as error:
        importance = Importance(
            shares=(), trials=0, completed=0, left_out=(), why_none=f"{NO_IMPORTANCE}: {error.message}"
        )
    values: dict[str, Any] = {
        "sweep": sweep_view(row, now=now),
        "content": content,
        "found": importance,
        "failures": row.status.get("failureClusters") or [],
        "searched": (body.get("spec") or {}).get("parameters") or [],
        "shared": sorted(flatten(((body.get("spec") or {}).get("template") or {}).get("params") or {}).items()),
        "body": body,
        "made": now.strftime("%Y-%m-%d %H:%M UTC"),
        "max_rows": MAX_ROWS,
        "max_failed": MAX_FAILED,
    }
    # A second of work with 10,000 trials: metrics are taken in meanwhile.
    return await asyncio.to_thread(render, values)


def render(values: dict[str, Any]) -> bytes:
    parts = {"styles": bundle.styles(), "library": bundle.library(), "script": bundle.script()}
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; "
        f"style-src {_hash(parts['styles'])}; script-src {_hash(parts['library'])} {_hash(parts['script'])}"
    )
    html = (
        environment()
        .get_template("report.html")
        .render(
            **values,
            version=__version__,
            policy=policy,
            data=Markup(json_in_html(values["content"].data)),
            # Our own files, and checked not to end their elements.
            **{name: Markup(text) for name, text in parts.items()},
        )
    )
    return html.encode()


def json_in_html(value: Any) -> str:
    """JSON that can stand in a script element: no text in it, whatever it is, ends that or begins a comment."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
