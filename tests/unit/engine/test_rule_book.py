"""Rules of namespaces: read from labelled ConfigMaps, told of where they are wrong, kept while nobody can read them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orkhaven.core.views import Defaults
from orkhaven.engine.rule_book import LABEL_RULES, RuleBook, parse_rules
from orkhaven.errors import Forbidden, Unavailable
from tests.sim.cluster import FakeCluster, VirtualClock, drive
from tests.sim.harness import Events

RULES = """
- {name: licence, pattern: cannot check out, reason: LicenceServer, action: Retry}
- name: quota
  pattern: project quota
  reason: DiskFull
"""


class Book:
    def __init__(self, cluster: FakeCluster | None = None) -> None:
        self.cluster, self.events = cluster or FakeCluster(VirtualClock()), Events()
        self.book = RuleBook(Defaults(image="trainer:1"), self.cluster, events=self.events)

    def put(self, name: str, rules: str, *, namespace: str = "radiology", labelled: bool = True) -> None:
        self.cluster.remove("ConfigMap", namespace, name) if self.cluster.find("ConfigMap", namespace, name) else None
        labels = {LABEL_RULES: "true"} if labelled else {}
        meta = {"namespace": namespace, "name": name, "labels": labels}
        self.cluster.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"rules.yaml": rules}})

    def names(self, namespace: str = "radiology") -> list[str]:
        return [rule.name for rule in self.book.defaults(namespace).failure_rules]


def test_a_namespace_has_the_rules_of_its_config_maps() -> None:
    one = Book()
    one.put("b", "[{name: late, pattern: x, reason: X}]")
    one.put("a", RULES)
    one.put("unlabelled", "[{name: no, pattern: x, reason: X}]", labelled=False)
    drive(one.book.look())
    assert one.names() == ["licence", "quota", "late"]
    assert one.names("elsewhere") == []


def test_what_is_deleted_no_longer_holds() -> None:
    one = Book()
    one.put("a", RULES)
    drive(one.book.look())
    one.cluster.remove("ConfigMap", "radiology", "a")
    drive(one.book.look())
    assert one.names() == []


def test_what_is_wrong_is_told_once_for_each_version() -> None:
    one = Book()
    one.put("a", RULES + "- {name: bad, pattern: '(x', reason: X}\n")
    for _ in range(3):
        drive(one.book.look())
    assert one.names() == ["licence", "quota"]
    ((kind, key, note),) = one.events.said
    assert (kind, key.name, note.reason) == ("ConfigMap", "a", "InvalidRule")
    assert "data[rules.yaml][2].pattern: a ( without its )" in note.message
    one.put("a", RULES)
    drive(one.book.look())
    assert len(one.events.said) == 1


class Unreadable(FakeCluster):
    """Lists fail while there is an error."""

    error: Exception | None = None

    async def pages(self, kind: str, **options: Any) -> AsyncIterator[tuple[list[Any], str]]:
        if self.error is not None:
            raise self.error
        async for page in super().pages(kind, **options):
            yield page


@pytest.mark.parametrize("error", [Forbidden("no"), Unavailable("later")], ids=lambda error: type(error).__name__)
def test_what_was_read_last_holds_while_nobody_can_read(error: Exception) -> None:
    cluster = Unreadable(VirtualClock())
    one = Book(cluster)
    one.put("a", RULES)
    drive(one.book.look())
    cluster.error = error
    drive(one.book.look())
    assert one.names() == ["licence", "quota"]


WRONG = {
    "nothing": ("", "missing"),
    "no YAML": ("- a: [", "no YAML"),
    "no list": ("name: x", "a list of rules is needed, not dict"),
    "aliases": ("- &a {name: x}\n- *a\n", "anchors and aliases are not read"),
    "too long": ("#" * 70_000, "longer than"),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_at_all(text: str, says: str) -> None:
    rules, (problem,) = parse_rules(text, where="data[rules.yaml]")
    assert rules == ()
    assert problem.startswith("data[rules.yaml]: ")
    assert says in problem


def test_rules_that_blame_a_node_are_named_and_a_change_of_them_is_told() -> None:
    told = []
    one = Book()
    one.book = RuleBook(
        Defaults(image="trainer:1"), one.cluster, events=one.events, changed=lambda: told.append(len(told))
    )
    assert one.book.blaming("radiology") == frozenset()
    one.put("a", RULES)
    drive(one.book.look())
    assert (one.book.blaming("radiology"), len(told)) == (frozenset(), 1)
    one.put("b", "[{name: nvlink, pattern: NVLink, reason: NvLink, action: OtherNode}]")
    drive(one.book.look())
    drive(one.book.look())
    assert (one.book.blaming("radiology"), len(told)) == ({"nvlink"}, 2)
    assert one.book.blaming("elsewhere") == frozenset()
