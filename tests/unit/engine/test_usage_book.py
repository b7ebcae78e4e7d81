"""What deleted runs have used, in its ConfigMap: read before anything is decided, written after a deletion."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from orkhaven.core.queue.usage import Usage
from orkhaven.core.views import Key
from orkhaven.engine.usage_book import DATA, UsageBook
from orkhaven.errors import ApiError, Forbidden, LeaseLost, Unavailable
from tests.sim.cluster import FakeCluster, VirtualClock, drive, stamp
from tests.unit.core.test_usage import attempt, moment, run

WHERE = Key("orkhaven-system", "orkhaven-usage")
HALF = timedelta(hours=1)


class Clock(VirtualClock):
    """From the same moment as the attempts of `run`."""

    def now(self) -> datetime:
        return moment(self.seconds / 60)


@dataclass
class Operators:
    """One after the other, on one cluster."""

    clock: Clock = field(default_factory=lambda: Clock(180.0))
    usage: Usage = field(default_factory=lambda: Usage(HALF))

    def __post_init__(self) -> None:
        self.cluster = FakeCluster(self.clock)
        self.cluster.add({"kind": "ConfigMap", "metadata": {"namespace": WHERE.namespace, "name": WHERE.name}})
        self.book = self._book()

    def _book(self) -> UsageBook:
        return UsageBook(self.usage, self.cluster, clock=self.clock, config_map=WHERE)

    def restart(self) -> None:
        self.usage = Usage(HALF)
        self.book = self._book()
        drive(self.book.read())

    def deleted(self, uid: str, *, user: str = "eva", seconds: float = 120.0) -> None:
        self.usage.learn(run(attempt(1, 0, 1, seconds), uid=uid, user=user))
        self.usage.forget(uid, self.clock.now())

    @property
    def total(self) -> float:
        return sum(self.usage.at(self.clock.now()).values())

    @property
    def writes(self) -> int:
        return len(self.cluster.writes)

    def put(self, text: str) -> None:
        self.cluster.change("ConfigMap", *WHERE, lambda body: body.update(data={DATA: text}))

    def text(self) -> str:
        return str(self.cluster.objects["ConfigMap", *WHERE]["data"][DATA])


@pytest.fixture
def operators() -> Operators:
    return Operators()


def test_the_next_operator_knows_of_it(operators: Operators) -> None:
    operators.deleted("a")
    operators.deleted("b", user="max", seconds=60.0)
    before = operators.total
    drive(operators.book.write())
    assert json.loads(operators.text())["gpuSeconds"] == {"ns/eva": 117, "ns/max": 58}
    operators.restart()
    assert operators.total == pytest.approx(before, abs=1.0)
    operators.clock.advance(3600)
    assert operators.total == pytest.approx(before / 2, abs=1.0)
    operators.deleted("c")
    drive(operators.book.write())
    known = operators.total
    operators.restart()
    assert operators.total == pytest.approx(known, abs=2.0)


def test_nothing_is_written_where_nothing_was_deleted(operators: Operators) -> None:
    operators.usage.learn(run(attempt(1, 0, 1, 120.0)))
    drive(operators.book.write())
    operators.deleted("a")
    for _ in range(3):
        drive(operators.book.write())
    assert operators.writes == 1
    operators.restart()
    drive(operators.book.write())
    assert operators.writes == 1


def test_what_could_not_be_read_is_read_before_it_is_written_over(operators: Operators) -> None:
    operators.deleted("a")
    drive(operators.book.write())
    before = operators.total
    found, operators.cluster.objects = operators.cluster.objects, {}
    operators.restart()
    assert operators.total == 0.0
    operators.cluster.objects = found
    operators.clock.advance(1)
    operators.deleted("b", seconds=60.0)
    drive(operators.book.write())
    assert operators.total == pytest.approx(before * 1.5, abs=1.0)
    assert json.loads(operators.text())["gpuSeconds"]["ns/eva"] == pytest.approx(operators.total, abs=1.0)


@pytest.mark.parametrize("error", [Unavailable("no answer", status=503), Forbidden("no", status=403)])
def test_a_write_that_fails_is_done_later(operators: Operators, error: ApiError) -> None:
    def fail(*_: object) -> None:
        raise error

    operators.deleted("a")
    works, operators.cluster.before = operators.cluster.before, fail
    drive(operators.book.write())
    operators.cluster.before = works
    drive(operators.book.write())
    operators.restart()
    assert operators.total == pytest.approx(116, abs=1.0)


def test_without_the_lease_nothing_is_written(operators: Operators) -> None:
    def lost(*_: object) -> None:
        raise LeaseLost("not the leader")

    operators.deleted("a")
    operators.cluster.before = lost
    with pytest.raises(LeaseLost):
        drive(operators.book.write())


def test_without_the_config_map_it_is_said_once(operators: Operators, caplog: pytest.LogCaptureFixture) -> None:
    operators.cluster.objects = {}
    with caplog.at_level("INFO"):
        operators.restart()
        for uid in ("a", "b"):
            operators.deleted(uid)
            drive(operators.book.write())
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert operators.writes == 0
    assert operators.total == pytest.approx(234, abs=1.0), "this process knows it all the same"
    assert not operators.usage.has_news, "and does not keep each deletion"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"at": "yesterday", "gpuSeconds": {}}',
        '{"at": "2026-01-01T00:00:00", "gpuSeconds": {}}',
        '{"at": "2026-01-01T00:00:00Z", "gpuSeconds": {"a/b": -1}}',
        '{"at": "2026-01-01T00:00:00Z", "gpuSeconds": {"a/b": NaN}}',
        '{"at": "2026-01-01T00:00:00Z", "gpuSeconds": {"a/b": true}}',
        '{"at": "2026-01-01T00:00:00Z", "gpuSeconds": {"a/b": 1' + "0" * 400 + "}}",
        '{"at": "2026-01-01T00:00:00Z", "gpuSeconds": {"a/b": "many"}}',
    ],
)
def test_what_somebody_broke_by_hand_is_written_anew(
    operators: Operators, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    operators.put(text)
    operators.restart()
    assert operators.total == 0.0
    assert "cannot be read" in caplog.text
    operators.deleted("a")
    drive(operators.book.write())
    operators.restart()
    assert operators.total == pytest.approx(116, abs=1.0)


def test_what_was_written_by_a_clock_that_was_ahead_counts_as_now(operators: Operators) -> None:
    ahead = stamp(moment(60 * 24 * 365))
    operators.put(json.dumps({"at": ahead, "gpuSeconds": {"ns/eva": 100}}))
    operators.restart()
    assert operators.total == pytest.approx(100.0)


def test_users_with_a_slash_in_their_names_stay_who_they_are(operators: Operators) -> None:
    operators.deleted("a", user="oidc:lab/eva")
    drive(operators.book.write())
    operators.restart()
    assert list(operators.usage.at(moment(3))) == [("ns", "oidc:lab/eva")]
