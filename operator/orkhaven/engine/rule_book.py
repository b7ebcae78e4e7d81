"""The users' rules for causes: those of the settings, and those of each namespace, from ConfigMaps with our label.

Polled, not watched: they change by hand, a few times a year, and a failure that comes before the next look is judged by
the old ones. What is wrong with a rule is said in an Event of its ConfigMap, once for each version of it, and stops no
other. Where the operator may not list ConfigMaps only the settings' rules count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import yaml

from orkhaven.api.failures import Action
from orkhaven.core.actions import Note
from orkhaven.core.parse import parse_meta
from orkhaven.core.user_rules import UserRule, compile_all
from orkhaven.core.views import Defaults, Meta
from orkhaven.engine.ports import Body, EventSink, Gateway
from orkhaven.errors import ApiError, Forbidden

log = logging.getLogger(__name__)

LABEL_RULES = "orkhaven.io/failure-rules"
"""The label's value is "true"."""
KEY = "rules.yaml"
"""What a ConfigMap keeps them under: a list in YAML (or JSON)."""
LONGEST = 64 * 1024
"""Characters of a ConfigMap's rules: reading them takes a third of a second, once for each version."""


class RuleBook:
    """`defaults` as each namespace has them. `namespaces` empty: all of them."""

    def __init__(
        self,
        defaults: Defaults,
        gateway: Gateway,
        *,
        events: EventSink,
        namespaces: Sequence[str] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called after the rules that blame nodes have changed."""
        self._changed = changed
        self._blaming: dict[str, frozenset[str]] = {}
        """By namespace, of those that have rules of their own."""
        self._always_blaming = _elsewhere(defaults.failure_rules)
        self._defaults = defaults
        self._gateway = gateway
        self._events = events
        self._namespaces: list[str | None] = list(namespaces) or [None]
        self._read: dict[str, tuple[str, tuple[UserRule, ...]]] = {}
        """uid of a ConfigMap -> (resourceVersion, rules): one that did not change is not compiled again."""
        self._of: dict[str, Defaults] = {}
        """By namespace, of those that have rules of their own."""
        self._forbidden = False

    def defaults(self, namespace: str) -> Defaults:
        """What a run of this namespace is judged by: its own rules before the settings'."""
        return self._of.get(namespace, self._defaults)

    def blaming(self, namespace: str) -> frozenset[str]:
        """Names of the rules whose failures are the node's."""
        return self._blaming.get(namespace, self._always_blaming)

    async def look(self) -> None:
        """List the ConfigMaps anew. Where they cannot be read now, what was read last holds. Raises LeaseLost alone."""
        found: dict[str, list[tuple[str, tuple[UserRule, ...]]]] = {}
        read: dict[str, tuple[str, tuple[UserRule, ...]]] = {}
        try:
            for namespace in self._namespaces:
                async for bodies, _ in self._gateway.pages(
                    "ConfigMap", namespace=namespace, label_selector=f"{LABEL_RULES}=true"
                ):
                    for body in bodies:
                        meta = parse_meta(body)
                        version, rules = self._rules_of(meta, body)
                        read[meta.uid] = version, rules
                        found.setdefault(meta.key.namespace, []).append((meta.key.name, rules))
        except Forbidden as error:
            if not self._forbidden:
                log.warning(
                    "ConfigMaps may not be listed: rules of namespaces do not count", extra={"error": str(error)}
                )
                self._forbidden = True
            return
        except ApiError as error:
            log.debug("rules of namespaces not read", extra={"error": str(error)})
            return
        self._read = read
        self._of = {
            namespace: replace(
                self._defaults,
                failure_rules=(*(rule for _, rules in sorted(maps) for rule in rules), *self._defaults.failure_rules),
            )
            for namespace, maps in found.items()
        }
        blaming = {namespace: _elsewhere(defaults.failure_rules) for namespace, defaults in self._of.items()}
        if blaming != self._blaming:
            self._blaming = blaming
            self._changed()

    def _rules_of(self, meta: Meta, body: Body) -> tuple[str, tuple[UserRule, ...]]:
        version = str(meta.resource_version)
        known = self._read.get(meta.uid)
        if known is not None and known[0] == version:
            return known
        rules, wrong = parse_rules((body.get("data") or {}).get(KEY), where=f"data[{KEY}]")
        if wrong:
            message = "; ".join(wrong)
            self._events.post("ConfigMap", meta, Note(type="Warning", reason="InvalidRule", message=message[:1000]))
            log.warning("rules that cannot be read", extra={"key": str(meta.key), "error": message})
        return version, rules


def _elsewhere(rules: Iterable[UserRule]) -> frozenset[str]:
    return frozenset(rule.name for rule in rules if rule.action is Action.OTHER_NODE)


class _Plain(yaml.SafeLoader):
    """No aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not read")
        return super().compose_node(parent, index)


def parse_rules(text: Any, *, where: str) -> tuple[tuple[UserRule, ...], list[str]]:
    """The rules of a list in YAML, and what is wrong with the others."""
    if not isinstance(text, str) or not text.strip():
        return (), [f"{where}: missing; it has to be a list of rules in YAML"]
    if len(text) > LONGEST:
        return (), [f"{where}: longer than {LONGEST} characters"]
    try:
        raw = yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return (), [f"{where}: no YAML: {' '.join(str(error).split())}"]
    if not isinstance(raw, list):
        return (), [f"{where}: a list of rules is needed, not {type(raw).__name__}"]
    return compile_all(raw, where=where)
