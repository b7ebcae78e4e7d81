"""Which pods have a log that is to be kept: what a Pod says about itself, parsed once. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orkhaven.api import GROUP
from orkhaven.hub.ports import Body
from orkrun import contract

CONTAINER = "trainer"
"""As the operator names it (core.parse.CONTAINER, which the hub must not import; a test compares)."""
SELECTOR = f"{contract.LABEL_MANAGED_BY}={contract.MANAGED_BY}"


class Phase(StrEnum):
    WAITING = "waiting"
    """Its container has not started: there is no log yet."""
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRef:
    """A pod of an attempt."""

    namespace: str
    name: str
    uid: str
    attempt: int
    job: str
    job_uid: str
    container: str
    phase: Phase
    exit_code: int | None = None


def pod_of(body: Body) -> PodRef | None:
    """None for a pod that is none of Orkhaven's: no number of an attempt, no Job."""
    meta = body["metadata"]
    number = (meta.get("labels") or {}).get(contract.LABEL_ATTEMPT, "")
    job = controller(body, kind="Job", group="batch")
    if job is None or not number.isdigit() or not 1 <= int(number) < 2**31:
        return None
    status = body.get("status") or {}
    states = {one.get("name"): one.get("state") or {} for one in status.get("containerStatuses") or []}
    names = [one["name"] for one in (body.get("spec") or {}).get("containers") or []] or [CONTAINER]
    # A service mesh may have put its own container first.
    container = CONTAINER if CONTAINER in names else names[0]
    state = states.get(container, {})
    phase, exit_code = Phase.WAITING, None
    if "terminated" in state:
        phase, exit_code = Phase.ENDED, state["terminated"].get("exitCode")
    elif "running" in state:
        phase = Phase.RUNNING
    return PodRef(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        attempt=int(number),
        job=job["name"],
        job_uid=job["uid"],
        container=container,
        phase=phase,
        exit_code=exit_code,
    )


def experiment_of(job: Body) -> tuple[str, str] | None:
    """Name and uid of the Experiment that a Job belongs to."""
    ref = controller(job, kind="Experiment", group=GROUP)
    return None if ref is None else (ref["name"], ref["uid"])


def controller(body: Body, *, kind: str, group: str) -> Body | None:
    """The controlling owner reference, where it is of that kind."""
    for ref in body["metadata"].get("ownerReferences") or []:
        if ref.get("controller") and ref.get("kind") == kind and str(ref.get("apiVersion")).partition("/")[0] == group:
            return dict(ref)
    return None
