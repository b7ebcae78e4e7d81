"""Again or not, at whose expense, with what changed, and where not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.retry import Overrides
from orkhaven.core.failures import Action, Cause
from orkhaven.core.overrides import effective, escalated, in_words, is_room
from orkhaven.core.parse import parse_node
from orkhaven.core.retry import POLICIES, backoff, decide, no_later
from orkhaven.core.views import Defaults
from tests.unit.core.world import DEFAULTS, DONE, World, make_experiment, make_node

UID = "uid-x"


def cause(reason: Reason, **fields: Any) -> Cause:
    return Cause(reason=reason, message="it broke", **fields)


def counts(what: Cause, *, ended: int = 1, used: int = 0, limit: int = 2, changed: bool = False) -> bool | None:
    """Whether the next attempt counts; None: there is none."""
    again = decide(
        what,
        ended=[str(what.reason)] * ended,
        retries_used=used,
        limit=limit,
        uid=UID,
        defaults=DEFAULTS,
        changed=changed,
    )
    return None if again is None else again.counted


def test_every_cause_has_its_row() -> None:
    reasons = list(Reason)
    assert set(POLICIES) == set(reasons[reasons.index(Reason.PREEMPTED) :])


class TestByCause:
    @pytest.mark.parametrize("reason", [Reason.PREEMPTED, Reason.DRAINED, Reason.NODE_LOST])
    def test_what_the_cluster_did_is_free_however_often(self, reason: Reason) -> None:
        assert counts(cause(reason), ended=50, used=2) is False

    @pytest.mark.parametrize(
        "reason",
        [
            Reason.IMAGE_PULL,
            Reason.GPU_HARDWARE,
            Reason.INFRASTRUCTURE,
            Reason.VOLUME_TIMEOUT,
            Reason.CRASHED,
            Reason.USER_EXCEPTION,
        ],
    )
    def test_what_may_pass_counts_up_to_the_limit(self, reason: Reason) -> None:
        assert [counts(cause(reason), used=used) for used in (0, 1, 2)] == [True, True, None]

    @pytest.mark.parametrize("reason", [Reason.METRIC_MISSING, Reason.STALLED, Reason.HUNG_AT_START])
    def test_what_is_tried_once_more(self, reason: Reason) -> None:
        assert [counts(cause(reason), ended=ended, limit=9) for ended in (1, 2)] == [True, None]

    @pytest.mark.parametrize(
        "reason",
        [
            Reason.CONFIG_ERROR,
            Reason.TIMEOUT,
            Reason.GPU_SETUP,
            Reason.CUDA_ERROR,
            Reason.DISK_FULL,
            Reason.SHARED_MEMORY,
            Reason.DATA_ERROR,
            Reason.CHECKPOINT_ERROR,
            Reason.IMPORT_ERROR,
            Reason.INVALID_PARAMS,
            Reason.SHAPE_MISMATCH,
            Reason.DIVERGED,
            Reason.INVALID_SPEC,
        ],
    )
    def test_what_trying_again_cannot_help(self, reason: Reason) -> None:
        assert counts(cause(reason), changed=True) is None

    @pytest.mark.parametrize("reason", [Reason.OUT_OF_MEMORY_KILLED, Reason.CUDA_OUT_OF_MEMORY])
    def test_out_of_memory_only_where_something_changes(self, reason: Reason) -> None:
        assert counts(cause(reason)) is None
        assert counts(cause(reason), changed=True) is True
        assert counts(cause(reason), changed=True, used=2) is None

    @pytest.mark.parametrize(
        ("action", "expected"),
        [(Action.NEVER, None), (Action.RETRY, True), (Action.OTHER_NODE, True), (Action.MORE_MEMORY, None)],
    )
    def test_a_users_rule_goes_before_the_reasons_own_row(self, action: Action, expected: bool | None) -> None:
        assert counts(cause(Reason.DATA_ERROR, action=action)) is expected
        assert counts(cause(Reason.NODE_LOST, action=action)) is expected

    def test_a_word_of_the_users_own_is_treated_as_any_other_exception(self) -> None:
        word = Cause(reason="LicenseServer", message="no seat")
        again = [
            decide(word, ended=["LicenseServer"], retries_used=used, limit=1, uid=UID, defaults=DEFAULTS)
            for used in (0, 1)
        ]
        assert [one and one.counted for one in again] == [True, None]

    def test_an_invalid_image_name_is_never_pulled_again(self) -> None:
        assert counts(cause(Reason.IMAGE_PULL, may_pass=False)) is None


def test_the_wait_doubles_up_to_the_longest_with_up_to_a_fifth_more() -> None:
    defaults = Defaults(image="i", retry_base_seconds=10, retry_max_seconds=100)
    waits = [backoff(n, uid=UID, attempt=n, defaults=defaults) for n in range(1, 8)]
    for wait, plain in zip(waits, [10, 20, 40, 80, 100, 100, 100], strict=True):
        assert plain <= wait <= plain * 1.2
    assert waits == [backoff(n, uid=UID, attempt=n, defaults=defaults) for n in range(1, 8)]
    others = {backoff(1, uid=f"uid-{n}", attempt=1, defaults=defaults) for n in range(20)}
    assert len(others) == 20, "runs that died together do not come back together"


def spec(memory: str | None = "16Gi", **rule: Any) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "params": {"batch_size": 16, "model": {"name": "unet"}},
            "resources": {"memory": memory} if memory else {},
            **({"retry": {"outOfMemory": rule}} if rule else {}),
        }
    )


class TestEscalation:
    @pytest.mark.parametrize(
        ("rule", "had", "host", "expected"),
        [
            ({"memoryFactor": 1.5}, None, True, ("24Gi", None)),
            ({"memoryFactor": 1.5}, "24Gi", True, ("36Gi", None)),
            ({"memoryFactor": 1.5, "maxMemory": "32Gi"}, "24Gi", True, ("32Gi", None)),
            ({"memoryFactor": 1.5, "maxMemory": "32Gi"}, "32Gi", True, None),
            ({"memoryFactor": 1.1}, None, True, ("18023Mi", None)),
            ({"memoryFactor": 1.5}, None, False, None),
            ({"params": {"batch_size": 4}}, None, False, (None, {"batch_size": 4})),
            ({"params": {"batch_size": 4}}, None, True, (None, {"batch_size": 4})),
            ({"memoryFactor": 2, "params": {"batch_size": 4}}, None, True, ("32Gi", {"batch_size": 4})),
            ({"params": {"batch_size.x": 4}}, None, False, None),
        ],
        ids=str,
    )
    def test_the_next_attempt_gets(
        self, rule: dict[str, Any], had: str | None, host: bool, expected: tuple[str | None, Any] | None
    ) -> None:
        found = escalated(spec(**rule), Overrides(memory=had) if had else None, host=host)
        assert (found and (found.memory, found.params)) == expected

    def test_the_same_parameters_are_tried_once(self) -> None:
        rule = ExperimentSpec.model_validate({"params": {"a": 1}, "retry": {"outOfMemory": {"params": {"a": 0}}}})
        first = escalated(rule, None, host=False)
        assert first is not None
        assert escalated(rule, first, host=False) is None
        assert escalated(rule, Overrides(params={"a": 2}), host=False) == first, "what the user has changed since"

    def test_a_users_rule_asks_for_the_usual_factor(self) -> None:
        assert escalated(spec(), None, host=True) is None
        assert escalated(spec(), None, host=True, asked=True) == Overrides(memory="24Gi")
        assert escalated(spec(memory=None), None, host=True, asked=True) is None, "there is no limit to raise"

    def test_what_it_comes_to(self) -> None:
        changed = effective(spec(), Overrides(memory="24Gi", params={"batch_size": 4, "model.depth": None}))
        assert changed.resources.memory == "24Gi"
        assert changed.params == {"batch_size": 4, "model": {"name": "unet", "depth": None}}
        assert in_words(Overrides(memory="24Gi", params={"batch_size": 4})) == "with 24Gi of memory and batch_size=4"
        assert (in_words(None), in_words(Overrides())) == ("", "")

    @pytest.mark.parametrize(("has", "room"), [("30Gi", True), ("20Gi", False), (None, True)], ids=str)
    def test_a_node_has_to_have_it(self, has: str | None, room: bool) -> None:
        body = make_node()
        if has is not None:
            body["status"]["allocatable"]["memory"] = has
        assert is_room(spec(memory="24Gi"), {"n1": parse_node(body)}) is room


def oom_world(**rule: Any) -> World:
    return World(
        make_experiment(
            params={"batch_size": 16}, resources={"memory": "16Gi"}, retry={"limit": 3, "outOfMemory": rule}
        )
    )


def pod_spec(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.job["spec"]["template"]["spec"]
    return found


class TestARunOutOfMemory:
    def test_it_comes_back_with_more_each_time_until_that_is_enough(self) -> None:
        world = oom_world(memoryFactor=1.5, maxMemory="32Gi")
        folder = None
        for memory in ("16Gi", "24Gi", "32Gi"):
            world.wait(60).settle()
            assert pod_spec(world)["containers"][0]["resources"]["limits"]["memory"] == memory
            folder = folder or pod_spec(world)["containers"][0]["env"]
            assert pod_spec(world)["containers"][0]["env"] == folder, "it goes on in its folder"
            world.release().start().settle()
            world.wait(30).exit(137, reason="OOMKilled").settle()
        assert world.seen == ("Failed", "OutOfMemoryKilled")
        assert [a.get("memory") for a in world.status["attempts"]] == [None, "24Gi", "32Gi"]
        assert world.status["failure"]["message"] == "killed for taking more than its memory limit of 32Gi"
        assert world.status["retriesUsed"] == 2

    def test_no_node_has_that_much(self) -> None:
        world = oom_world(memoryFactor=4)
        world.nodes["n1"]["status"]["allocatable"]["memory"] = "32Gi"
        world.run().exit(137, reason="OOMKilled").settle()
        assert world.seen == ("Failed", "OutOfMemoryKilled")
        assert world.status["failure"]["suggestion"].startswith("Not tried again with 64Gi of memory: no node has")

    def test_with_other_parameters_it_is_another_run_in_a_folder_of_its_own(self) -> None:
        world = oom_world(params={"batch_size": 4, "crop": None})
        world.run()
        before = dict(world.status)
        world.exit(1, "torch.OutOfMemoryError: CUDA out of memory").settle()
        assert world.status["overrides"] == {"params": {"batch_size": 4, "crop": None}}
        assert "retryAt" in world.status
        world.wait(60).settle()
        assert world.status["runHash"] != before["runHash"]
        assert world.status["paramHash"] != before["paramHash"]
        config = world.job["spec"]["template"]["metadata"]["annotations"]["orkhaven.io/config"]
        assert '"params":{"batch_size":4,"crop":null}' in config
        assert world.status["runHash"] in config
        world.release().start().settle()
        world.wait(30).exit(0, DONE).settle()
        assert world.seen == ("Succeeded", "Completed")
        twin = World(make_experiment("y", params={"batch_size": 16}, resources={"memory": "16Gi"}))
        twin.settle()
        assert twin.status["runHash"] == before["runHash"], "an identical run does not take it for its own"

    def test_a_run_with_a_folder_of_its_own_gets_another(self) -> None:
        world = oom_world(params={"batch_size": 4})
        world.experiment["spec"]["dedupe"] = "Never"
        world.run()
        before = world.status["outputFolder"]
        world.exit(1, "CUDA out of memory").settle()
        after = world.status["outputFolder"]
        assert after != before
        assert after.startswith(world.status["runHash"][:55])

    def test_the_next_status_write_lost_changes_nothing(self) -> None:
        world = oom_world(params={"batch_size": 4})
        world.run().exit(1, "CUDA out of memory")
        lost = world.plan()
        assert lost.status == world.plan().status
        world.settle()
        world.wait(60)
        for action in world.plan().actions:
            world.carry_out(action)  # the Job is there, the status write is lost
        (made,) = [job for name, job in world.jobs.items() if name == "x-2"]
        world.settle()
        assert world.jobs["x-2"] == made
        assert world.status["attemptCount"] == 2


def two_nodes() -> World:
    world = World(make_experiment(retry={"limit": 5}))
    world.nodes["n2"] = make_node("n2")
    return world


def where_not(world: World) -> list[str]:
    """Nodes that the latest Job may not go to."""
    named: str = world.job["metadata"].get("annotations", {}).get("orkhaven.io/avoid", "")
    affinity = pod_spec(world).get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    past = [name for term in terms for one in term["matchExpressions"] for name in one["values"]]
    assert past == [name for name in named.split(",") if name]
    return past


class TestElsewhere:
    def test_after_broken_hardware_the_next_attempt_goes_elsewhere(self) -> None:
        world = two_nodes().run()
        world.exit(1, "NVRM: Xid 79: GPU has fallen off the bus").settle()
        assert world.status["avoid"] == [{"node": "n1", "reason": "GpuHardware"}]
        world.wait(60).settle()
        assert where_not(world) == ["n1"]
        assert world.status["attempts"][-1]["avoid"] == ["n1"]

    def test_of_other_causes_two_on_one_node_are_enough(self) -> None:
        world = two_nodes()
        for before in ([], [], ["n1"]):
            world.wait(100).settle()
            assert where_not(world) == before
            world.release().start().settle()
            world.wait(30).exit(1, "RuntimeError: it broke").settle()

    def test_on_the_only_node_it_is_tried_again_rather_than_never(self) -> None:
        world = World(make_experiment(retry={"limit": 5})).run()
        world.exit(1, "Xid 79").settle()
        world.wait(60).settle()
        assert where_not(world) == []
        affinity = pod_spec(world)["affinity"]["nodeAffinity"]
        assert list(affinity) == ["preferredDuringSchedulingIgnoredDuringExecution"]

    @pytest.mark.parametrize(
        "other",
        [make_node("n2", ready=False), make_node("n2", gpus=0)],
        ids=["not ready", "too few GPUs"],
    )
    def test_a_node_that_could_not_run_it_is_no_other_node(self, other: dict[str, Any]) -> None:
        world = two_nodes()
        world.nodes["n2"] = other
        world.run().exit(1, "Xid 79").settle()
        world.wait(60).settle()
        assert where_not(world) == []


@pytest.mark.parametrize(
    ("waits", "at_most"),
    [(-30, -30), (0, 0), (700, 700), (720, 720), (721, 720), (3600, 720), (86_400, 720)],
    ids=lambda seconds: f"{seconds} s",
)
def test_a_date_that_no_back_off_can_have_made_is_brought_nearer(waits: int, at_most: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert no_later(now + timedelta(seconds=waits), now=now, defaults=Defaults(image="i")) == now + timedelta(
        seconds=at_most
    )
