"""When a status is written."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.engine.ports import Kind
from orkhaven.engine.status import differs

BASE: dict[str, Any] = {"state": "Running", "gpuSeconds": 5, "startTime": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("stored", "desired", "want"),
    [
        pytest.param(BASE, dict(BASE), False, id="the same"),
        pytest.param(BASE, {**BASE, "state": "Failed"}, True, id="another state"),
        pytest.param({**BASE, "gpuSeconds": 5.0}, BASE, False, id="a number written otherwise"),
        pytest.param(
            {**BASE, "startTime": "2026-01-01T00:00:00.000000+00:00"}, BASE, False, id="a time written otherwise"
        ),
        pytest.param({**BASE, "attempts": []}, BASE, False, id="an empty list that is the default"),
        pytest.param({**BASE, "objective": {"value": 1, "step": 1}}, BASE, False, id="what the hub owns"),
        pytest.param({**BASE, "message": "waits"}, BASE, True, id="a field that is not said any more"),
        pytest.param({**BASE, "state": 7}, BASE, True, id="what cannot be read"),
        pytest.param({}, BASE, True, id="nothing yet"),
    ],
)
def test_a_status_is_written_where_it_says_something_else(
    stored: dict[str, Any], desired: dict[str, Any], want: bool
) -> None:
    assert differs(Kind.EXPERIMENT, stored, desired) is want
