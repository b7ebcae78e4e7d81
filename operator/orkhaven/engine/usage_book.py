"""What deleted Experiments have used of the GPUs, kept in a ConfigMap over restarts of the operator.

What is in the cluster says itself what it has used; of what was deleted nobody would know, and whoever removes finished
sweeps would be first in line after each restart. The chart makes the ConfigMap; where there is none, only what this
process has seen counts. Written at most once a minute, and only after a deletion.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orkhaven.core.queue.usage import Usage, Who
from orkhaven.core.views import Key
from orkhaven.engine.ports import Body, Clock, Gateway
from orkhaven.errors import ApiError, Forbidden, LeaseLost, NotFound
from orkhaven.logs import about

log = logging.getLogger(__name__)

DATA = "usage.json"
MOST = 5000
"""Pairs of namespace and user that are kept, the largest: an object may have a megabyte."""
LEAST = 1.0
"""GPU-seconds, as they count now: less is not kept."""


class UsageBook:
    """One per engine. Whoever leads writes; who stands by reads now and then, as it may lead next."""

    def __init__(self, usage: Usage, gateway: Gateway, *, clock: Clock, config_map: Key) -> None:
        self._usage = usage
        self._gateway = gateway
        self._clock = clock
        self._where = config_map
        self._uid: str | None = None
        """Of the ConfigMap, once it was read."""
        self._complained = False

    async def read(self) -> None:
        """What another process has written, before anything is decided. What cannot be read now is read before the next
        write. Raises nothing."""
        try:
            body = await self._gateway.get("ConfigMap", *self._where)
        except ApiError as error:
            self._uid = None
            if isinstance(error, NotFound | Forbidden):
                # Nobody has kept anything either: this process alone remembers, as a sum and not one by one.
                self._usage.recorded(self._clock.now())
            self._complain("what deleted runs have used is not known from before", error)
            return
        self._uid = body["metadata"]["uid"]
        found = _parsed(body, self._where, now=self._clock.now())
        if found is not None:
            self._usage.remember(*found)

    async def write(self) -> None:
        """If something was deleted since. Raises LeaseLost alone."""
        if self._usage.has_news and self._uid is None:
            await self.read()
        if not self._usage.has_news or self._uid is None:
            return
        now = self._clock.now()
        change = {"data": {DATA: _text(self._usage.of_deleted(now), now)}}
        try:
            await self._gateway.patch("ConfigMap", *self._where, change, uid=self._uid)
        except LeaseLost:
            raise
        except ApiError as error:
            self._uid = None  # another one may have its name
            self._complain("what deleted runs have used is not kept", error)
            return
        self._usage.recorded(now)
        self._complained = False

    def _complain(self, what: str, error: ApiError) -> None:
        if not self._complained:
            level = logging.INFO if isinstance(error, NotFound) else logging.WARNING
            log.log(level, what, extra=about("ConfigMap", *self._where, error=str(error)))
        self._complained = True


def _text(deleted: Mapping[Who, float], now: datetime) -> str:
    largest = sorted(((amount, who) for who, amount in deleted.items() if amount >= LEAST), reverse=True)[:MOST]
    seconds = {f"{namespace}/{user}": round(amount) for amount, (namespace, user) in largest}
    return json.dumps({"at": now.isoformat(), "gpuSeconds": seconds})


def _parsed(body: Body, where: Key, *, now: datetime) -> tuple[dict[Who, float], datetime] | None:
    """What it says, and of when; None: nothing. That it cannot be read is said in the log."""
    text = (body.get("data") or {}).get(DATA)
    if text is None:
        return None
    try:
        raw = json.loads(text)
        at = datetime.fromisoformat(raw["at"])
        if at.tzinfo is None:
            raise ValueError(f"at: {raw['at']} has no time zone")
        found = {_who(name): _seconds(amount) for name, amount in raw["gpuSeconds"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        log.warning(
            f"data[{DATA}] cannot be read, and is written anew after the next deletion",
            extra=about("ConfigMap", *where, error=f"{type(error).__name__}: {error}"),
        )
        return None
    # A clock may have been put back meanwhile.
    return found, min(at, now)


def _who(name: str) -> Who:
    namespace, _, user = name.partition("/")
    return namespace, user


def _seconds(amount: Any) -> float:
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not math.isfinite(amount) or amount < 0:
        raise ValueError(f"gpuSeconds: {amount!r} is no number of seconds")
    return float(amount)
