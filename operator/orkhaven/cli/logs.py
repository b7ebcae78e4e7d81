"""`logs`: of the pod while that is there, else of what the hub has kept."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator

from orkhaven.cli import find
from orkhaven.cli.session import Session
from orkhaven.client.errors import Invalid, NoHub, NotFound, NoToken, OrkhavenError
from orkhaven.client.kube import Body
from orkhaven.client.wire import segment

NOT_YET = "is waiting to start"
"""What the kubelet says of a container that has no log yet."""


def logs(session: Session, name: str, *, follow: bool, attempt: int | None, grep: str | None, tail: int | None) -> int:
    wanted = _pattern(grep)
    lines = _lines(session, name, follow=follow, attempt=attempt, tail=tail)
    shown = 0
    for line in lines:
        if wanted is None or wanted.search(line):
            sys.stdout.write(_safe(line) + "\n")
            shown += 1
            if follow:
                sys.stdout.flush()
    return 1 if grep is not None and not shown else 0


def _pattern(grep: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(grep) if grep is not None else None
    except re.error as error:
        raise Invalid(f"--grep {grep!r}: {error}; \\ before a special character takes it as it is") from error


def _safe(line: str) -> str:
    """As it is for a file. On a terminal colours stay, and what could move the cursor or retitle the window goes."""
    if not sys.stdout.isatty():
        return line
    return _CONTROL.sub(lambda match: match[0] if match[0].endswith("m") else "", line)


# Colours, other escape sequences (CSI, OSC, single), other control characters but tab and carriage return.
_CONTROL = re.compile(
    r"\x1b\[[0-9;:]*m|\x1b\[[0-?]*[ -/]*[@-~]?|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def _lines(session: Session, name: str, *, follow: bool, attempt: int | None, tail: int | None) -> Iterator[str]:
    try:
        body = find.experiment(session.kube, name)
    except NotFound:
        if attempt is None:
            raise
        return _kept(session, name, attempt, follow=follow, tail=tail)  # the Experiment is gone, its log may be there
    attempts = (body.get("status") or {}).get("attempts") or []
    number = attempt or (attempts[-1]["number"] if attempts else None)
    if number is None:
        raise OrkhavenError(f"{name} has not been started yet", hint=session.command("why", name))
    one = next((entry for entry in attempts if entry["number"] == number), None)
    if one is None and attempts and number > attempts[-1]["number"]:
        raise NotFound(f"{name} has no attempt {number}; the latest is {attempts[-1]['number']}")
    if one is None or not one.get("pod"):
        if follow and one is not None and one.get("endTime") is None:
            return _from_pod(session, name, _pod_of(session, body, number), number, follow=follow, tail=tail)
        return _kept(session, name, number, follow=follow, tail=tail)
    return _from_pod(session, name, one["pod"], number, follow=follow, tail=tail)


def _pod_of(session: Session, body: Body, number: int) -> str:
    """The pod of an attempt that has just been started, once it is known."""
    for latest in session.kube.states(body):
        for entry in (latest.get("status") or {}).get("attempts") or []:
            if entry["number"] == number and entry.get("pod"):
                return str(entry["pod"])
    raise NotFound(f"attempt {number} has no pod")


def _from_pod(
    session: Session,
    name: str,
    pod: str,
    number: int,
    *,
    follow: bool,
    tail: int | None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    while True:
        try:
            yield from session.kube.log(pod, follow=follow, tail=tail)
            return
        except NotFound:
            yield from _kept(session, name, number, follow=follow, tail=tail)
            return
        except Invalid as error:
            if NOT_YET not in str(error):
                raise
            if not follow:
                raise OrkhavenError(
                    f"attempt {number} of {name} has not started: {error}",
                    hint=f"{session.command('logs', name, '-f')} waits; {session.command('why', name)} says more",
                ) from error
            pause(1)


def _kept(session: Session, name: str, attempt: int, *, follow: bool, tail: int | None) -> Iterator[str]:
    path = f"{segment(session.kube.namespace)}/experiments/{segment(name)}/attempts/{attempt}/log"
    try:
        yield from session.hub.lines(path, tail=tail, follow=True if follow else None)
    except (NoHub, NoToken) as error:
        raise type(error)(
            f"the pod of attempt {attempt} is gone, and what the hub has kept cannot be read: {error}", hint=error.hint
        ) from error
