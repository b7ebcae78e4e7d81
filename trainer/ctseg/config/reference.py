"""The page of all parameters, made from the models: `python -m ctseg.config.reference FILE` writes it."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic.fields import FieldInfo

from ctseg.config import Params
from ctseg.config.base import Component

_HEAD = """# Parameters of the trainer

Made from the models by `make generate`. Dotted names are those of a Sweep's `parameters` and of `ctseg train --set`.
"""
_BOUNDS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}


def page() -> str:
    """Markdown: a section for each component, a row for each parameter."""
    return _HEAD + "".join(_sections(Params, prefix=""))


def _sections(component: type[Component], *, prefix: str, told: frozenset[str] = frozenset()) -> list[str]:
    """`told`: names of options that mean the same as in the component around this one."""
    rows, inner = [], []
    for name, field in component.model_fields.items():
        if name in told:
            continue
        nested = _component(field.annotation)
        if nested is not None and _is_plain(field.annotation):
            inner += _sections(nested, prefix=f"{prefix}{name}.")
            continue
        rows.append(f"| `{prefix}{name}` | {_kind(field)} | {_default(field)} | {_cell(field.description or '')} |\n")
        if nested is not None:
            shared = frozenset(nested.model_fields) & frozenset(component.model_fields) - {"name"}
            inner += _sections(nested, prefix=f"{prefix}{name}[].", told=shared)
    title = prefix.rstrip(".") or "top level"
    about = " ".join((component.__doc__ or "").split())
    table = "| parameter | type | default | |\n|---|---|---|---|\n" + "".join(rows) if rows else ""
    rest = f"\nIts other options are those of {_parent(prefix)}.\n" if told else ""
    return [f"\n## {title}\n\n{about}\n\n{table}{rest}", *inner]


def _parent(prefix: str) -> str:
    return f"`{prefix.rstrip('.').rpartition('.')[0]}`"


def _is_plain(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Component)


def _component(annotation: Any) -> type[Component] | None:
    """The component that a field is, or holds a list of."""
    if isinstance(annotation, type) and issubclass(annotation, Component):
        return annotation
    return next((found for arm in get_args(annotation) if (found := _component(arm)) is not None), None)


def _kind(field: FieldInfo) -> str:
    parts = [_type(field.annotation)]
    for bound in field.metadata:
        for kind, (word, attribute) in _BOUNDS.items():
            if isinstance(bound, kind):
                parts.append(f"{word} {getattr(bound, attribute)}")
        if isinstance(bound, MultipleOf):
            parts.append(f"a multiple of {bound.multiple_of}")
        if isinstance(bound, MinLen):
            parts.append(f"{bound.min_length} or more")
        if isinstance(bound, MaxLen):
            parts.append(f"{bound.max_length} at most")
    return _cell(", ".join(parts))


def _type(annotation: Any) -> str:
    origin, arms = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arms[0])
    if origin is Literal:
        return ", ".join(str(arm) for arm in arms)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if arm is type(None) else _type(arm) for arm in arms)
    if origin is tuple:
        return f"list of {_type(arms[0])}" if Ellipsis in arms else f"({', '.join(_type(arm) for arm in arms)})"
    names = {int: "integer", float: "number", str: "text", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    return f"`{json.dumps(field.get_default(call_default_factory=True), default=_plain)}`"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Component) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
