"""Settings, command line, probes and log lines of the operator process."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from orkhaven import __version__
from orkhaven.__main__ import main
from orkhaven.api.experiment import State
from orkhaven.config import OperatorSettings
from orkhaven.engine.telemetry import Telemetry
from orkhaven.logs import JsonFormatter, TextFormatter, about
from orkhaven.probes import Probes


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORKHAVEN_NAMESPACES", "a, b,")
    monkeypatch.setenv("ORKHAVEN_OUTPUT_CLAIM", "")
    monkeypatch.setenv("ORKHAVEN_WORKERS", "3")
    settings = OperatorSettings()
    assert settings.namespaces == ("a", "b")
    assert settings.output_claim is None
    assert settings.workers == 3


def test_every_setting_says_what_it_is_and_two_processes_never_have_one_identity() -> None:
    assert [name for name, field in OperatorSettings.model_fields.items() if not field.description] == []
    assert OperatorSettings().lease_identity != OperatorSettings().lease_identity


def test_lease_times_that_would_let_two_lead_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORKHAVEN_LEASE_RENEW_SECONDS", "12")
    with pytest.raises(ValidationError, match="ORKHAVEN_LEASE_RENEW_SECONDS < ORKHAVEN_LEASE_DURATION_SECONDS"):
        OperatorSettings()


def test_a_wrong_setting_is_a_sentence_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORKHAVEN_WORKERS", "many")
    assert main(["operator"]) == 78
    assert "ORKHAVEN_WORKERS: Input should be a valid integer" in capsys.readouterr().err


def test_version_and_crds_are_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert main(["crds"]) == 0
    assert capsys.readouterr().out.count("kind: CustomResourceDefinition") == 2
    assert main(["crds", "--output", str(tmp_path / "crds")]) == 0
    assert len(list((tmp_path / "crds").iterdir())) == 2


async def test_probes_say_what_is_wrong_and_metrics_are_served() -> None:
    telemetry = Telemetry()
    telemetry.gauges(
        states=lambda: [State.RUNNING, State.RUNNING, None],
        depth=lambda: 7,
        leading=lambda: True,
        avoided=lambda: ["GpuHardware", "LicenceServer", "GpuHardware"],
    )
    telemetry.reconciled("Sweep", "changed", 0.1)
    telemetry.attempt_ended("OutOfMemoryKilled")
    telemetry.attempt_ended("Completed")
    telemetry.attempt_ended("EarlyStopped")
    synced = [False]
    probes = Probes(
        host="127.0.0.1",
        port=0,
        registry=telemetry.registry,
        healthy={"watch": lambda: True},
        ready={"synced": lambda: synced[0], "other": lambda: True},
    )
    await probes.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{probes.port}") as session:
            answers = {}
            for path in ("/healthz", "/readyz", "/metrics"):
                async with session.get(path) as answer:
                    answers[path] = (answer.status, await answer.text())
            assert answers["/healthz"] == (200, "ok   watch\n")
            assert answers["/readyz"] == (503, "FAIL synced\nok   other\n")
            for line in (
                'orkhaven_experiments{state="Running"} 2.0',
                'orkhaven_experiments{state="Failed"} 0.0',
                "orkhaven_queue_depth 7.0",
                'orkhaven_avoided_nodes{reason="GpuHardware"} 2.0',
                'orkhaven_avoided_nodes{reason="LicenceServer"} 1.0',
                'orkhaven_avoided_nodes{reason="Stalled"} 0.0',
                "orkhaven_leader 1.0",
                'orkhaven_reconciles_total{kind="Sweep",result="changed"} 1.0',
                'orkhaven_failures_total{reason="OutOfMemoryKilled"} 1.0',
                'orkhaven_experiments{state="Pruned"} 0.0',
                "orkhaven_early_stopped_total 1.0",
            ):
                assert line in answers["/metrics"][1].splitlines()
            assert 'reason="Completed"' not in answers["/metrics"][1]
            assert 'reason="EarlyStopped"' not in answers["/metrics"][1]
            synced[0] = True
            async with session.get("/readyz") as answer:
                assert answer.status == 200
    finally:
        await probes.stop()


def test_a_log_line_is_json_with_the_object_s_kind_namespace_and_name() -> None:
    record = logging.LogRecord("orkhaven.engine", logging.INFO, __file__, 1, "released %s", ("it",), None)
    for key, value in about("Job", "ns", "e-1", node="a").items():
        setattr(record, key, value)
    line = json.loads(JsonFormatter().format(record))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "orkhaven.engine",
        "message": "released it",
        "kind": "Job",
        "namespace": "ns",
        "name": "e-1",
        "node": "a",
    }
    assert TextFormatter().format(record).endswith("INFO    released it  kind=Job namespace=ns name=e-1 node=a")
