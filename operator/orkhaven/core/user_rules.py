"""The users' own rules for causes: compiled once, what is wrong with one said without stopping the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orkhaven.api import Reason
from orkhaven.api.failures import Action, FailureRule, parse_rule
from orkhaven.core.pattern import Pattern

MAX_RULES = 100
"""Of one place: the settings, or a namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRule:
    """A rule, compiled."""

    name: str
    pattern: Pattern
    reason: str
    """A `Reason` where it is one."""
    action: Action | None = None
    suggestion: str = ""


def compiled(rule: FailureRule) -> UserRule:
    """Raises ValueError with what is wrong about its pattern."""
    reason = _REASONS.get(rule.reason)
    return UserRule(
        name=rule.name,
        pattern=Pattern(rule.pattern),
        reason=reason or rule.reason,
        # A word of the user's own is in no table: it is treated as any other exception.
        action=rule.action or (None if reason is not None else Action.RETRY),
        suggestion=rule.suggestion,
    )


_REASONS = {reason.value: reason for reason in Reason}


def compile_all(raw: Iterable[Any], *, where: str) -> tuple[tuple[UserRule, ...], list[str]]:
    """The rules that are fine, and what is wrong with the others: "rules[2].pattern: ...". `where`: the list's name."""
    rules: list[UserRule] = []
    wrong: list[str] = []
    for number, one in enumerate(raw):
        place = f"{where}[{number}]"
        if len(rules) >= MAX_RULES:
            wrong.append(f"{place}: more than {MAX_RULES} rules; this and what follows is left out")
            break
        rule, problems = parse_rule(one, root=place)
        if rule is None:
            wrong += problems
            continue
        try:
            made = compiled(rule)
        except ValueError as error:
            wrong.append(f"{place}.pattern: {error}")
            continue
        if any(made.name == known.name for known in rules):
            wrong.append(f"{place}.name: {made.name!r} stands twice; the first counts")
            continue
        rules.append(made)
    return tuple(rules), wrong
