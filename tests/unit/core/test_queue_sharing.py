"""Whose turn it is, who gives way to whom, what a quota allows, and what those who wait are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orkhaven.api import Priority, Reason
from orkhaven.core.actions import SuspendJob
from orkhaven.core.queue import Quota, Request, Shares
from orkhaven.core.queue.plan import QueuePlan, Standing
from orkhaven.core.queue.reasons import Told, roughly, tell
from orkhaven.core.queue.shares import entitlements, parse_weight
from orkhaven.core.views import Key, Why
from tests.unit.core.queues import I, P, Queue, S, ask, nodes, on, pod_of
from tests.unit.core.world import START


def preferred(release: SuspendJob) -> str:
    (wish,) = (release.affinity or {})["preferredDuringSchedulingIgnoredDuringExecution"]
    (field,) = wish["preference"]["matchFields"]
    (node,) = field["values"]
    return str(node)


class TestOrder:
    def test_a_batch_is_spread_over_namespaces_as_it_is_given_out(self) -> None:
        waiting = [ask(f"{ns}{n}", ns=ns, age=age) for ns, age in (("a", 9), ("b", 0)) for n in range(4)]
        assert Queue(nodes(4), waiting=waiting).released() == ["a0", "b0", "a1", "b1"]

    def test_by_weight(self) -> None:
        waiting = [ask(f"{ns}{n}", ns=ns) for ns in "ab" for n in range(6)]
        released = Queue(nodes(6), weights={"a": 2.0}, waiting=waiting).released()
        assert sorted(released) == ["a0", "a1", "a2", "a3", "b0", "b1"]

    def test_who_has_used_less_comes_first_however_young(self) -> None:
        queue = Queue(nodes(1), usage={("a", ""): 3600.0}, waiting=[ask("old", ns="a", age=9), ask("new", ns="b")])
        assert queue.released() == ["new"]

    def test_in_a_namespace_users_take_turns(self) -> None:
        waiting = [ask(f"{user}{n}", user=user, age=age) for user, age in (("eva", 9), ("max", 0)) for n in range(3)]
        assert Queue(nodes(3), waiting=waiting).released() == ["eva0", "max0", "eva1"]

    def test_of_one_user_the_preemptible_ones_come_last(self) -> None:
        waiting = [ask("p", priority=P, age=9), ask("s")]
        assert Queue(nodes(1), waiting=waiting).released() == ["s"]

    def test_an_interactive_run_comes_first_of_all(self) -> None:
        queue = Queue(
            nodes(1), usage={("b", ""): 1e9}, waiting=[ask("s", ns="a", age=99), ask("i", ns="b", priority=I)]
        )
        assert queue.released() == ["i"]

    def test_but_beyond_its_share_a_namespace_waits_for_its_turn_with_interactive_ones_too(self) -> None:
        waiting = [ask(f"i{n}", ns="a", priority=I) for n in range(4)] + [ask(f"s{n}", ns="b") for n in range(4)]
        assert sorted(Queue(nodes(4), waiting=waiting).released()) == ["i0", "i1", "s0", "s1"]

    def test_the_head_keeps_one_node_and_those_behind_it_none(self) -> None:
        running = on("n0", ask("r0", 1, ran=999)) + on("n1", ask("r1", 1, ran=999))
        waiting = [ask("large", 4, age=9), ask("larger", 3, age=8), *(ask(f"s{n}") for n in range(4))]
        queue = Queue(nodes(4, 4), running=running, waiting=waiting)
        assert queue.released() == ["larger"], "it fits on the other node"
        queue.waiting = [ask("x", 4, age=9), ask("y", 4, age=8), *(ask(f"s{n}") for n in range(4))]
        assert queue.released() == ["s0", "s1", "s2"]

    def test_a_share_of_less_than_half_a_gpu_is_one_gpu_for_part_of_the_time(self) -> None:
        """Else what has a tenth of a GPU would never have any."""
        tau = Shares().horizon
        queue = Queue(
            nodes(1),
            weights={"b": 9.0},
            usage={("b", ""): tau},
            waiting=[ask("small", ns="a"), ask("large", ns="b", age=100)],
        )
        assert queue.released() == ["small"]
        queue.usage[("a", "")] = 0.2 * tau
        assert queue.released() == ["large"]


class TestKept:
    """A whole node for a namespace of a small weight, beside one of a large weight whose runs end again and again."""

    def queue(self) -> Queue:
        running = on("n0", *(ask(f"r{n}", ns="b", ran=600) for n in range(4)))
        waiting = [ask("whole", 4, ns="a"), *(ask(f"w{n}", ns="b", age=-n) for n in range(4))]
        return Queue(nodes(4), weights={"b": 4.0}, running=running, waiting=waiting)

    def test_whoever_has_a_node_kept_stays_first_while_it_empties(self) -> None:
        queue = self.queue()
        for left in (3, 2, 1, 0):
            queue.carry_out(queue.plan())
            assert queue.kept == {Key("a", "whole-1")}
            # Had they their turn by what they hold now, they would take what the first one waits for.
            queue.finish(lambda run, left=left: run.experiment.name == f"r{left}")  # type: ignore[misc]
        assert queue.released() == ["whole"]

    def test_what_is_kept_is_promised_to_nobody_else(self) -> None:
        queue = self.queue()
        queue.carry_out(queue.plan())
        queue.finish(lambda run: run.experiment.name in ("r0", "r1"))
        plan = queue.plan()
        assert (plan.release, plan.preempt, plan.kept) == ((), (), {Key("a", "whole-1")})

    def test_where_one_that_was_released_will_be_is_known_before_its_pod_is_there(self) -> None:
        """Else the GPU that it is about to take would be given to the next one, and that would go where none is meant
        to."""
        first = replace(ask("first", ran=0), meant_for="n0")
        queue = Queue(nodes(4, 1), running=[(first, "")], waiting=[ask("next")])
        (release,) = queue.plan().release
        assert preferred(release) == "n1"
        queue.running = [(replace(first, meant_for=None), "")]
        (release,) = queue.plan().release
        assert preferred(release) == "n0", "of which it is not known it is thought to go where it fits most tightly"

    @pytest.mark.parametrize(("gpus", "nodes_"), [(0, (4, 4)), (1, (4,))], ids=["without GPUs", "one node"])
    def test_one_that_has_no_choice_of_nodes_is_still_told_which_it_goes_past(
        self, gpus: int, nodes_: tuple[int, ...]
    ) -> None:
        (told,) = Queue(nodes(*nodes_), waiting=[ask("x", gpus, avoid=("broken",))]).plan().release
        assert told.avoid == ("broken",)
        assert list(told.affinity or {}) == ["requiredDuringSchedulingIgnoredDuringExecution"]
        (nothing_new,) = Queue(nodes(*nodes_), waiting=[ask("x", gpus)]).plan().release
        assert nothing_new.affinity is None

    def test_a_large_cluster_keeps_a_node_for_each_of_several_namespaces(self) -> None:
        running = [(ask(f"r{n}-{g}", ns="z", ran=60), f"n{n}") for n in range(64) for g in range(2)]
        waiting = [ask(name, 2, ns=ns) for ns in "abc" for name in ("x", "y")]
        large = Queue(nodes(*[2] * 64), running=running, waiting=waiting)
        assert large.plan().kept == {Key("a", "x-1"), Key("b", "x-1")}
        smaller = Queue(nodes(*[2] * 63), running=running[:126], waiting=waiting)
        assert smaller.plan().kept == {Key("a", "x-1")}

    def test_it_is_kept_no_more_once_it_has_gone(self) -> None:
        queue = self.queue()
        queue.carry_out(queue.plan())
        queue.waiting = queue.waiting[1:]
        queue.finish(lambda run: run.experiment.name == "r0")
        assert queue.released() == ["w0"]


class TestQuota:
    def test_it_is_never_exceeded(self) -> None:
        queue = Queue(
            nodes(8),
            quotas={"a": Quota(limit=4, used_by_others=1)},
            running=on("n0", ask("r", ran=999)),
            waiting=[ask(f"w{n}", age=9 - n) for n in range(4)],
        )
        assert queue.released() == ["w0", "w1"]
        assert queue.why()["w3"] == "quota of namespace a: 4 of 4 GPUs are used"

    def test_what_is_left_of_it_is_kept_for_the_first_in_line(self) -> None:
        queue = Queue(
            nodes(8),
            quotas={"a": Quota(limit=2)},
            running=on("n0", ask("r", ran=999)),
            waiting=[ask("two", 2, age=9), ask("one")],
        )
        assert queue.released() == []
        assert queue.why()["one"] == "quota of namespace a: 1 of 2 GPUs are used, 1 kept for the next in line"

    def test_one_that_it_never_allows_keeps_nothing(self) -> None:
        queue = Queue(nodes(8), quotas={"a": Quota(limit=2)}, waiting=[ask("four", 4, age=9), ask("one")])
        assert queue.released() == ["one"]
        assert queue.why() == {"four": "quota of namespace a: 2 GPUs, and it needs 4"}

    def test_one_that_was_cut_below_use_starts_nothing_and_stops_nobody(self) -> None:
        queue = Queue(
            nodes(8),
            quotas={"a": Quota(limit=1)},
            running=on("n0", ask("r0", ran=999), ask("r1", ran=999)),
            waiting=[ask("w"), ask("other", ns="b")],
        )
        assert (queue.released(), queue.preempted()) == (["other"], [])
        assert queue.why() == {"w": "quota of namespace a: 2 of 1 GPUs are used"}

    def test_every_pod_counts_and_of_other_kinds_none(self) -> None:
        look, part = (pod_of(ask(name), "n0") for name in ("look", "part"))
        queue = Queue(nodes(8), quotas={"a": Quota(limit=2)}, waiting=[ask("w0", age=2), ask("w1", age=1)])
        queue.beside = [look, replace(part, resource="nvidia.com/mig-1g.10gb")]
        assert queue.released() == ["w0"]
        assert queue.why() == {"w1": "quota of namespace a: 2 of 2 GPUs are used"}

    def test_a_run_without_gpus_needs_none(self) -> None:
        assert Queue(nodes(1), quotas={"a": Quota(limit=0)}, waiting=[ask("cpu", 0)]).released() == ["cpu"]


class TestRoomInAQuota:
    """Runs of the namespace itself give way, as they would for a place on a node; nobody else's do."""

    def queue(self, *running: Request, limit: int, waiting: list[Request]) -> Queue:
        return Queue(nodes(8), quotas={"a": Quota(limit=limit)}, running=on("n0", *running), waiting=waiting)

    def test_an_interactive_run_gets_what_a_preemptible_one_holds_of_it(self) -> None:
        old, young = ask("old", priority=P, ran=500), ask("young", priority=P, ran=5)
        queue = self.queue(old, young, limit=2, waiting=[ask("i", priority=I)])
        plan = queue.plan()
        assert [order.experiment.name for order in plan.preempt] == ["young"]
        assert plan.preempt[0].message == "gives 1 GPU to a/i (Interactive)"
        assert queue.why() == {"i": "quota of namespace a: 2 of 2 GPUs are used"}
        queue.carry_out(plan)
        assert (queue.released(), queue.preempted()) == ([], []), "what is told to stop is not told twice"
        queue.pods_end()
        assert queue.released() == ["i"], "and not the one that gave way"

    @pytest.mark.parametrize(
        ("runs", "waits", "who"),
        [
            ([ask("x", priority=P, ran=9999)], ask("s"), ["x"]),
            ([ask("x", priority=P, ran=10)], ask("s"), []),
            ([ask("x", priority=S, ran=9999)], ask("i", priority=I), []),
            ([ask("x", priority=P, ran=9999)], ask("p", priority=P), []),
            ([ask("x", priority=P, ran=99), ask("y", priority=P, ran=9)], ask("i", 2, priority=I), ["y", "x"]),
            ([ask("x", priority=P, ran=99), ask("y", ran=9)], ask("i", 2, priority=I), []),
        ],
        ids=[
            "standard",
            "not before its time",
            "no standard one",
            "for no preemptible one",
            "two",
            "one is not enough",
        ],
    )
    def test_who_gives_way(self, runs: list[Request], waits: Request, who: list[str]) -> None:
        assert self.queue(*runs, limit=len(runs), waiting=[waits]).preempted() == who

    def test_others_have_nothing_of_it_to_give(self) -> None:
        others = on("n0", *(ask(f"b{n}", ns="b", priority=P, ran=9999) for n in range(3)))
        queue = self.queue(ask("r", ran=9999), limit=1, waiting=[ask("i", priority=I)])
        queue.running += others
        assert queue.preempted() == []

    def test_where_the_node_is_full_too_those_on_it_go(self) -> None:
        queue = self.queue(
            ask("here", priority=P, ran=500), ask("b", 3, ns="b", ran=500), limit=2, waiting=[ask("i", priority=I)]
        )
        queue.nodes = nodes(4, 1)
        queue.running += on("n1", ask("there", priority=P, ran=5))
        # Either would do: the youngest.
        assert queue.preempted() == ["there"]
        queue.waiting = [ask("i", 2, priority=I)]
        assert queue.preempted() == [], "no node would have two of its GPUs"
        queue.nodes = nodes(4, 4)
        assert queue.preempted() == ["there", "here"]

    def test_the_first_in_line_is_not_passed_by_one_that_needs_less(self) -> None:
        line = [ask("two", 2, priority=I, age=9), ask("one", priority=I)]
        queue = self.queue(ask("r", ran=9999), limit=2, waiting=line)
        plan = queue.plan()
        assert (plan.release, plan.preempt, plan.kept) == ((), (), frozenset())

    def test_one_that_is_more_than_the_quota_has_nobody_preempted(self) -> None:
        queue = self.queue(ask("p", priority=P, ran=999), limit=1, waiting=[ask("i", 2, priority=I)])
        assert queue.preempted() == []

    def test_below_a_quota_that_was_cut_as_many_give_way_as_are_over_it(self) -> None:
        runs = [ask(f"p{n}", priority=P, ran=100 + n) for n in range(3)]
        assert self.queue(*runs, limit=2, waiting=[ask("i", priority=I)]).preempted() == ["p0", "p1"]


class TestVictims:
    def test_an_interactive_run_gets_the_gpus_of_a_preemptible_one_at_once(self) -> None:
        queue = Queue(nodes(1), running=on("n0", ask("p", priority=P, ran=1)), waiting=[ask("i", ns="b", priority=I)])
        (order,) = queue.plan().preempt
        assert (order.job, order.experiment) == (Key("a", "p-1"), Key("a", "p"))
        assert order.message == "gives 1 GPU to b/i (Interactive)"
        assert queue.released() == [], "its GPU is free when its pod is gone"

    @pytest.mark.parametrize(
        ("runs", "waits", "who"),
        [
            ([ask("x", priority=S, ran=9999)], ask("i", priority=I), []),
            ([ask("x", priority=I, ran=9999)], ask("i", priority=I), []),
            ([ask("x", priority=P, ran=9999)], ask("s"), ["x"]),
            ([ask("x", priority=P, ran=10)], ask("s"), []),
            ([ask("x", priority=P)], ask("s"), []),
            ([ask("x", priority=P, ran=9999)], ask("p", priority=P, ns="b"), []),
            ([ask("x", ran=9999), ask("y", ran=999)], ask("s", ns="b"), ["y"]),
            ([ask("x", ran=9999), ask("y", ran=99)], ask("s", ns="b"), ["x"]),
            ([ask("x", ran=9999)], ask("s", ns="b"), []),
            ([ask("x", ran=9999), ask("y", ran=9999)], ask("p", ns="b", priority=P), []),
        ],
        ids=[
            "interactive: no standard one of its own namespace",
            "interactive: no interactive one",
            "standard: a preemptible one of the same user",
            "standard: not before it has run its time",
            "standard: not one that has only been released",
            "preemptible: nobody",
            "standard: the youngest of a namespace over its share",
            "standard: of these only one that has run its time",
            "standard: not where that leaves the other below its share",
            "preemptible: nobody of a namespace over its share either",
        ],
    )
    def test_who_gives_way_to_whom(self, runs: list, waits: object, who: list[str]) -> None:  # type: ignore[type-arg]
        gpus = len(runs)
        assert Queue(nodes(gpus), running=on("n0", *runs), waiting=[waits]).preempted() == who  # type: ignore[list-item]

    def test_the_fewest_and_on_one_node(self) -> None:
        running = on("n0", *(ask(f"a{n}", priority=P, ran=999 + n) for n in range(4)))
        running += on("n1", ask("b0", 3, priority=P, ran=5000), ask("b1", 1, ran=5000))
        queue = Queue(nodes(4, 4), running=running, waiting=[ask("i", 2, priority=I)])
        assert queue.preempted() == ["b0"]

    def test_of_one_that_has_used_more_a_standard_run_takes_nothing(self) -> None:
        queue = Queue(
            nodes(1),
            usage={("b", ""): 1e9},
            running=on("n0", ask("p", ns="a", priority=P, ran=9999)),
            waiting=[ask("s", ns="b")],
        )
        assert queue.preempted() == []

    def test_nobody_else_is_asked_while_a_pod_is_ending(self) -> None:
        running = on("n0", *(ask(f"p{n}", priority=P, ran=100 + n) for n in range(4)))
        queue = Queue(nodes(4), running=running, waiting=[ask("i", priority=I)])
        queue.carry_out(queue.plan())
        assert [run.experiment.name for run, _ in queue.stopping] == ["p0"]
        assert (queue.preempted(), queue.released()) == ([], [])
        queue.pods_end()
        assert queue.released() == ["i"]

    def test_several_that_wait_get_room_of_one_node_at_once(self) -> None:
        running = on("n0", *(ask(f"p{n}", priority=P, ran=100 + n) for n in range(4)))
        queue = Queue(nodes(4), running=running, waiting=[ask(f"i{n}", priority=I) for n in range(3)])
        assert queue.preempted() == ["p0", "p1", "p2"]


class TestReasons:
    def test_a_place_in_the_line_and_about_how_long(self) -> None:
        queue = Queue(
            nodes(4),
            run_time=timedelta(minutes=40),
            running=on("n0", ask("r", 4, ran=999)),
            waiting=[ask("one", age=9), ask("two", 2), ask("other", ns="b", age=5)],
        )
        queue.usage = {("b", ""): 1.0}
        plan = queue.plan()
        told = tell(plan, before={}, stored=lambda key: None, now=START)
        assert plan.standing[Key("a", "two")] == Standing(2, 40 * 60)
        assert str(told[Key("a", "two")].why) == (
            "position 2 in a; waits for 2 GPUs on one node: 0 of 4 free; about 40 min"
        )
        assert str(told[Key("b", "other")].why).startswith("position 1 in b; waits for 1 GPU: 0 of 4 free")

    def test_that_is_told_again_only_when_it_is_much_nearer(self) -> None:
        key = Key("a", "x")
        why = Why(Reason.WAITING_FOR_GPUS, "waits for 1 GPU: 0 of 4 free")

        def at(position: int, seconds: float, before: dict[Key, Told]) -> dict[Key, Told]:
            plan = QueuePlan(reasons={key: why}, standing={key: Standing(position)})
            return tell(plan, before=before, stored=lambda _: None, now=START + timedelta(seconds=seconds))

        first = at(18, 0, {})
        assert at(7, 100, first) == first
        assert at(6, 30, first) == first
        assert at(6, 100, first)[key].position == 6
        far = at(9000, 0, {})
        assert at(300, 100, far) == far
        writes, known = 0, first
        for position in range(18, 0, -1):
            after = at(position, 1000 - position * 50, known)
            writes, known = writes + (after != known), after
        assert writes == 2

    def test_another_reason_is_told_at_once(self) -> None:
        key = Key("a", "x")
        place = Why(Reason.WAITING_FOR_GPUS, "waits for 1 GPU: 0 of 4 free")
        quota = Why(Reason.WAITING_FOR_GPUS, "quota of namespace a: 4 of 4 GPUs are used")

        def told(why: Why, standing: Standing | None, before: dict[Key, Told]) -> dict[Key, Told]:
            plan = QueuePlan(reasons={key: why}, standing={key: standing} if standing else {})
            return tell(plan, before=before, stored=lambda _: None, now=START)

        before = told(place, Standing(4), {})
        assert str(told(quota, Standing(4), before)[key].why).startswith("position 4 in a; quota of namespace a")
        misfit = Why(Reason.NO_FITTING_NODE, "no node has 9 GPUs")
        assert told(misfit, None, before)[key].why == misfit

    def test_after_a_restart_what_stands_in_the_status_holds(self) -> None:
        key = Key("a", "x")
        stands = Why(Reason.WAITING_FOR_GPUS, "position 4 in a; waits for 1 GPU: 1 of 4 free; about 2 h")
        why = Why(Reason.WAITING_FOR_GPUS, "waits for 1 GPU: 0 of 4 free")
        plan = QueuePlan(reasons={key: why}, standing={key: Standing(2)})
        assert tell(plan, before={}, stored=lambda _: stands, now=START)[key].why == stands

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(5, "about 1 min"), (12 * 60, "about 12 min"), (7200, "about 2 h"), (86400 * 3, "about 3 days")],
    )
    def test_a_guess_sounds_like_one(self, seconds: float, words: str) -> None:
        assert roughly(timedelta(seconds=seconds)) == words


class TestWeights:
    @pytest.mark.parametrize(
        ("text", "weight"),
        [
            ("2", 2.0),
            (" 0.5 ", 0.5),
            ("0", None),
            ("-1", None),
            ("NaN", None),
            ("two", None),
            ("1e9", None),
            ("", None),
        ],
    )
    def test_what_is_one(self, text: str, weight: float | None) -> None:
        assert parse_weight(text) == weight

    def test_what_one_does_not_want_is_shared_among_the_others(self) -> None:
        due = entitlements(12, demands={"a": 2, "b": 99, "c": 99}, weights={"a": 1, "b": 3, "c": 1})
        assert due == {"a": 2, "b": 7.5, "c": 2.5}

    def test_every_priority_has_a_rank(self) -> None:
        queue = Queue(nodes(3), waiting=[ask(priority.value.lower(), priority=priority) for priority in Priority])
        assert queue.released() == ["interactive", "standard", "preemptible"]
