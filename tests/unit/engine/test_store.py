"""The store: newest only, deletions final, indexes true."""

from __future__ import annotations

from itertools import permutations

import pytest

from orkhaven.core.views import Key
from orkhaven.engine.ports import Kind
from orkhaven.engine.store import Store
from tests.unit.engine.builders import experiment, job, pod, sweep

E = Key("ns", "e")


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store = Store()
    assert store.upsert(Kind.EXPERIMENT, experiment(version=5)) is not None
    assert store.upsert(Kind.EXPERIMENT, experiment(version=4)) is None
    assert store.upsert(Kind.EXPERIMENT, experiment(version=5)) is None
    found = store.experiment(E)
    assert found is not None
    assert found.meta.resource_version == 5


def test_a_late_event_does_not_bring_back_what_was_deleted() -> None:
    store = Store()
    store.upsert(Kind.EXPERIMENT, experiment(version=5))
    assert store.delete(Kind.EXPERIMENT, E, "uid-e") is not None
    assert store.upsert(Kind.EXPERIMENT, experiment(version=9)) is None
    assert store.experiment(E) is None


def test_a_deletion_that_comes_before_the_object_is_kept_too() -> None:
    store = Store()
    assert store.delete(Kind.EXPERIMENT, E, "uid-e") is None
    assert store.upsert(Kind.EXPERIMENT, experiment(version=5)) is None


def test_a_namesake_replaces_the_old_object_whose_deletion_was_missed() -> None:
    store = Store()
    store.upsert(Kind.JOB, job(uid="old", version=5, owner=("e", "uid-e")))
    store.upsert(Kind.JOB, job(uid="new", version=8, owner=("e", "uid-e2")))
    assert [j.meta.uid for j in store.all_jobs()] == ["new"]
    assert store.jobs(experiment(uid="uid-e")) == []
    assert [j.meta.uid for j in store.jobs(experiment(uid="uid-e2"))] == ["new"]
    assert store.upsert(Kind.JOB, job(uid="old", version=9)) is None


def test_the_late_deletion_of_a_namesake_leaves_the_younger_one_alone() -> None:
    store = Store()
    store.upsert(Kind.JOB, job(uid="old", version=5))
    store.upsert(Kind.JOB, job(uid="new", version=8))
    assert store.delete(Kind.JOB, Key("ns", "e-1"), "old") is None
    assert [j.meta.uid for j in store.all_jobs()] == ["new"]


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=lambda order: "".join(map(str, order)))
def test_the_order_of_events_of_two_namesakes_does_not_matter(order: tuple[int, ...]) -> None:
    events = [
        lambda s: s.upsert(Kind.EXPERIMENT, experiment(uid="old", version=1)),
        lambda s: s.upsert(Kind.EXPERIMENT, experiment(uid="old", version=3)),
        lambda s: s.delete(Kind.EXPERIMENT, E, "old"),
        lambda s: s.upsert(Kind.EXPERIMENT, experiment(uid="new", version=6)),
    ]
    store = Store()
    for number in order:
        events[number](store)
    found = store.experiment(E)
    assert found is not None
    assert found.meta.uid == "new"


def test_children_are_found_by_their_owner_s_uid_not_by_its_name() -> None:
    store = Store()
    store.upsert(Kind.EXPERIMENT, experiment("s-1", owner=("s", "uid-old")))
    store.upsert(Kind.EXPERIMENT, experiment("s-2", owner=("s", "uid-s")))
    assert [e.meta.key.name for e in store.children(sweep())] == ["s-2"]


def test_pods_are_found_by_label_and_unknown_ones_are_nobody_s() -> None:
    store = Store()
    store.upsert(Kind.POD, pod("p1"))
    store.upsert(Kind.POD, pod("p2", of=None))
    assert [p.meta.key.name for p in store.pods(E)] == ["p1"]
    store.delete(Kind.POD, Key("ns", "p1"), "uid-p1")
    assert store.pods(E) == []
    assert store._pods == {}


def test_a_list_names_what_was_deleted_unseen_but_not_what_is_younger_than_itself() -> None:
    store = Store()
    for name, version in (("kept", 1), ("ghost", 2), ("young", 9)):
        store.upsert(Kind.EXPERIMENT, experiment(name, version=version))
    missing = store.missing(Kind.EXPERIMENT, [(Key("ns", "kept"), "uid-kept")], listed_at=5)
    assert [view.meta.key.name for view in missing] == ["ghost"]


def test_a_list_of_one_namespace_says_nothing_about_others() -> None:
    store = Store()
    store.upsert(Kind.EXPERIMENT, experiment())
    assert store.missing(Kind.EXPERIMENT, [], listed_at=5, namespace="elsewhere") == []


def test_an_own_delete_is_remembered_until_the_watch_tells() -> None:
    store = Store()
    store.upsert(Kind.JOB, job())
    store.mark_deleting(Kind.JOB, Key("ns", "e-1"), "uid-e-1")
    assert [j.meta.deleting for j in store.all_jobs()] == [True]
