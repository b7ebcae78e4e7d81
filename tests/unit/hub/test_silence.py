"""Of which running runs the hub says that it hears nothing, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orkhaven.api import ExperimentStatus
from orkhaven.hub.silence import Silence
from tests.unit.hub.conftest import RunningHub, line
from tests.unit.hub.fakes import NAMESPACE, FakeCluster


class Clock:
    """Seconds since the epoch: the real time at first, then as the test says."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def silence(hub: RunningHub, clock: Clock) -> Silence:
    parts = hub.app.state.hub
    return Silence(hub.queries.catalogue, parts.gateway, parts.store.reader, parts.writer, clock=clock)


async def runs(hub: RunningHub, name: str, clock: Clock, **status: Any) -> None:
    """The operator has written that its container runs since now."""
    body = hub.cluster.objects["Experiment", NAMESPACE, name]
    started = datetime.fromtimestamp(clock.now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    attempt = {"number": 1, "job": f"{name}-1", "startTime": started}
    body["status"] = {**body.get("status", {}), "state": "Running", "attempts": [attempt], **status}
    hub.cluster.touch("Experiment", NAMESPACE, name)
    await hub.settled()


def told(cluster: FakeCluster, name: str) -> float | None:
    """Seconds of silence that its status tells of."""
    status = ExperimentStatus.model_validate(cluster.objects["Experiment", NAMESPACE, name].get("status", {}))
    silent = status.progress.silent if status.progress else None
    return None if silent is None else (silent.until - silent.since).total_seconds()


async def look(hub: RunningHub, silence: Silence) -> int:
    await hub.settled()
    return await silence.look()


async def test_a_run_of_which_nothing_was_ever_heard(hub: RunningHub, silence: Silence, clock: Clock) -> None:
    hub.cluster.add_run("trial")
    await runs(hub, "trial", clock)
    clock.now += 50
    assert await look(hub, silence) == 0
    clock.now += 12
    assert await look(hub, silence) == 1
    assert told(hub.cluster, "trial") == pytest.approx(62, abs=2)
    assert hub.cluster.objects["Experiment", NAMESPACE, "trial"]["status"]["progress"]["step"] == 0


async def test_it_is_told_again_when_it_is_an_eighth_longer(hub: RunningHub, silence: Silence, clock: Clock) -> None:
    hub.cluster.add_run("trial")
    await runs(hub, "trial", clock)
    looks = []
    for _ in range(960):  # four hours
        clock.now += 15
        looks.append(await silence.look())
        await hub.settled()
    assert sum(looks) < 55
    assert (told(hub.cluster, "trial") or 0) > 4 * 3600 * 8 / 9 - 15


async def test_a_report_takes_it_back(hub: RunningHub, silence: Silence, clock: Clock) -> None:
    hub.cluster.add_run("trial", objective={"metric": "dice", "direction": "Maximize"})
    await runs(hub, "trial", clock)
    await hub.post("trial", [line(1, dice=0.5), line(2, dice=0.6)])
    await hub.until(
        lambda: hub.cluster.objects["Experiment", NAMESPACE, "trial"]["status"].get("objective") is not None
    )
    clock.now += 100
    assert await look(hub, silence) == 1
    status = hub.cluster.objects["Experiment", NAMESPACE, "trial"]["status"]
    assert status["objective"]["value"] == 0.6
    assert status["progress"]["secondsPerStep"] == 1.0
    assert told(hub.cluster, "trial") == pytest.approx(100, abs=3)
    await hub.post("trial", [line(3, step=2, dice=0.6)])
    await hub.until(lambda: told(hub.cluster, "trial") is None)


@pytest.mark.parametrize("state", ["Queued", "Starting", "Succeeded", "Suspended"])
async def test_one_that_does_not_run_is_not_silent(hub: RunningHub, silence: Silence, clock: Clock, state: str) -> None:
    hub.cluster.add_run("trial")
    await runs(hub, "trial", clock, state=state)
    clock.now += 500
    assert await look(hub, silence) == 0


async def test_a_hub_that_could_not_listen_begins_anew(hub: RunningHub, silence: Silence, clock: Clock) -> None:
    hub.cluster.add_run("trial")
    await runs(hub, "trial", clock)
    clock.now += 500
    silence.deaf()
    assert await look(hub, silence) == 0
    clock.now += 70
    assert await look(hub, silence) == 1
    assert told(hub.cluster, "trial") == pytest.approx(70, abs=2), "not 570: before that nobody was there to hear"


async def test_reports_that_were_refused_for_the_hubs_own_trouble_make_it_deaf(hub: RunningHub, clock: Clock) -> None:
    hub.cluster.add_run("trial")
    own = hub.app.state.hub.silence
    before = own._since
    hub.cluster.away = True
    answer = await hub.post("trial", [line(1, dice=0.5)])
    assert answer.status_code >= 500
    assert own._since > before


async def test_while_the_api_server_is_away_nothing_is_told(hub: RunningHub, silence: Silence, clock: Clock) -> None:
    hub.cluster.add_run("trial")
    await runs(hub, "trial", clock)
    clock.now += 500
    hub.cluster.away = True
    assert await silence.look() == 0
    hub.cluster.away = False
    assert await look(hub, silence) == 1
