"""`rerun` over an API server in memory: what is shown first, what is written, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import pytest

from orkhaven.cli import rerun as verb
from orkhaven.cli import trouble
from orkhaven.cli.rerun import Asked
from orkhaven.client.errors import Conflict, Invalid
from orkhaven.client.sweep import Sweep
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi, refusal

FAILED = "covid-3d4e5f6a7b"


def entries(api: FakeApi) -> list[dict[str, Any]]:
    return list(api.objects["Sweep", "covid"]["spec"].get("rerun", []))


def run(session: TestSession, name: str = "covid", **options: Any) -> int:
    return verb.rerun(session, name, Asked(**options))


def test_what_will_be_run_again_is_said_and_then_asked_for(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    assert run(session, reasons=["InvalidParams"], settings=["resources.memory=32Gi", "loss.gamma=2"]) == 0
    out = capsys.readouterr().out
    assert "2 failed trials once more, resources.memory=32Gi, loss.gamma=2, from the start" in out
    assert FAILED in out
    (entry,) = entries(api)
    assert entry["select"] == {"reasons": ["InvalidParams"]}
    assert entry["overrides"] == {"resources": {"memory": "32Gi"}, "params": {"loss.gamma": 2}}
    assert entry["id"].startswith("invalid-params-2")


def test_the_same_asked_for_twice_is_done_once(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    for _ in range(2):
        assert run(session, reasons=["InvalidParams"]) == 0
    assert "asked for already" in capsys.readouterr().out
    assert len(entries(api)) == 1
    assert run(session, reasons=["InvalidParams"], id="again") == 0
    assert [entry["id"] for entry in entries(api)][1] == "again"


def test_a_dry_run_writes_nothing(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    assert run(session, names=[FAILED], env=["A=1"], image="trainer:2", dry_run=True) == 0
    out = capsys.readouterr().out
    assert "1 failed trial once more, image trainer:2, A=1, from the start" in out
    assert "image: trainer:2" in out
    assert entries(api) == []


def test_where_nothing_is_selected_nothing_is_written(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    assert run(session, match=["epochs=11"]) == 1
    assert "none of its failed trials is selected" in capsys.readouterr().err
    assert entries(api) == []


def test_what_was_replaced_is_not_selected(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    old = api.objects["Experiment", FAILED]
    new = copy.deepcopy(old)
    new["metadata"] |= {"name": "covid-new", "labels": {**old["metadata"]["labels"], "orkhaven.io/rerun-of": FAILED}}
    new["status"]["state"] = "Running"
    api.put(new)
    assert run(session, names=[FAILED]) == 1
    assert run(session, dry_run=True) == 0
    assert "1 failed trial once more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": ["resources.memory=much"]}, "overrides.resources.memory"),
        ({"settings": ["resources.disk=1Gi"]}, "overrides.resources.disk"),
        ({"settings": ["lr=1,2"]}, "a rerun has one value of each"),
        ({"env": ["A"]}, "write NAME=VALUE"),
        ({"id": "OOM"}, "lower-case letters"),
        ({"seed": 1}, "--seed and --new-name are for a single Experiment"),
    ],
    ids=["a quantity", "a resource", "two values", "an environment", "an id", "a seed"],
)
def test_what_would_be_refused_is_not_sent(
    api: FakeApi, session: TestSession, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        run(session, **options)
    assert entries(api) == []


def test_a_sweep_that_somebody_else_changes_is_read_again(api: FakeApi, session: TestSession) -> None:
    api.refuse["PATCH"] = refusal(409, "Conflict", "the object has been modified")
    with pytest.raises(Conflict):
        run(session, names=[FAILED])
    patches = [one for one in api.requests if one.method == "PATCH"]
    assert len(patches) == 5
    assert b"resourceVersion" in patches[0].content


def test_old_entries_make_room(api: FakeApi, session: TestSession) -> None:
    sweep = api.objects["Sweep", "covid"]
    sweep["spec"]["rerun"] = [{"id": f"r{number}"} for number in range(32)]
    sweep["status"]["reruns"] = [
        {"id": "r0", "waiting": "3"},
        *({"id": f"r{number}", "waiting": ""} for number in range(1, 9)),
    ]
    assert run(session, names=[FAILED], id="new") == 0
    ids = [entry["id"] for entry in entries(api)]
    assert len(ids) == 32
    assert ids[:2] == ["r0", "r2"]
    assert ids[-1] == "new"


def test_a_single_run_becomes_a_new_one_beside_it(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    assert run(session, FAILED, dry_run=True) == 0
    assert f"the same run as {FAILED}: it goes on" in capsys.readouterr().err
    assert run(session, FAILED, settings=["loss.name=dice", "resources.memory=32Gi"]) == 0
    made = api.objects["Experiment", f"{FAILED}-r1"]
    assert made["spec"]["params"]["loss"] == {"name": "dice"}
    assert made["spec"]["resources"]["memory"] == "32Gi"
    assert "ownerReferences" not in made["metadata"]
    assert made["spec"]["dedupe"] == "Never", "made on purpose: no result that is there is the answer"
    assert run(session, FAILED, seed=3, env=["A=1"], image="trainer:2") == 0
    second = api.objects["Experiment", f"{FAILED}-r2"]["spec"]
    assert (second["seed"], second["image"], second["env"]) == (3, "trainer:2", [{"name": "A", "value": "1"}])
    with pytest.raises(Invalid, match="select trials of a Sweep"):
        run(session, FAILED, clusters=["c3f2a1"])


def test_failures_shows_the_line_to_type_for_each_cause_and_what_became_of_it(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    sweep = api.objects["Sweep", "covid"]
    sweep["spec"]["template"] = {"resources": {"memory": "16Gi"}}
    sweep["status"]["failureClusters"] = [
        {"id": "c3f2a1", "reason": "OutOfMemoryKilled", "count": 2},
        {"id": "0d1e2f", "reason": "ImportError", "count": 1},
        {"reason": "Timeout", "count": 1},
    ]
    sweep["status"]["reruns"] = [{"id": "oom", "selected": 5, "created": 5, "succeeded": 4, "failed": 1}]
    assert trouble.failures(session, "covid") == 0
    out = capsys.readouterr().out
    assert "kubectl ork rerun covid --cluster c3f2a1 --set resources.memory=32Gi" in out
    assert "kubectl ork rerun covid --cluster 0d1e2f --image '<mended image>'" in out
    assert "kubectl ork rerun covid --reason Timeout" in out
    assert "oom" in out


class Way:
    def __init__(self, session: TestSession) -> None:
        self.kube = session.kube

    @property
    def hub(self) -> Any:
        raise AssertionError("the hub is not asked")


def test_a_notebook_asks_for_the_same(api: FakeApi, session: TestSession) -> None:
    sweep = Sweep(Way(session), api.objects["Sweep", "covid"])
    assert sweep.rerun(reasons=["InvalidParams"], set={"loss.gamma": 2}, dry_run=True) == sweep.rerun(
        reasons=["InvalidParams"], set={"loss.gamma": 2}
    )
    assert len(entries(api)) == 1
    assert sweep.rerun(reasons=["InvalidParams"], set={"loss.gamma": 2}) == []
    assert len(entries(api)) == 1
    assert isinstance(api.requests[-1], httpx.Request)
