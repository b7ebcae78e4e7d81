"""`orkhaven hub` as a process: wrong settings are a sentence, and Kubernetes' own variables do no harm."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orkhaven.hub.context import Clocks
from orkhaven.hub.settings import HubSettings


def run_hub(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orkhaven.hub.server"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_wrong_setting_is_named() -> None:
    done = run_hub(ORKHAVEN_HUB_FLUSH_SECONDS="soon")
    assert done.returncode == 78
    assert done.stderr.startswith("orkhaven: ORKHAVEN_HUB_FLUSH_SECONDS: ")
    assert "Traceback" not in done.stderr


def test_a_store_that_cannot_be_opened_ends_the_start_with_a_sentence() -> None:
    done = run_hub(ORKHAVEN_HUB_DATABASE_URL="mysql://host/db", ORKHAVEN_LOG_FORMAT="text")
    assert done.returncode == 3
    assert "ORKHAVEN_HUB_DATABASE_URL: mysql is not supported; use sqlite:// or postgresql://" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("value", "port"), [("tcp://10.0.0.7:8000", 8000), ("", 8000), ("9000", 9000)])
def test_the_port_of_a_service_link_is_not_taken_for_the_setting(
    monkeypatch: pytest.MonkeyPatch, value: str, port: int
) -> None:
    monkeypatch.setenv("ORKHAVEN_HUB_PORT", value)
    assert HubSettings().port == port


def test_a_wall_clock_that_jumps_makes_nothing_old() -> None:
    """What is deleted by its age goes by time that passed since the start."""
    wall, passed = 1_790_000_000.0, 50.0
    clocks = Clocks(wall=lambda: wall, monotonic=lambda: passed)
    steady = clocks.steady()
    wall, passed = wall + 10 * 365 * 86_400, passed + 60
    assert steady() == 1_790_000_060.0


def test_every_setting_says_what_it_is() -> None:
    for name, field in HubSettings.model_fields.items():
        assert field.description, name
