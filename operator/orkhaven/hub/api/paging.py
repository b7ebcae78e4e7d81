"""Pages by keyset: a cursor says after which row the next page begins, so that rows that come or go move no other."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from orkhaven.hub.errors import HttpError

T = TypeVar("T")
Key = tuple[int | float | str, ...]


def page(rows: Sequence[T], *, key: Callable[[T], Key], limit: int, cursor: str | None) -> tuple[list[T], str | None]:
    """The page's rows in order of `key`, and the next page's cursor. Raises HttpError 400 for a cursor of another
    list.
    """
    ordered = sorted(rows, key=key)
    if cursor is not None:
        after = _decode(cursor)
        try:
            ordered = [row for row in ordered if key(row) > after]
        except TypeError:
            raise _bad_cursor() from None
    shown = ordered[:limit]
    more = len(ordered) > limit
    return shown, _encode(key(shown[-1])) if more and shown else None


def _encode(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[Any, ...]:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise _bad_cursor() from None
    if not isinstance(key, list):
        raise _bad_cursor()
    return tuple(key)


def _bad_cursor() -> HttpError:
    return HttpError(400, "BadCursor", "use `next` of an earlier answer of the same list", where="query cursor")
