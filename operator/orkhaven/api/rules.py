"""Rules that need more than a type: one CEL rule for the API server and one Python check, with the same message.

Owns how a rule is declared beside the model it belongs to, how pydantic runs it, how it gets into the JSON schema, and
how a pydantic error is told to people. The API server refuses a wrong object by the CEL half; the Python half guards
the operator against objects that were stored before a rule existed. Imports nothing of orkhaven.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS = "x-kubernetes-validations"
ERROR_TYPE = "rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Put into a model's `rules`, or into `Annotated[...]` for a plain value.

    `check` gets the model (or the value) and says whether it is fine. `offenders` names what breaks the rule, at the
    end of the message: a CEL expression that gives a list of strings, and the same in Python. `path` is the field
    below the model that is to be blamed, as CEL's fieldPath writes it (".range.max").
    """

    cel: str
    message: str
    check: Callable[[Any], bool]
    path: str = ""
    offenders: tuple[str, Callable[[Any], Sequence[str]]] | None = None

    def to_validation(self) -> dict[str, str]:
        """The entry of x-kubernetes-validations."""
        entry = {"rule": self.cel, "message": self.message}
        if self.offenders:
            # Not `+` and join(): these cost by the length of their texts, which CEL cannot bound after a filter.
            text = _cel_string(self.message.replace("%", "%%") + ": %s")
            entry["messageExpression"] = f"{text}.format([{self.offenders[0]}])"
        if self.path:
            entry["fieldPath"] = self.path
        return entry

    def run(self, value: Any) -> None:
        """Raises PydanticCustomError with the rule's message where `value` breaks it."""
        if self.check(value):
            return
        message = self.message
        if self.offenders:
            message += f": {json.dumps(list(self.offenders[1](value)))}"  # as CEL's %s writes a list
        raise PydanticCustomError(ERROR_TYPE, "{message}", {"message": message, "path": self.path})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: Any) -> Any:
            self.run(value)
            return value

        return core_schema.no_info_after_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        out = handler(schema)
        out[VALIDATIONS] = [*out.get(VALIDATIONS, []), self.to_validation()]
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A rule about an update: it needs the old object, so only the API server can check it."""

    cel: str
    message: str
    path: str = ""

    def to_validation(self) -> dict[str, str]:
        entry = {"rule": self.cel, "message": self.message}
        return entry | ({"fieldPath": self.path} if self.path else {})


def immutable(field: str, why: str) -> Transition:
    """The field may neither change nor come nor go; `why` says what to do instead."""
    held, was = f"self.{field}", f"oldSelf.{field}"
    return Transition(
        cel=f"has({held}) ? has({was}) && {held} == {was} : !has({was})", message=f"immutable: {why}", path=f".{field}"
    )


def matching(pattern: str, message: str) -> Rule:
    """A text that matches `pattern` (RE2 and Python's syntax alike) as a whole."""
    compiled = re.compile(pattern)
    return Rule(
        cel=f"self.matches({_cel_string(f'^({pattern})$')})",
        message=message,
        check=lambda text: compiled.fullmatch(text) is not None,
    )


@dataclass(frozen=True, slots=True)
class ListMap:
    """A list of objects that are told apart by `key`: unique, and merged by it in a server-side apply."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(items: list[Any]) -> list[Any]:
            seen = set()
            for index, item in enumerate(items):
                key = getattr(item, self.key)
                if key in seen:
                    raise PydanticCustomError(
                        ERROR_TYPE,
                        "{message}",
                        {"message": f"{self.key} {key!r} stands twice", "path": f"[{index}].{self.key}"},
                    )
                seen.add(key)
            return items

        return core_schema.no_info_after_validator_function(validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}


@dataclass(frozen=True, slots=True)
class Atomic:
    """An object that is written as a whole: the API server then keeps one entry for it in managedFields, not one for
    each of its leaves, which for a run's parameters and metrics are more bytes than their values."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"x-kubernetes-map-type": "atomic"}


def problems(error: ValidationError, *, root: str = "") -> list[str]:
    """What is wrong, one line each: "spec.parameters[0].range: min has to be below max"."""
    lines = []
    for entry in error.errors(include_url=False, include_context=True):
        path = root
        for part in entry["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        if entry["type"] == ERROR_TYPE:
            path += entry["ctx"]["path"]
        lines.append(f"{path.lstrip('.')}: {entry['msg']}" if path else entry["msg"])
    return lines


def _cel_string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
