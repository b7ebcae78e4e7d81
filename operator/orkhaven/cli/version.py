"""`version`: of this program, the cluster, the operator and the hub. Asks each, and says where it could not."""

from __future__ import annotations

from typing import Any

from orkhaven import __version__
from orkhaven.cli.output import Column, Format, View, emit
from orkhaven.cli.session import Session


def version(session: Session, *, client: bool) -> int:
    rows: list[dict[str, Any]] = [{"part": "client", "version": __version__, "note": None}]
    if not client:
        rows += [_of("kubernetes", lambda: _kubernetes(session)), _of("operator", lambda: _operator(session))]
        rows.append(_of("hub", lambda: session.hub.version()))
    data = {row["part"]: row["version"] for row in rows}
    columns = [Column("PART", "part"), Column("VERSION", "version")]
    if any(row["note"] for row in rows):
        columns.append(Column("NOTE", "note"))
    emit(View(columns, rows, data=data), session.output)
    if session.output is Format.TABLE:
        _warn(data)
    return 0


def _of(part: str, ask: Any) -> dict[str, Any]:
    from orkhaven.client.errors import OrkhavenError

    try:
        return {"part": part, "version": ask(), "note": None}
    except OrkhavenError as error:
        return {"part": part, "version": None, "note": str(error)}


def _kubernetes(session: Session) -> str:
    return str(session.kube.raw("/version")["gitVersion"])


def _operator(session: Session) -> str:
    """The label of its Deployment; before that: are the CRDs there at all?"""
    from orkhaven.client.errors import NotFound

    session.kube.names("Sweep")
    namespace = _system(session)
    labels = "app.kubernetes.io/name=orkhaven,app.kubernetes.io/component=operator"
    for body in session.kube.each("Deployment", namespace=namespace, labels=labels):
        ready = (body.get("status") or {}).get("readyReplicas", 0)
        found = (body["metadata"].get("labels") or {}).get("app.kubernetes.io/version", "unknown")
        return f"{found}" if ready else f"{found} (no replica is ready)"
    raise NotFound(f"no operator in namespace {namespace}")


def _system(session: Session) -> str:
    """The namespace of the hub's Service, where the operator is too."""
    import os

    from orkhaven.client.hub import DEFAULT, ENV_HUB, Place

    place = Place.parse(session.place or os.environ.get(ENV_HUB) or DEFAULT)
    return place.namespace or Place.parse(DEFAULT).namespace


def _warn(data: dict[str, str | None]) -> None:
    import sys

    for part in ("operator", "hub"):
        other = (data.get(part) or "").partition(" ")[0]
        if other and other.split(".")[:2] != __version__.split(".")[:2]:
            print(f"note: client {__version__} and {part} {other} differ: install the same version", file=sys.stderr)
