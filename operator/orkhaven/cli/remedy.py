"""The command line that runs the trials of a cause again, with what that cause asks to be changed."""

from __future__ import annotations

import shlex

from orkhaven.cli.session import Session
from orkhaven.client.kube import Body


def line_for(session: Session, sweep: Body, cluster: Body) -> str:
    words = ["rerun", sweep["metadata"]["name"]]
    words += ["--cluster", cluster["id"]] if cluster.get("id") else ["--reason", cluster["reason"]]
    return session.command(*words, *_changed(sweep, cluster["reason"]))


def _changed(sweep: Body, reason: str) -> list[str]:
    from orkhaven.api.remedy import Change, remedy

    wanted = remedy(reason, (sweep["spec"].get("template") or {}).get("resources") or {})
    value = wanted.value or wanted.example
    match wanted.change:
        case Change.MEMORY | Change.SHARED_MEMORY:
            return ["--set", f"resources.{wanted.change}={value}"]
        case Change.PARAMS:
            return ["--set", shlex.quote(value)]
        case Change.IMAGE:
            return ["--image", shlex.quote(value)]
        case Change.NOTHING:
            return []
