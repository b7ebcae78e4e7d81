"""What every resource has: the group and version, the base of all models, conditions, the shared small types."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from orkhaven.api.rules import VALIDATIONS, Rule, Transition, matching

GROUP = "orkhaven.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRule:
    """For the root of a resource: metadata.name is a DNS label of at most `limit` characters; `why` says what for."""

    limit: int
    why: str

    @property
    def message(self) -> str:
        return f"lower-case letters, digits and '-' only, at most {self.limit} characters: {self.why}"

    def problem(self, name: str) -> str | None:
        """What is wrong with `name`, the same words as the API server's; None where it is fine."""
        fine = len(name) <= self.limit and re.fullmatch(_LABEL, name) is not None
        return None if fine else f"metadata.name: {self.message}"

    def to_validation(self) -> dict[str, str]:
        cel = f"self.metadata.name.size() <= {self.limit} && self.metadata.name.matches('^{_LABEL}$')"
        return {"rule": cel, "message": self.message, "fieldPath": ".metadata.name"}


Rules = tuple[Rule | Transition | NameRule, ...]


@functools.cache
def _shared(names: frozenset[str]) -> set[str]:
    return set(names)


class Model(BaseModel):
    """Base of all resource models: camelCase outside, snake_case inside, frozen, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    rules: ClassVar[Rules] = ()
    """What the fields owe each other. A subclass adds to those of its bases."""

    @classmethod
    @functools.cache
    def all_rules(cls) -> Rules:
        return tuple(rule for base in reversed(cls.__mro__) for rule in base.__dict__.get("rules", ()))

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in type(self).all_rules():
            if isinstance(rule, Rule):
                rule.run(self)
        # A set of names each would be a third of what ten thousand parsed resources take. Frozen: nobody adds to it.
        object.__setattr__(self, "__pydantic_fields_set__", _shared(frozenset(self.__pydantic_fields_set__)))
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(schema)
        if cls.all_rules():
            handler.resolve_ref_schema(reference)[VALIDATIONS] = [rule.to_validation() for rule in cls.all_rules()]
        return reference

    def to_dict(self) -> dict[str, Any]:
        """As the API server takes it: camelCase, JSON types, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(Model):
    """Base of what is read back: a field written by a newer version is ignored, never an error."""

    model_config = ConfigDict(extra="ignore")


# --- quantities ---

_QUANTITY = r"[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?"
_SUFFIXES = {"m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12)}
_SUFFIXES |= {"": Decimal(1), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40)}


def parse_quantity(text: str) -> Decimal:
    """The value of a Kubernetes quantity in its unit (cores, bytes). Raises ValueError for what is none."""
    match = re.fullmatch(_QUANTITY, text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity such as 500m, 4 or 16Gi")
    suffix = match[2] or ""
    return Decimal(text.removesuffix(suffix)) * _SUFFIXES[suffix]


def _quantity_rule(least: str, message: str) -> Rule:
    def check(text: str) -> bool:
        return re.fullmatch(_QUANTITY, text) is not None and parse_quantity(text) >= parse_quantity(least)

    # A whole number reaches CEL as an int, everything else as a string.
    cel = f"string(self).matches('^{_QUANTITY}$') && quantity(string(self)).compareTo(quantity('{least}')) >= 0"
    return Rule(cel=cel.replace("\\", "\\\\"), message=message, check=check)


def _whole_number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(max_length=32),
    BeforeValidator(_whole_number_as_text),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
        }
    ),
]
Cpu = Annotated[Quantity, _quantity_rule("1m", "CPU cores above 0, such as 4 or 500m")]
Memory = Annotated[Quantity, _quantity_rule("1Mi", "an amount of memory of at least 1Mi, such as 16Gi")]

# --- durations ---

_DURATION = r"([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?"


def parse_duration(text: str) -> timedelta:
    """The length of "90s", "30m", "6h", "1d12h". Raises ValueError for what is none."""
    match = re.fullmatch(_DURATION, text)
    if match is None or not text:
        raise ValueError(f"{text!r} is no length of time such as 90s, 30m, 6h or 1d12h")
    days, hours, minutes, seconds = (int(part[:-1]) if part else 0 for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


Duration = Annotated[
    str,
    Field(max_length=32),
    Rule(
        cel=f"self.matches('^{_DURATION}$') && self.matches('[1-9]')",
        message="a length of time above 0, such as 90s, 30m, 6h or 1d12h",
        check=lambda text: re.fullmatch(_DURATION, text) is not None and re.search("[1-9]", text) is not None,
    ),
]

# --- names ---

DnsLabel = Annotated[
    str,
    Field(min_length=1, max_length=63),
    matching(_LABEL, "lower-case letters, digits and '-' only, starting and ending with a letter or a digit"),
]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        rf"{_LABEL}(\.{_LABEL})*", "the name of an object: lower-case letters, digits, '-' and '.', such as ct-data"
    ),
]
"""The name of a Secret or of a PersistentVolumeClaim."""


Number = Annotated[float, Field(allow_inf_nan=False)]


class Condition(StatusModel):
    """A Kubernetes condition (metav1.Condition)."""

    type: Annotated[str, Field(max_length=64, description="What is said, e.g. Finished.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[str, Field(max_length=64, description="One CamelCase word: why.")]
    message: Annotated[str, Field(max_length=2048, description="A sentence for people.")] = ""
    last_transition_time: Annotated[datetime, Field(description="When status last changed.")]
    observed_generation: Annotated[int | None, Field(description="The generation of the spec that was looked at.")] = (
        None
    )


def shown(value: float) -> float:
    """A measured number as a status carries it: 6 significant digits, so that columns can be read.

    The hub's history and the run's own record have all of them.
    """
    return float(f"{value:.6g}")
