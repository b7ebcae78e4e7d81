"""Says what is wrong with given parameters, and what would be right, in words."""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

from ctseg.config.base import Component


def explain(root: type[Component], *, kind: str, loc: Sequence[str | int], message: str, given: Any) -> tuple[str, str]:
    """The dotted name and the sentence for one of pydantic's errors about `root`."""
    name = ".".join(str(part) for part in loc) or "params"
    if kind == "extra_forbidden":
        right = _fields(root, loc[:-1])
        full = {".".join((*map(str, loc[:-1]), field)) for field in right}
        near = difflib.get_close_matches(str(loc[-1]), right, n=3) or [
            known for known in _all_names(root) if known.rsplit(".", 1)[-1] == str(loc[-1])
        ]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return name, f"there is no such parameter; {hint}There are: {', '.join(sorted(full))}"
    if kind == "literal_error" and isinstance(given, str):
        allowed = _choices(root, loc)
        near = _near(given, allowed)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return name, f"{given!r} is unknown; {hint}There are: {', '.join(allowed)}"
    return name, f"{given!r} is not valid: {message.removeprefix('Value error, ')}"


def _near(given: str, allowed: Sequence[str]) -> list[str]:
    by_lower = {item.lower(): item for item in allowed}
    return [by_lower[item] for item in difflib.get_close_matches(given.lower(), list(by_lower), n=3)]


def _annotation_at(root: type[Component], loc: Sequence[str | int]) -> Any:
    current: Any = root
    for part in loc:
        if isinstance(part, int):
            current = get_args(current)[0] if get_args(current) else Any
        elif isinstance(current, type) and issubclass(current, Component) and part in current.model_fields:
            current = current.model_fields[part].annotation
        else:
            return None
    return current


def _fields(root: type[Component], loc: Sequence[str | int]) -> list[str]:
    current = _annotation_at(root, loc)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, Component) else []


def _choices(root: type[Component], loc: Sequence[str | int]) -> list[str]:
    current = _annotation_at(root, loc)
    if get_origin(current) in (Union, types.UnionType):
        current = next((arm for arm in get_args(current) if get_origin(arm) is Literal), current)
    return [str(item) for item in get_args(current)]


def _all_names(model: type[Component], prefix: str = "") -> list[str]:
    names: list[str] = []
    for field, info in model.model_fields.items():
        names.append(prefix + field)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Component):
            names += _all_names(info.annotation, f"{prefix}{field}.")
    return names
