"""The store: newest only, deletions final, indexes true."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from orkhaven.core.identity import param_hash
from orkhaven.core.views import ExperimentView, Heard, Key, PodEvent, ReadState
from orkhaven.engine.ports import Kind
from orkhaven.engine.store import Store
from tests.unit.engine.builders import experiment, job, meta, pod, sweep

E = Key("ns", "e")


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store = Store()
    assert store.upsert(Kind.EXPERIMENT, experiment(version=5)) is not None
    assert store.upsert(Kind.EXPERIMENT, experiment(version=4)) is None
    assert store.upsert(Kind.EXPERIMENT, experiment(version=5)) is None
    found = store.experiment(E)
    assert found is not None
    assert found.meta.resource_version == 5


@pytest.mark.parametrize(
    ("told", "held"),
    [
        pytest.param(meta("e", version=5), True, id="the same version"),
        pytest.param(meta("e", version=4), True, id="an older one"),
        pytest.param(meta("e", version=6), False, id="a newer one"),
        pytest.param(meta("e", uid="other", version=5), False, id="a namesake"),
        pytest.param(meta("f", version=5), False, id="another"),
        pytest.param({**meta("e"), "resourceVersion": "x"}, False, id="no version"),
        pytest.param(None, False, id="nothing"),
    ],
)
def test_what_is_held_already_need_not_be_parsed(told: dict[str, Any] | None, held: bool) -> None:
    store = Store()
    store.upsert(Kind.EXPERIMENT, view := experiment(version=5))
    assert store.known(Kind.EXPERIMENT, {"metadata": told}) is (view if held else None)
    assert store.known(Kind.JOB, {"metadata": told}) is None


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


# --- identical runs ---


RUN = {"runHash": "f" * 64}


def hashed(**hashes: str) -> Store:
    """A store that computes a run's hash for the names given."""
    return Store(run_of=lambda view: hashes.get(view.meta.key.name))


def names(store: Store, name: str) -> list[str]:
    view = store.experiment(Key("ns", name))
    assert view is not None
    return sorted(twin.meta.key.name for twin in store.twins(view))


def test_twins_are_those_of_the_namespace_with_the_same_run_hash() -> None:
    store = Store()
    for name, status in (("a", RUN), ("b", RUN), ("c", {"runHash": "e" * 64}), ("d", {})):
        store.upsert(Kind.EXPERIMENT, experiment(name, status=status))
    store.upsert(Kind.EXPERIMENT, experiment("e", namespace="elsewhere", status=RUN))
    assert (names(store, "a"), names(store, "b"), names(store, "c"), names(store, "d")) == (["b"], ["a"], [], [])


def test_a_run_is_found_before_its_status_names_its_hash_and_after() -> None:
    store = hashed(a="f" * 64, b="f" * 64)
    store.upsert(Kind.EXPERIMENT, experiment("a"))
    store.upsert(Kind.EXPERIMENT, experiment("b"))
    assert names(store, "a") == ["b"]
    store.upsert(Kind.EXPERIMENT, experiment("a", version=2, status=RUN))
    assert (names(store, "a"), names(store, "b")) == (["b"], ["a"])
    store.upsert(Kind.EXPERIMENT, experiment("a", version=3, status={"runHash": "e" * 64}))
    assert (names(store, "a"), names(store, "b")) == ([], [])


def test_one_that_is_gone_is_nobodys_twin() -> None:
    store = hashed(a="f" * 64, b="f" * 64)
    store.upsert(Kind.EXPERIMENT, experiment("a"))
    store.upsert(Kind.EXPERIMENT, experiment("b", status=RUN))
    store.delete(Kind.EXPERIMENT, Key("ns", "a"), "uid-a")
    assert names(store, "b") == []
    store.upsert(Kind.EXPERIMENT, experiment("b", uid="another", version=9))
    assert names(store, "b") == []
    store.upsert(Kind.EXPERIMENT, experiment("a", uid="new", version=10))
    assert names(store, "a") == ["b"]


def test_its_hash_is_computed_once_not_with_every_report() -> None:
    asked: list[int] = []

    def run_of(view: ExperimentView) -> str:
        asked.append(view.meta.resource_version)
        return "f" * 64

    store = Store(run_of=run_of)
    for version in range(1, 5):
        store.upsert(Kind.EXPERIMENT, experiment("a", version=version))
    assert asked == [1]


def test_pods_of_a_deleted_run_are_known_until_they_are_gone() -> None:
    label = {"orkhaven.io/param-hash": "a" * 16}
    store = Store()
    store.upsert(Kind.POD, pod("e-1-x", labels=label, created="2026-01-01T00:00:05Z"))
    asks = experiment("f", status={"paramHash": "a" * 64})
    new = pod("g-1-x", of="g", labels={"orkhaven.io/param-hash": param_hash({})[:16]})
    store.upsert(Kind.POD, new)
    assert store.left_behind(experiment("f")) == [new], "one that has no status yet asks too"
    assert [p.meta.key.name for p in store.left_behind(asks)] == ["e-1-x"], "nobody that it belongs to is known"
    store.upsert(Kind.EXPERIMENT, experiment("e"))
    assert store.left_behind(asks) == []
    store.delete(Kind.EXPERIMENT, E, "uid-e")
    assert [p.meta.key.name for p in store.left_behind(asks)] == ["e-1-x"]
    assert store.left_behind(experiment("f", status={"paramHash": "b" * 64})) == []
    assert store.left_behind(experiment("f", namespace="elsewhere", status={"paramHash": "a" * 64})) == []
    store.upsert(Kind.EXPERIMENT, experiment("e", uid="anew", version=9, creationTimestamp="2026-01-01T00:00:09Z"))
    assert [p.meta.key.name for p in store.left_behind(asks)] == ["e-1-x"], "a namesake is another"
    store.delete(Kind.POD, Key("ns", "e-1-x"), "uid-e-1-x")
    assert store.left_behind(asks) == []


# --- what was read of pods --------------------------------------------------------------------------------------------

LOG = Heard(log_state=ReadState.READ, log_tail="the end")
EVENTS = Heard(events_state=ReadState.READ, events=(PodEvent(reason="FailedMount", message="nfs"),))


def heard(store: Store) -> list[Heard]:
    return [view.heard for view in store.pods(Key("ns", "e"))]


def test_what_was_read_of_a_pod_stays_with_it_over_its_changes_until_its_attempt_is_booked() -> None:
    store = Store()
    store.upsert(Kind.EXPERIMENT, experiment())
    store.upsert(Kind.POD, pod("p"))
    assert heard(store) == [Heard()]
    store.hear(Key("ns", "p"), "uid-p", LOG)
    store.hear(Key("ns", "p"), "uid-p", EVENTS)
    store.upsert(Kind.POD, pod("p", version=2))
    both = replace(LOG, events_state=EVENTS.events_state, events=EVENTS.events)
    assert heard(store) == [both], "the second reading adds to the first"
    open_ = {"attempts": [{"number": 1, "job": "e-1"}]}
    store.upsert(Kind.EXPERIMENT, experiment(version=3, status=open_))
    assert heard(store) == [both]
    booked = {"attempts": [{"number": 1, "job": "e-1", "reason": "UserException"}]}
    store.upsert(Kind.EXPERIMENT, experiment(version=4, status=booked))
    assert heard(store) == [Heard()], "64 KiB for each failed run would add up"


def test_what_comes_too_late_is_nobodys() -> None:
    store = Store()
    store.hear(Key("ns", "p"), "uid-p", LOG)
    store.upsert(Kind.POD, pod("p", uid="another"))
    store.hear(Key("ns", "p"), "uid-p", LOG)
    assert heard(store) == [Heard()]
    store.hear(Key("ns", "p"), "another", LOG)
    store.delete(Kind.POD, Key("ns", "p"), "another")
    store.upsert(Kind.POD, pod("p", uid="a third", version=5))
    assert heard(store) == [Heard()]


def test_blames_follow_the_rules_that_there_are() -> None:
    rules: set[str] = set()
    store = Store(blaming=lambda namespace: rules)
    attempt = {
        "number": 1, "job": "e-1", "node": "a", "reason": "NvLink", "message": "it is down", "rule": "nvlink",
        "endTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    store.upsert(Kind.EXPERIMENT, experiment(status={"attempts": [attempt]}))
    assert (list(store.blames()), store.blamed) == ([], 0)
    rules.add("nvlink")
    store.blame_anew()
    assert ([one.reason for one in store.blames()], store.blamed) == (["NvLink"], 1)
    store.blame_anew()
    assert store.blamed == 1
    store.delete(Kind.EXPERIMENT, Key("ns", "e"), "uid-e")
    assert (list(store.blames()), store.blamed) == ([], 2)
