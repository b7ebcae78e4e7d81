"""Sweeps that have stopped themselves, nodes that are gone past, runs that were changed: told, and let go on."""

from __future__ import annotations

import json

from orkhaven.cli import status, steer, trouble
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi

WHY = "5 of the last 10 trials failed of DataError, no more are started"


def stopped(api: FakeApi) -> None:
    condition = {
        "type": "Suspended",
        "status": "True",
        "reason": "StoppedOnCluster",
        "message": WHY,
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }
    sweep = api.objects["Sweep", "covid"]
    sweep["status"] = {
        **sweep.get("status", {}),
        "state": "Running",
        "conditions": [condition],
        "avoidedNodes": [{"node": "gpu-3", "reason": "GpuHardware", "experiments": 3}],
    }


def test_a_stopped_sweep_is_told_and_resumed_from_now_on(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    stopped(api)
    assert steer.suspend(session, "covid", held=False) == 0
    spec = json.loads(api.requests[-1].content)["spec"]
    since = spec["failurePolicy"]["stopOnCluster"]["since"]
    assert spec == {"suspend": False, "failurePolicy": {"stopOnCluster": {"since": since}}}
    assert since > "2020-01-01T00:00:00Z"
    assert "does not count any more" in capsys.readouterr().out


def test_failures_and_status_say_why_it_stopped_and_which_nodes_are_gone_past(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    stopped(api)
    trouble.failures(session, "covid")
    out = capsys.readouterr().out
    assert f"stopped: {WHY}" in out
    assert "gpu-3 (GpuHardware)" in out
    told = status.told(api.objects["Sweep", "covid"], session=session)
    assert WHY in told
    assert "gpu-3 (GpuHardware)" in told


def test_why_says_what_was_changed_and_where_it_does_not_go(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    run = api.objects["Experiment", "covid-3d4e5f6a7b"]
    run["status"] |= {
        "overrides": {"memory": "24Gi", "params": {"batch_size": 4}},
        "avoid": [{"node": "gpu-3", "reason": "Stalled"}],
        "state": "Running",
        "progress": {"step": 3, "silent": {"since": "2026-09-01T10:00:00Z", "until": "2026-09-01T10:05:00Z"}},
    }
    trouble.why(session, "covid-3d4e5f6a7b")
    out = capsys.readouterr().out
    assert "24Gi of memory and batch_size=4" in out
    assert "gpu-3 (Stalled)" in out
    assert "last heard at 2026-09-01T10:00:00Z" in out
