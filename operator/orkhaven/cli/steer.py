"""`suspend`, `resume`, `cancel`: ordinary patches of the resources, with the user's own rights."""

from __future__ import annotations

import sys

from orkhaven.cli import find
from orkhaven.cli.session import MANAGER, Session
from orkhaven.client.errors import Invalid, NotFound
from orkhaven.client.kube import Body, Kube
from orkhaven.client.waiting import finished


def suspend(session: Session, name: str, *, held: bool) -> int:
    from orkhaven.api.policy import STOPPED_ON_CLUSTER, held_reason, resumed

    kube = session.kube
    body = find.either(kube, name)
    label, verb = _label(body), "suspended" if held else "resumed"
    if not held and (body.get("status") or {}).get("state") == "Pruned":
        kube.patch(
            "Experiment",
            body["metadata"]["name"],
            {"spec": resumed(body["status"], now=session.now)},
            manager=MANAGER,
        )
        print(f"{label} resumed: it goes on from its checkpoint, and is judged again at the next rung")
        return 0
    if finished(body):
        print(f"{label} has ended: there is nothing to {'suspend' if held else 'resume'}", file=sys.stderr)
        return 1
    status = body.get("status")
    if bool(body["spec"].get("suspend")) == held and (held or not held_reason(status)):
        print(f"{label} is {verb} already")
        return 0
    spec = {"suspend": True} if held else resumed(status, now=session.now)
    kube.patch(body["kind"], body["metadata"]["name"], {"spec": spec}, manager=MANAGER)
    how = ", without waiting for its canary" if "canary" in spec else ""
    if not held and held_reason(status) == STOPPED_ON_CLUSTER:
        how = ": what has failed so far does not count any more towards failurePolicy.stopOnCluster"
    print(f"{label} {verb}{how}")
    sweep = _held_by(kube, body) if not held else None
    if sweep:
        print(f"note: sweep/{sweep} itself is suspended, and will suspend it again: resume that", file=sys.stderr)
    return 0


def _held_by(kube: Kube, body: Body) -> str | None:
    """The Sweep of a trial, where that is suspended."""
    sweep = _sweep_of(body)
    if sweep is None:
        return None
    try:
        owner = kube.get("Sweep", sweep)
    except NotFound:
        return None
    return sweep if owner["spec"].get("suspend") else None


def cancel(session: Session, name: str, *, yes: bool) -> int:
    """There is no cancelled state to patch a resource into: what is to end for good is deleted."""
    kube = session.kube
    body = find.either(kube, name)
    label, sweep = _label(body), _sweep_of(body)
    if sweep is not None and not finished(body):
        raise Invalid(
            f"{label} is a trial of sweep/{sweep}, which would make it again",
            hint=f"{session.command('suspend', name)} stops it, {session.command('cancel', sweep)} ends the sweep",
        )
    trials = ((body.get("status") or {}).get("trials") or {}).get("created", 0)
    with_it = f" with its {trials} Experiments" if trials else ""
    if not yes:
        if not sys.stdin.isatty():
            raise Invalid(f"this would delete {label}{with_it}", hint="--yes says that this is meant")
        print(f"This deletes {label}{with_it}: running trials end, the GPUs are free at once.")
        print("Files on the output volume and what the hub has kept stay.")
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was done")
            return 1
    kube.delete(body["kind"], body["metadata"]["name"], uid=body["metadata"]["uid"])
    print(f"{label} cancelled{with_it}")
    return 0


def _label(body: Body) -> str:
    return f"{body['kind'].lower()}/{body['metadata']['name']}"


def _sweep_of(body: Body) -> str | None:
    owners = body["metadata"].get("ownerReferences") or []
    return next((owner["name"] for owner in owners if owner.get("controller") and owner["kind"] == "Sweep"), None)
