"""`wait`: until a sweep or a run has ended, or another condition holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from orkhaven.cli import find
from orkhaven.cli.session import Session
from orkhaven.cli.status import line as sweep_line
from orkhaven.client.errors import Invalid, NotFound, OrkhavenError, TimedOut
from orkhaven.client.kube import Body, Kube


def wait(session: Session, name: str, *, condition: str, timeout: str) -> int:
    condition = condition.removeprefix("condition=")
    seconds = duration(timeout)
    body = until(
        session.kube,
        find.either(session.kube, name),
        lambda one: holds(one, condition),
        seconds=seconds,
        what=f"{condition} of {name}",
    )
    print(line(body))
    return find.exit_code(body) if find.finished(body) else 0


def holds(body: Body, condition: str) -> bool:
    """Raises OrkhavenError where it cannot come true any more."""
    if find.condition(body, condition).get("status") == "True":
        return True
    if find.finished(body):
        state = (body.get("status") or {}).get("state")
        raise OrkhavenError(f"{body['metadata']['name']} has ended ({state}): it will not be {condition} any more")
    return False


def line(body: Body) -> str:
    """What it has come to."""
    if body["kind"] == "Sweep":
        return sweep_line(body)
    status = body.get("status") or {}
    text = f"{body['metadata']['name']}: {status.get('state') or 'Pending'}"
    if status.get("reason") not in (None, "Completed"):
        text += f", {status['reason']}: {status.get('message') or ''}".rstrip(": ")
    objective = status.get("objective")
    return text + (f", {objective['value']:.5g} at step {objective['step']}" if objective else "")


def until(
    kube: Kube, body: Body, true: Callable[[Body], bool], *, seconds: float | None, what: str
) -> Body:
    """The object once that is so. Raises TimedOut, NotFound where it is deleted."""
    if true(body):
        return body
    deadline = None if seconds is None else time.monotonic() + seconds
    for latest in _changes(kube, body, deadline):
        if latest is None:
            raise TimedOut(f"{what}: not within {seconds:g} s; now: {line(body)}")
        body = latest
        if true(body):
            return body
    raise NotFound(f"{what}: the watch has ended")  # states() never ends by itself


def _changes(kube: Kube, body: Body, deadline: float | None) -> Iterator[Body | None]:
    """What `states` gives, and None at the deadline: a read of a socket cannot be told when to give up."""
    if deadline is None:
        yield from kube.states(body)
        return
    import queue

    changes: queue.Queue[Body | BaseException] = queue.Queue()

    def read() -> None:
        try:
            for latest in kube.states(body):
                changes.put(latest)
        except Exception as error:
            changes.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            latest = changes.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            yield None
            return
        if isinstance(latest, BaseException):
            raise latest
        yield latest


def duration(text: str) -> float | None:
    """Seconds of "90s", "1h30m", a number alone; None for 0: no limit. Raises Invalid."""
    from orkhaven.api.meta import parse_duration

    if text.isdigit():
        return float(text) or None
    try:
        return parse_duration(text).total_seconds() or None
    except ValueError as error:
        raise Invalid(f"--timeout: {error}") from error


