"""What makes two parameter sets the same question and two runs the same run: canonical JSON, hashes, names.

Canonical JSON follows RFC 8785 (JCS): keys sorted by UTF-16 code units, numbers as ECMAScript writes them, so that 1
and 1.0 are one value and "1" another. One deviation, to lose nothing: an integer above 2^53, where doubles have gaps,
is written in full.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Container, Iterable, Mapping
from typing import Any

from orkhaven.api.container import DataVolume
from orkhaven.api.experiment import Dedupe, Objective

NAME_DIGITS = 10
LABEL_DIGITS = 16

_EXACT = 2**53
"""Up to here every integer is a double of its own."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPES |= {chr(code): f"\\u{code:04x}" for code in range(0x20) if chr(code) not in _ESCAPES}
_TABLE = str.maketrans(_ESCAPES)


def canonical_json(value: Any) -> bytes:
    """`value` as RFC 8785 JSON in UTF-8.

    Raises ValueError for what JSON cannot say: NaN, infinities, lone surrogates, keys that are no strings, other types.
    """
    parts: list[str] = []
    _write(value, parts)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"a text with a lone surrogate has no canonical form: {error}") from error


def _write(value: Any, parts: list[str]) -> None:
    if value is None or isinstance(value, bool):
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, str):
        parts.append(f'"{value.translate(_TABLE)}"')
    elif isinstance(value, int):
        parts.append(_integer(value))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError(f"keys have to be texts: {list(value)!r}")
        parts.append("{")
        for position, key in enumerate(sorted(value, key=_utf16)):
            parts.append("," if position else "")
            _write(key, parts)
            parts.append(":")
            _write(value[key], parts)
        parts.append("}")
    elif isinstance(value, list | tuple):
        parts.append("[")
        for position, item in enumerate(value):
            parts.append("," if position else "")
            _write(item, parts)
        parts.append("]")
    else:
        raise ValueError(f"a {type(value).__name__} has no JSON form")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _integer(value: int) -> str:
    return _number(float(value)) if abs(value) <= _EXACT else str(value)


def _number(value: float) -> str:
    """As ECMAScript's Number::toString: the shortest digits that read back, which are those of Python's repr."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no JSON form")
    if value == 0:
        return "0"  # -0 too
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    # value = 0.digits * 10**point
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits. Raises ValueError like `canonical_json`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def param_hash(params: Mapping[str, Any]) -> str:
    """The same question: parameters alone."""
    return digest(params)


def run_hash(
    *, params: Mapping[str, Any], seed: int, image: str, command: Iterable[str], data: Iterable[DataVolume]
) -> str:
    """The same run: parameters, seed, image, command and the data it sees. Names its output folder."""
    volumes = [
        {"name": volume.name, "claim": volume.claim, "subPath": volume.sub_path, "mountPath": volume.mount_path}
        for volume in data
    ]
    return digest({"params": params, "seed": seed, "image": image, "command": list(command), "data": volumes})


def dedupe_by(image: str) -> Dedupe:
    """What becomes of identical runs where no spec says it: as imagePullPolicy's default, and for the same reason."""
    return Dedupe.NEVER if is_moving(image) else Dedupe.REUSE


def is_moving(image: str) -> bool:
    """Whether the name may stand for another image tomorrow: tag latest or none, and no digest."""
    if "@" in image:
        return False
    _, _, tag = image.rpartition("/")[2].partition(":")
    return tag in ("", "latest")


def judged_alike(theirs: Objective | None, mine: Objective | None) -> bool:
    """Whether what an identical run has reached by `theirs` answers one that is judged by `mine`."""
    if mine is None:
        return True
    return theirs is not None and (theirs.metric, theirs.direction) == (mine.metric, mine.direction)


def seed_of_repeat(first: int, repeat: int) -> int:
    """The seed of a combination's repeat, counted from 0. Seeds are 0 to 2^31 - 1; after the last comes the first."""
    return (first + repeat) % 2**31


def child_name(sweep: str, *, params: Mapping[str, Any], seed: int, taken: Container[str] = ()) -> str:
    """The name of a sweep's trial: by what it is, so that it is the same whoever computes it, however often.

    `taken`: names that other trials hold. At 10,000 trials one in 20,000 sweeps has two whose first digits agree; the
    later one takes its next digits.
    """
    full = digest({"params": params, "seed": seed})
    names = (f"{sweep}-{full[at : at + NAME_DIGITS]}" for at in range(0, len(full) - NAME_DIGITS, NAME_DIGITS))
    first = next(names)
    return first if first not in taken else next((name for name in names if name not in taken), first)


def job_name(experiment: str, attempt: int) -> str:
    """The name of an attempt's Job."""
    return f"{experiment}-{attempt}"
