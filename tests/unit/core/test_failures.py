"""The chain of causes: one case per thing that a pod, its container, its Job or its record can show."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkhaven.api import Reason
from orkhaven.core.failures import Evidence, Loss, Record, classify, classify_success, parse_record, suggestion
from orkhaven.core.retry import POLICIES
from tests.unit.core.causes import CASES, Case
from tests.unit.core.world import World, make_experiment


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cause(case: Case) -> None:
    world = World(make_experiment(**{"retry": {"limit": 0}, **case.spec})).run()
    case.happens(world)
    world.settle()
    ended = [attempt for attempt in world.status["attempts"] if "reason" in attempt]
    assert ended, world.status
    assert ended[0]["reason"] == case.reason, ended
    assert case.says in ended[0]["message"]
    assert suggestion(case.reason)
    free = POLICIES.get(Reason(case.reason)) == "free"
    assert world.seen[0] == ("Queued" if free else "Failed")
    if not free:
        assert world.status["failure"]["message"] == ended[0]["message"] == world.status["message"]
        assert world.status["failure"]["suggestion"]


def test_every_cause_has_a_case_and_a_suggestion() -> None:
    words = {case.reason for case in CASES.values()}
    causes = list(Reason)[list(Reason).index(Reason.PREEMPTED) : list(Reason).index(Reason.USER_EXCEPTION) + 1]
    hangs = {Reason.STALLED, Reason.HUNG_AT_START, Reason.VOLUME_TIMEOUT}  # judged while they live: test_stalls.py
    assert words == {reason.value for reason in causes if reason not in hangs}
    assert all(suggestion(reason) for reason in causes)


ALL_AT_ONCE = Evidence(
    disruption="PreemptionByScheduler",
    loss=Loss.NODE_GONE,
    removed=True,
    waiting_reason="ErrImagePull",
    deadline=True,
    terminated_reason="OOMKilled",
    exit_code=64,
    text="loss is nan\nConnection refused\nImportError: x\nNo space left on device\nXid\nBus error\nCUDA out of memory",
)


def test_the_first_match_wins_in_the_order_of_the_reference() -> None:
    """Evidence of everything at once, taken away piece by piece."""
    seen, left = [], ALL_AT_ONCE
    take_away: list[dict[str, object]] = [
        {"disruption": ""},
        {"loss": None},
        {"waiting_reason": ""},
        {"deadline": False, "removed": False},
        {"terminated_reason": ""},
        *[{"text": "\n".join(ALL_AT_ONCE.text.splitlines()[:count])} for count in range(6, 2, -1)],
        {"exit_code": 1},
        *[{"text": "\n".join(ALL_AT_ONCE.text.splitlines()[:count])} for count in range(2, 0, -1)],
        {"text": "no"},
    ]
    for change in [{}, *take_away]:
        left = dataclasses.replace(left, **change)  # type: ignore[arg-type]
        reason = classify(left).reason.value
        if not seen or seen[-1] != reason:
            seen.append(reason)
    assert seen == [
        "Preempted",
        "NodeLost",
        "ImagePull",
        "Timeout",
        "OutOfMemoryKilled",
        "CudaOutOfMemory",
        "SharedMemory",
        "GpuHardware",
        "DiskFull",
        "InvalidParams",
        "ImportError",
        "Infrastructure",
        "Diverged",
        "UserException",
    ]


def test_a_success_needs_the_objective_only_where_one_is_asked_for() -> None:
    assert classify_success(Evidence(objective=None)) is None
    assert classify_success(Evidence(objective="m", has_objective=True)) is None
    missing = classify_success(Evidence(objective="m"))
    assert missing is not None
    assert missing.reason == "MetricMissing"


WORDS = ["version", "outcome", "objective", "metrics", "failure", "type", "step", "value", "checkpoint", "path"]
NESTED = st.recursive(
    st.none() | st.text() | st.floats() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS), inner),
)


@given(st.text() | NESTED.map(json.dumps))
def test_any_termination_message_is_read_without_an_error(message: str) -> None:
    found = parse_record(message)
    assert found is None or isinstance(found, Record)


@given(
    st.builds(
        Evidence,
        exit_code=st.none() | st.integers(0, 255),
        terminated_reason=st.sampled_from(["", "OOMKilled", "Error", "StartError"]),
        waiting_reason=st.sampled_from(["", "ErrImagePull", "CreateContainerError"]),
        pod_reason=st.sampled_from(["", "Evicted", "NodeLost", "OutOfcpu", "UnexpectedAdmissionError"]),
        disruption=st.sampled_from(["", "DeletionByTaintManager", "X"]),
        removed=st.booleans(),
        loss=st.none() | st.sampled_from(list(Loss)),
        deadline=st.booleans(),
        text=st.text(max_size=40),
        data_paths=st.just(("/data",)),
    )
)
def test_whatever_is_seen_has_a_cause_with_a_sentence(evidence: Evidence) -> None:
    assert classify(evidence).message
