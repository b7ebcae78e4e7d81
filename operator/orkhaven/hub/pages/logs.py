"""The log's panel of a run's page: which attempts have one, or why there is none to see. The text itself is fetched by
the page's script from the API, under the same login.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from orkhaven.hub.auth import POD_LOGS
from orkhaven.hub.context import hub_of, storage_trouble
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.views.experiments import AttemptView, ExperimentView
from orkhaven.hub.session import Viewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An attempt that has a log, newest first."""

    attempt: int
    label: str
    failure: str
    """What it died of, as the program said it; empty where it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPanel:
    choices: tuple[Choice, ...]
    without: tuple[int, ...]
    """Attempts that have none."""
    problem: str = ""
    """Why nothing can be shown at all."""
    command: str = ""
    """By which the person sees the API server's own answer."""


async def log_panel(request: Request, viewer: Viewer, xp: ExperimentView) -> LogPanel:
    """Never raises for what is wrong with the log alone: the rest of the page is shown all the same."""
    hub = hub_of(request)
    try:
        await hub.read_auth.require(viewer.authorization, xp.namespace, what=POD_LOGS)
        try:
            found = await asyncio.to_thread(hub.store.logs.attempts, xp.namespace, xp.name)
        except SQLAlchemyError as error:
            raise storage_trouble(error) from error
    except HttpError as error:
        refused = error.status == 403
        return LogPanel(
            choices=(),
            without=(),
            problem="You may not read logs in this namespace." if refused else error.message,
            command=f"kubectl auth can-i get pods/log -n {xp.namespace}" if refused else "",
        )
    # Of a namesake that is gone, none.
    numbers = sorted((one.attempt for one in found if one.uid == xp.uid), reverse=True)
    of_status = {one.number: one for one in xp.attempts}
    return LogPanel(
        choices=tuple(_choice(number, of_status.get(number)) for number in numbers),
        without=_without(numbers, xp.attempts),
        problem="This hub keeps no logs (setting logs)." if hub.collector is None and not numbers else "",
    )


def _choice(number: int, attempt: AttemptView | None) -> Choice:
    reason = attempt.reason if attempt is not None else ""
    return Choice(
        attempt=number,
        label=f"attempt {number}{f', {reason}' if reason else ''}",
        failure=attempt.failure if attempt is not None else "",
    )


def _without(numbers: Sequence[int], attempts: Sequence[AttemptView]) -> tuple[int, ...]:
    return tuple(one.number for one in attempts if one.number not in numbers)
