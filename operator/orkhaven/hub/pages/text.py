"""Values as people read them: numbers, times, lengths of time, states. Pure; templates use them as filters."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

import yaml

NONE = "–"
"""Stands where there is no value."""

_STATES = {
    "Running": "running",
    "Starting": "running",
    "Succeeded": "good",
    "Failed": "bad",
    "Suspended": "held",
    "Skipped": "held",
    "Pruned": "held",
    "Queued": "waiting",
    "Pending": "waiting",
}


def number(value: Any, digits: int = 5) -> str:
    """A measured number in few characters; NaN and the infinities by name."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else f"{value:.{digits}g}"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return f"{value:.{digits}g}"


def parameter(value: Any) -> str:
    """A parameter in a cell: text as it is, all else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, ensure_ascii=False)


def parse_time(text: Any) -> datetime | None:
    """A Kubernetes timestamp."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def span(seconds: float | None) -> str:
    """A length of time in its two largest units, as kubectl says it: 3d4h, 5m10s."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount}{unit}" if amount else "")
        if len(parts) == 2:
            break
    return "".join(parts) or "0s"


def hours(value: float | None) -> str:
    """GPU-hours."""
    if not value:
        return "0"
    return f"{value:.1f}" if value >= 0.1 else f"{value:.3f}"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves a whole part, as `ls -h` says it."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole > 0 else 0.0


def tone(state: str | None) -> str:
    """The colour class of a state; the word itself always stands beside it."""
    return _STATES.get(state or "", "waiting")


def as_yaml(body: Any) -> str:
    """A resource as kubectl would print it, without its managed fields."""
    if isinstance(body, dict) and isinstance(body.get("metadata"), dict):
        body = {**body, "metadata": {k: v for k, v in body["metadata"].items() if k != "managedFields"}}
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=100)
