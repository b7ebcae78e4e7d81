"""Reading pods: within its time whatever a kubelet does, a few at once, each asked for once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orkhaven.core.actions import ReadPod
from orkhaven.core.views import Heard, Key, PodEvent, ReadState
from orkhaven.engine import reader as module
from orkhaven.engine.reader import TRIES, PodReader, read_pod
from orkhaven.errors import ApiError, Forbidden, Invalid, NotFound, Unavailable
from tests.sim.cluster import FakeCluster, VirtualClock, drive

UNREADABLE = Heard(log_state=ReadState.UNREADABLE)


def want(pod: str = "p", *, seconds: float = 30, log: bool = True, events: bool = False) -> ReadPod:
    return ReadPod(Key("ns", pod), f"uid-{pod}", experiment=Key("ns", "e"), log=log, events=events, seconds=seconds)


class Kubelets(FakeCluster):
    """Pods whose logs are answered as the test says."""

    def __init__(self, answer: Callable[[str], Awaitable[str]]) -> None:
        super().__init__(VirtualClock())
        self.answer = answer

    async def pod_tail(self, namespace: str, pod: str, *, container: str) -> str:
        self.read.append(pod)
        return await self.answer(pod)


@asynccontextmanager
async def reading(
    answer: Callable[[str], Awaitable[str]], *, at_once: int = 8
) -> AsyncIterator[tuple[PodReader, Kubelets]]:
    kubelets = Kubelets(answer)
    made = PodReader(kubelets, at_once=at_once)
    task = asyncio.create_task(made.run())
    try:
        yield made, kubelets
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def heard(reader: PodReader, *wants: ReadPod) -> list[Heard]:
    """What comes of asking for all of them at the same moment."""
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Future[Heard]] = [loop.create_future() for _ in wants]
    for one, answer in zip(wants, answers, strict=True):
        reader.read(one, answer.set_result)
    return list(await asyncio.gather(*answers))


async def hangs(pod: str) -> str:
    await asyncio.Event().wait()
    raise AssertionError


async def test_what_a_container_said_is_handed_over() -> None:
    async def answer(pod: str) -> str:
        return "the end"

    async with reading(answer) as (made, _):
        assert await heard(made, want()) == [Heard(log_state=ReadState.READ, log_tail="the end")]


async def test_a_kubelet_that_hangs_is_given_up_and_keeps_no_other_waiting() -> None:
    async def answer(pod: str) -> str:
        return await hangs(pod) if pod.startswith("hung") else "fine"

    async with reading(answer, at_once=3) as (made, kubelets):
        answers = await heard(made, want("hung-1", seconds=0.2), want("hung-2", seconds=0.2), want("well"))
        assert [one.log_state for one in answers] == [ReadState.UNREADABLE, ReadState.UNREADABLE, ReadState.READ]
        assert set(kubelets.read) == {"hung-1", "hung-2", "well"}
        assert max(map(kubelets.read.count, kubelets.read)) <= TRIES


async def test_those_behind_many_that_hang_are_answered_when_their_own_time_is_over() -> None:
    async with reading(hangs, at_once=2) as (made, kubelets):
        answers = await heard(made, *(want(f"p{n}", seconds=0.2) for n in range(40)))
        assert answers == [UNREADABLE] * 40
        assert len(set(kubelets.read)) <= 4, "the others were not even asked"


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (NotFound("gone"), 1),
        (Invalid("waiting to start"), 1),
        (Forbidden("pods/log"), 1),
        (Unavailable("the kubelet is away"), 2),
        (RuntimeError("a bug"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_cannot_be_read_is_an_answer(error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)

    async def answer(pod: str) -> str:
        raise error

    async with reading(answer) as (made, kubelets):
        assert await heard(made, want()) == [UNREADABLE]
        assert len(kubelets.read) == tries
        assert await heard(made, want("q")) == [UNREADABLE], "and it goes on"


async def test_the_second_try_may_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    left = [Unavailable("dial tcp: connection refused")]

    async def answer(pod: str) -> str:
        if left:
            raise left.pop()
        return "the end"

    async with reading(answer) as (made, _):
        assert await heard(made, want()) == [Heard(log_state=ReadState.READ, log_tail="the end")]


async def test_a_pod_that_is_being_read_is_not_read_twice() -> None:
    go = asyncio.Event()

    async def answer(pod: str) -> str:
        await go.wait()
        return "the end"

    async with reading(answer) as (made, kubelets):
        told: list[Heard] = []
        first: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()
        made.read(want(), first.set_result)
        made.read(want(), told.append)
        go.set()
        await first
        assert (kubelets.read, told) == (["p"], [])
        await heard(made, want())
        assert kubelets.read == ["p", "p"], "once it is answered, it may be read again"


# --- one try ----------------------------------------------------------------------------------------------------------


def cluster_with(*events: dict[str, Any]) -> FakeCluster:
    cluster = FakeCluster(VirtualClock())
    for number, event in enumerate(events):
        cluster.add({
            "apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "ns", "name": f"e{number}"},
            "involvedObject": {"uid": "uid-p"}, "type": "Warning", **event,
        })  # fmt: skip
    return cluster


def test_warnings_of_the_pod_come_in_the_order_of_their_times() -> None:
    cluster = cluster_with(
        {"reason": "BackOff", "message": "pulling\n it", "lastTimestamp": "2026-01-01T00:02:00Z"},
        {"reason": "FailedMount", "message": "nfs", "series": {"lastObservedTime": "2026-01-01T00:01:00.000000Z"}},
        {"reason": "Scheduled", "message": "assigned", "type": "Normal"},
        {"reason": "FailedMount", "message": "of another", "involvedObject": {"uid": "uid-q"}},
    )
    found = drive(read_pod(cluster, want(log=False, events=True)))
    assert (found.log_state, found.events_state) == (ReadState.UNREAD, ReadState.READ)
    assert [str(event) for event in found.events] == ["FailedMount: nfs", "BackOff: pulling it"]
    assert all(isinstance(event, PodEvent) and event.at is not None for event in found.events)
    assert cluster.read == [], "the log was not asked for"


def test_events_that_may_not_be_read_do_not_take_the_log_away() -> None:
    class NoEvents(FakeCluster):
        def pages(self, *args: Any, **kwargs: Any) -> Any:
            async def refused() -> AsyncIterator[Any]:
                raise Forbidden("events")
                yield

            return refused()

    cluster = NoEvents(VirtualClock())
    cluster.add({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ns", "name": "p"}, "spec": {}})
    cluster.logs["p"] = "the end"
    found = drive(read_pod(cluster, want(events=True)))
    assert (found.log_tail, found.events_state) == ("the end", ReadState.UNREADABLE)


@pytest.mark.parametrize("what", ["log", "events"])
def test_one_try_tells_whether_another_may_help(what: str) -> None:
    class Away(FakeCluster):
        async def pod_tail(self, namespace: str, pod: str, *, container: str) -> str:
            raise Unavailable("away")

        def pages(self, *args: Any, **kwargs: Any) -> Any:
            async def away() -> AsyncIterator[Any]:
                raise Unavailable("away")
                yield

            return away()

    with pytest.raises(ApiError, match="away"):
        drive(read_pod(Away(VirtualClock()), want(log=what == "log", events=what == "events")))
