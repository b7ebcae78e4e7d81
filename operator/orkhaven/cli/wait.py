"""`wait`: until a sweep or a run has ended, or another condition holds."""

from __future__ import annotations

from orkhaven.cli import find
from orkhaven.cli.session import Session
from orkhaven.client.errors import Invalid
from orkhaven.client.waiting import finished, holds, line, until


def wait(session: Session, name: str, *, condition: str, timeout: str) -> int:
    condition = condition.removeprefix("condition=")
    body = until(
        session.kube,
        find.either(session.kube, name),
        lambda one: holds(one, condition),
        seconds=duration(timeout),
        what=f"{condition} of {name}",
    )
    print(line(body))
    return find.exit_code(body) if finished(body) else 0


def duration(text: str) -> float | None:
    """Seconds of "90s", "1h30m", a number alone; None for 0: no limit. Raises Invalid."""
    from orkhaven.api.meta import parse_duration

    if text.isdigit():
        return float(text) or None
    try:
        return parse_duration(text).total_seconds() or None
    except ValueError as error:
        raise Invalid(f"--timeout: {error}") from error
