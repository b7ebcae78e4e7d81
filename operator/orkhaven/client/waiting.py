"""What a resource's conditions say, and waiting for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from orkhaven.client.errors import OrkhavenError, TimedOut
from orkhaven.client.kube import Body, Kube


def condition(body: Body, kind: str) -> dict[str, Any]:
    """One of its conditions; empty where it is not there."""
    found: list[dict[str, Any]] = (body.get("status") or {}).get("conditions") or []
    return next((one for one in found if one.get("type") == kind), {})


def finished(body: Body) -> bool:
    """Whether it has ended. A Sweep whose spec the operator has not looked at yet has not: a rerun that was just asked
    for opens it again, and whoever waits means that too.
    """
    if condition(body, "Finished").get("status") != "True":
        return False
    return body.get("kind") != "Sweep" or not _unseen(body)


def _unseen(body: Body) -> bool:
    seen = (body.get("status") or {}).get("observedGeneration")
    return seen is not None and seen < body["metadata"].get("generation", seen)


def holds(body: Body, kind: str) -> bool:
    """Whether the condition is True. Raises OrkhavenError where it cannot come true any more."""
    if kind == "Finished":
        return finished(body)
    if condition(body, kind).get("status") == "True":
        return True
    if finished(body):
        state = (body.get("status") or {}).get("state")
        raise OrkhavenError(f"{body['metadata']['name']} has ended ({state}): it will not be {kind} any more")
    return False


def until(kube: Kube, body: Body, true: Callable[[Body], bool], *, seconds: float | None, what: str) -> Body:
    """The object once that is so. Raises TimedOut, NotFound where it is deleted."""
    if true(body):
        return body
    deadline = None if seconds is None else time.monotonic() + seconds
    for latest in _changes(kube, body, deadline):
        if latest is None:
            break
        body = latest
        if true(body):
            return body
    raise TimedOut(f"{what}: not within {seconds:g} s; now: {line(body)}")


def _changes(kube: Kube, body: Body, deadline: float | None) -> Iterator[Body | None]:
    """What `states` gives, and None at the deadline: a read of a socket cannot be told when to give up."""
    if deadline is None:
        yield from kube.states(body)
        return
    changes: queue.Queue[Body | Exception] = queue.Queue()
    over = threading.Event()

    def read() -> None:
        try:
            for latest in kube.states(body):
                changes.put(latest)
                if over.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            changes.put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                latest = changes.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                yield None
                return
            if isinstance(latest, Exception):
                raise latest
            yield latest
    finally:
        over.set()


def line(body: Body) -> str:
    """What it has come to, in a line."""
    status = body.get("status") or {}
    said = f"{body['metadata']['name']}: {status.get('state') or 'Pending'}"
    if body["kind"] == "Sweep":
        trials, best = status.get("trials") or {}, status.get("best")
        said += f" {status['progress']}" if status.get("progress") else ""
        said += f", {trials.get('running', 0)} running, {trials.get('failed', 0)} failed"
        return said + (f", best {best['value']:.5g} by {best['experiment']}" if best else "")
    if status.get("reason") not in (None, "Completed"):
        said += f", {status['reason']}: {status.get('message') or ''}".rstrip(": ")
    objective = status.get("objective")
    return said + (f", {objective['value']:.5g} at step {objective['step']}" if objective else "")
