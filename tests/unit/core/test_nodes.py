"""Which nodes all runs go past for a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orkhaven.api import Reason
from orkhaven.api.experiment import Attempt, ExperimentStatus
from orkhaven.core.nodes import Blame, avoided_nodes, blames_of, same_until
from tests.unit.core.world import START


def blame(node: str, experiment: str, *, minutes: float = 0, reason: str = "GpuHardware") -> Blame:
    """`minutes`: that it is ago."""
    return Blame(node, reason, experiment, START - timedelta(minutes=minutes))


def names(*blames: Blame, later: float = 0) -> list[str]:
    return [one.node for one in avoided_nodes(blames, now=START + timedelta(minutes=later))]


@pytest.mark.parametrize(
    ("blames", "expected"),
    [
        ([], []),
        ([blame("a", "x"), blame("a", "y")], []),
        ([blame("a", "x"), blame("a", "y"), blame("a", "z")], ["a"]),
        ([blame("a", "x"), blame("a", "x"), blame("a", "x")], []),
        ([blame("a", "x"), blame("a", "y"), blame("a", "z", minutes=61)], []),
        ([blame("a", "x"), blame("a", "y"), blame("a", "z", reason="Infrastructure")], []),
        ([blame("a", "x"), blame("a", "y"), blame("b", "z")], []),
        ([blame(n, x) for n in "ba" for x in "xyz"], ["a", "b"]),
        ([blame(n, x, reason="Infrastructure") for n in "ab" for x in "xyz"], []),
        ([*(blame("a", x, reason="Stalled") for x in "xyz"), blame("b", "x", reason="Stalled")], ["a"]),
    ],
    ids=[
        "nothing",
        "two experiments",
        "three experiments",
        "one experiment, three times",
        "one of them long ago",
        "not the same cause",
        "not the same node",
        "hardware of two nodes",
        "storage is away for all",
        "far more than elsewhere",
    ],
)
def test_who_is_avoided(blames: list[Blame], expected: list[str]) -> None:
    assert names(*blames) == expected
    assert names(*reversed(blames)) == expected


def test_it_is_used_again_once_its_failures_are_an_hour_old() -> None:
    blames = [blame("a", x, minutes=m) for x, m in zip("wxyz", (50, 40, 30, 20), strict=True)]
    (found,) = avoided_nodes(blames, now=START)
    assert (found.experiments, found.reason) == (4, "GpuHardware")
    assert found.until == START + timedelta(minutes=20), "then only two of the last hour are left"
    assert names(*blames, later=19.9) == ["a"]
    assert names(*blames, later=20) == []


def test_blames_are_the_attempts_that_failed_of_what_may_be_the_nodes() -> None:
    def attempt(number: int, reason: Reason | None, node: str | None = "a") -> Attempt:
        return Attempt(number=number, job=f"x-{number}", node=node, reason=reason, end_time=START)

    reasons = [Reason.GPU_HARDWARE, Reason.USER_EXCEPTION, Reason.NODE_LOST, Reason.STALLED, None, Reason.COMPLETED]
    attempts = [attempt(number, reason) for number, reason in enumerate(reasons, 1)]
    attempts.append(attempt(9, Reason.GPU_HARDWARE, node=None))
    found = blames_of("u", ExperimentStatus(attempts=attempts))
    assert found == (Blame("a", "GpuHardware", "u", START), Blame("a", "Stalled", "u", START))


def test_a_status_names_no_more_than_sixteen() -> None:
    blames = [blame(f"n{n:02}", x) for n in range(40) for x in "xyz"]
    assert names(*blames) == [f"n{n:02}" for n in range(16)]


def test_what_a_rule_of_the_users_says_is_the_nodes_is_so() -> None:
    def attempt(number: int, reason: str, rule: str | None) -> Attempt:
        message = "it is down (rule nvlink)"  # as a program could say itself
        return Attempt(
            number=number, job=f"x-{number}", node="a", reason=reason, message=message, rule=rule, end_time=START
        )

    attempts = [
        attempt(1, "NvLink", "nvlink"),
        attempt(2, "NvLink", "of-another-place"),
        attempt(3, "CudaError", "illegal"),
        attempt(4, "CudaError", None),
        attempt(5, "Infrastructure", None),
    ]
    found = blames_of("u", ExperimentStatus(attempts=attempts), rules={"nvlink", "illegal"})
    assert [(one.reason, one.sure) for one in found] == [
        ("NvLink", True),
        ("CudaError", True),
        ("Infrastructure", False),
    ]


def test_such_a_node_is_avoided_even_where_as_many_failed_elsewhere() -> None:
    sure = [replace(blame(node, x, reason="NvLink"), sure=True) for node in "ab" for x in "xyz"]
    assert names(*sure) == ["a", "b"]
    assert names(*(replace(one, sure=False) for one in sure)) == []


def test_until_the_oldest_blame_is_an_hour_old_nothing_changes_by_itself() -> None:
    blames = [blame("a", x, minutes=m) for x, m in zip("xyz", (70, 50, 20), strict=True)]
    assert same_until(blames, now=START) == START + timedelta(minutes=10)
    assert same_until(blames[:1], now=START) is None
