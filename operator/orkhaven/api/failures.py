"""Rules that users add to the chain of causes, as data: in the operator's settings, or a ConfigMap of a namespace."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, ValidationError

from orkhaven.api.meta import GROUP, DnsLabel, Model
from orkhaven.api.rules import matching, problems

LABEL_CLUSTER = f"{GROUP}/failure-cluster"
"""Of an Experiment that has failed: the id of its cluster, as in status.failure.cluster."""


class Action(StrEnum):
    """What is to become of a run that failed of it."""

    NEVER = "Never"
    """It has failed: trying again cannot help."""
    RETRY = "Retry"
    """Try it again, up to retry.limit."""
    OTHER_NODE = "OtherNode"
    """Try it again, but not on that node."""
    MORE_MEMORY = "MoreMemory"
    """Try it again with more memory."""


LONGEST_PATTERN = 300


class FailureRule(Model):
    """A cause that only this place knows: what it looks like, what it is called, what is to be done."""

    name: Annotated[DnsLabel, Field(description="What the rule is called; shown with each failure that it named.")]
    pattern: Annotated[
        str,
        Field(
            description="A regular expression (RE2's syntax) that a line of what the run said last has to contain.",
            min_length=1,
            max_length=LONGEST_PATTERN,
        ),
    ]
    reason: Annotated[
        str,
        Field(description="One word in CamelCase for status.reason: one of the causes, or your own.", max_length=64),
        matching("[A-Z][A-Za-z0-9]*", "one word in CamelCase, such as LicenseServer"),
    ]
    action: Annotated[
        Action | None,
        Field(description="What is to be done. Unset: as the reason is treated; a word of your own: Retry."),
    ] = None
    suggestion: Annotated[
        str, Field(description="What a person would do about it, in one sentence.", max_length=300)
    ] = ""


def parse_rule(raw: Any, *, root: str) -> tuple[FailureRule | None, list[str]]:
    """The rule, or what is wrong with it, field by field; `root` is where it stands."""
    try:
        return FailureRule.model_validate(raw), []
    except ValidationError as error:
        return None, problems(error, root=root)
