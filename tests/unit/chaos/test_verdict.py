"""The judge of the storm: says nothing where all is well, and finds each kind of harm."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orkrun.contract import ENV_OUTPUT, LABEL_ATTEMPT, LABEL_EXPERIMENT
from tests.chaos.runs import Curve, curve_of
from tests.chaos.schedule import drawn
from tests.chaos.verdict import Ending, Results, problems, results
from tests.chaos.watcher import Seen, trainers

Body = dict[str, Any]
POD = "0f0e0d0c-0b0a-4908-8706-050403020100"


def trial(name: str, *, attempts: tuple[str, ...] = ("Completed",), value: float = 0.5) -> Body:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": {"params": {"lr": name}, "retry": {"limit": 2}},
        "status": {
            "state": "Succeeded",
            "objective": {"value": value, "step": 2},
            "metrics": {"val/dice": {"last": value}, "epoch_seconds": {"last": 1.2}},
            "attempts": [{"number": number, "reason": reason} for number, reason in enumerate(attempts, 1)],
        },
    }


def pod(experiment: str, attempt: int, started: str, finished: str | None) -> Body:
    state = (
        {"terminated": {"startedAt": started, "finishedAt": finished}}
        if finished
        else {"running": {"startedAt": started}}
    )
    return {
        "metadata": {
            "name": f"{experiment}-{attempt}-x",
            "uid": f"pod-{experiment}-{attempt}",
            "labels": {LABEL_EXPERIMENT: experiment, LABEL_ATTEMPT: str(attempt)},
        },
        "status": {"containerStatuses": [{"state": state}]},
    }


class World:
    """Two trials that ended well, the second in two attempts."""

    def __init__(self) -> None:
        self.ending = Ending(
            sweep={
                "status": {
                    "trials": {"total": 2, "created": 2, "succeeded": 2},
                    "leaderboard": [{"experiment": "a"}, {"experiment": "b"}],
                }
            },
            experiments=[trial("a"), trial("b", attempts=("Drained", "Completed"))],
            curves={name: Curve(steps={1: {"val/dice": 0.25}, 2: {"val/dice": 0.5}}) for name in ("a", "b")},
        )
        self.calm: Results = json.loads(json.dumps(results(self.ending)))
        self.seen = Seen()
        self.together: dict[str, set[str]] = {}
        for body in self.ending.experiments:
            self.seen.take("experiments", body)
        for one in (
            pod("a", 1, "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"),
            pod("b", 1, "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"),
            pod("b", 2, "2026-01-01T00:00:09Z", "2026-01-01T00:00:20Z"),
        ):
            self.seen.take("pods", one)

    def problems(self) -> list[str]:
        return problems(self.calm, self.ending, self.seen, self.together)


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert World().problems() == []


def lose(world: World) -> None:
    world.ending.experiments.pop(0)


def add(world: World) -> None:
    world.ending.experiments.append(trial("c"))
    world.ending.curves["c"] = Curve()


def make_again(world: World) -> None:
    body = copy.deepcopy(world.ending.experiments[0])
    body["metadata"]["uid"] = "another"
    world.seen.take("experiments", body)


def count_wrongly(world: World) -> None:
    world.ending.sweep["status"]["trials"]["failed"] = 1


def rank_twice(world: World) -> None:
    world.ending.sweep["status"]["leaderboard"].append({"experiment": "a"})


def complete_twice(world: World) -> None:
    world.ending.experiments[1]["status"]["attempts"][0]["reason"] = "Completed"


def overlap(world: World) -> None:
    world.seen.take("pods", pod("b", 2, "2026-01-01T00:00:07Z", "2026-01-01T00:00:20Z"))


def meet(world: World) -> None:
    world.together["/output/b"] = {"one", "two"}


def differ(world: World) -> None:
    world.ending.experiments[0]["status"]["objective"]["value"] = 0.5000000000000001


def go_another_way(world: World) -> None:
    world.ending.curves["a"].steps[1]["val/dice"] = 0.2500000000000001


def repeat_otherwise(world: World) -> None:
    world.ending.curves["a"].differ.append("step 1")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lose, "a is missing"),
        (add, "c is none of the planned"),
        (make_again, "a was made 2 times"),
        (count_wrongly, "counts failed 1"),
        (rank_twice, "leaderboard twice"),
        (complete_twice, "2 attempts are Completed"),
        (overlap, "b-2-x started 00:00:07"),
        (meet, "at once in /output/b"),
        (differ, "objective is"),
        (go_another_way, "curve is"),
        (repeat_otherwise, "done twice, otherwise"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_harm_is_found(harm: Callable[[World], None], says: str) -> None:
    world = World()
    harm(world)
    assert any(says in problem for problem in world.problems()), world.problems()


def test_what_was_done_twice_is_counted_and_compared(tmp_path: Path) -> None:
    def write(attempt: int, values: dict[int, float]) -> None:
        lines = [
            {"attempt": attempt, "seq": seq, "step": step, "metrics": {"loss": value, "epoch_seconds": attempt * 1.0}}
            for seq, (step, value) in enumerate(values.items(), 1)
        ]
        (tmp_path / f"metrics-{attempt}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    write(1, {1: 0.5, 2: 0.25})
    write(2, {2: 0.25, 3: 0.125})
    write(10, {3: 0.0, 4: 0.0625})
    curve = curve_of(tmp_path)
    assert curve.steps == {1: {"loss": 0.5}, 2: {"loss": 0.25}, 3: {"loss": 0.0}, 4: {"loss": 0.0625}}
    assert curve.again == 2
    assert [one.split(": ")[1] for one in curve.differ] == ["step 3, loss"]


def test_the_census_finds_the_pods_that_have_one_folder(tmp_path: Path) -> None:
    def process(number: int, *, group: str, pod: str, folder: str | None) -> None:
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cgroup").write_text(f"5:cpu:/{group}/kubepods/besteffort/pod{pod}/abc\n")
        entries = ["PATH=/bin", *([f"{ENV_OUTPUT}={folder}"] if folder else [])]
        (tmp_path / str(number) / "environ").write_bytes("\0".join(entries).encode())

    other = POD.replace("0f", "1f", 1)
    process(1, group="orkhaven-x", pod=POD, folder="/output/a")
    process(2, group="orkhaven-x", pod=POD, folder="/output/a")
    process(3, group="orkhaven-x", pod=other.replace("-", "_"), folder="/output/a")
    process(4, group="orkhaven-x", pod=other, folder=None)
    process(5, group="orkhaven-y", pod=other, folder="/output/b")
    assert trainers(tmp_path, "/orkhaven-x/") == {"/output/a": {POD, other}}


def test_a_schedule_is_of_its_seed_and_strikes_with_every_kind() -> None:
    kills, others = ["k1", "k2", "k3"], ["o1", "o2"]
    made = drawn(7, kills=kills, others=others, count=7, trials=60)
    assert made == drawn(7, kills=kills, others=others, count=7, trials=60)
    assert made != drawn(8, kills=kills, others=others, count=7, trials=60)
    names = sorted(strike.fault for strike in made)
    assert len(names) == 9
    assert all(2 <= names.count(kill) <= 3 for kill in kills)
    assert [strike.after for strike in made] == sorted(strike.after for strike in made)
    assert all(0 <= strike.after < 54 for strike in made)
