"""The command line that runs the trials of a cause again, with what that cause asks to be changed."""

from __future__ import annotations

import shlex

from orkhaven.cli.session import Session
from orkhaven.client.kube import Body


def line_for(session: Session, sweep: Body, cluster: Body) -> str:
    """The command line that runs a cluster's trials again, with what its cause asks to be changed."""
    words = ["rerun", sweep["metadata"]["name"]]
    words += ["--cluster", cluster["id"]] if cluster.get("id") else ["--reason", cluster["reason"]]
    return session.command(*words, *_remedy(sweep, cluster["reason"]))


def _remedy(sweep: Body, reason: str) -> list[str]:
    resources = (sweep["spec"].get("template") or {}).get("resources") or {}
    match reason:
        case "OutOfMemoryKilled":
            return ["--set", f"resources.memory={_doubled(resources.get('memory')) or '32Gi'}"]
        case "SharedMemory":
            return ["--set", f"resources.sharedMemory={_doubled(resources.get('sharedMemory')) or '4Gi'}"]
        case "CudaOutOfMemory":
            return ["--set", shlex.quote("batch_size=<smaller>")]
        case "InvalidParams" | "Diverged":
            return ["--set", shlex.quote("<parameter>=<value>")]
        case "ImportError" | "ImagePull" | "UserException" | "MetricMissing":
            return ["--image", shlex.quote("<mended image>")]
        case _:
            return []


def _doubled(quantity: str | None) -> str | None:
    """ "16Gi" -> "32Gi"; what is no whole number of a unit is left to the person."""
    digits = str(quantity or "").rstrip("KMGTi")
    unit = str(quantity or "")[len(digits) :]
    return f"{int(digits) * 2}{unit}" if digits.isdecimal() and unit else None
