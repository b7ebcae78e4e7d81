"""Where the pages' resources come from, with errors that a page can show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from orkhaven.errors import ApiError, NotFound
from orkhaven.hub.context import Hub, storage_trouble
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.ports import Body
from orkhaven.hub.query.catalogue import NotSynced
from orkhaven.hub.query.leaderboard import ParameterError
from orkhaven.hub.query.service import Unknown


@contextlib.contextmanager
def asked() -> Iterator[None]:
    """What `Queries` raises, as HttpError 400, 404 or 503."""
    try:
        yield
    except Unknown as error:
        raise HttpError(404, "NotFound", f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    except ParameterError as error:
        raise HttpError(400, "InvalidParameter", error.message, where=error.parameter) from None
    except NotSynced as error:
        raise unavailable(str(error)) from None
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error


async def resource(hub: Hub, kind: str, namespace: str, name: str) -> Body:
    """The whole resource, which the cache does not keep. Raises HttpError 404 or 503."""
    try:
        return await hub.gateway.get(kind, namespace, name)
    except NotFound:
        raise HttpError(404, "NotFound", f"There is no {kind} {name!r} in namespace {namespace!r}.") from None
    except ApiError as error:
        raise unavailable(f"the API server did not answer: {error}") from error
