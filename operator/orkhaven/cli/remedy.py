"""The command line that runs the trials of a cause again, with what that cause asks to be changed."""

from __future__ import annotations

import shlex

from orkhaven.cli.session import Session
from orkhaven.client.kube import Body


def line_for(session: Session, sweep: Body, cluster: Body) -> str:
    words = ["rerun", sweep["metadata"]["name"]]
    words += ["--cluster", cluster["id"]] if cluster.get("id") else ["--reason", cluster["reason"]]
    return session.command(*words, *_changed(sweep["spec"].get("template") or {}, cluster["reason"]))


def line_for_run(session: Session, run: Body, sweep: Body | None) -> str:
    """The same for one run: in its place in the sweep, or beside it where it is of none."""
    name, reason = run["metadata"]["name"], str((run.get("status") or {}).get("reason") or "")
    words = ["rerun", sweep["metadata"]["name"], "--name", name] if sweep else ["rerun", name]
    return session.command(*words, *_changed(run["spec"], reason))


def _changed(spec: Body, reason: str) -> list[str]:
    from orkhaven.api.remedy import Change, remedy

    wanted = remedy(reason, spec.get("resources") or {})
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
