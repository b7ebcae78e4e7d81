"""What is proposed to be changed before the trials of a cause are run again."""

from __future__ import annotations

import pytest

from orkhaven.api import Reason
from orkhaven.api.remedy import Change, remedy

RESOURCES = {"memory": "16Gi", "sharedMemory": "512Mi"}


@pytest.mark.parametrize(
    ("reason", "resources", "change", "value"),
    [
        (Reason.OUT_OF_MEMORY_KILLED, RESOURCES, Change.MEMORY, "32Gi"),
        (Reason.OUT_OF_MEMORY_KILLED, {"memory": "1.5Gi"}, Change.MEMORY, ""),
        (Reason.OUT_OF_MEMORY_KILLED, {}, Change.MEMORY, ""),
        (Reason.SHARED_MEMORY, RESOURCES, Change.SHARED_MEMORY, "1024Mi"),
        (Reason.INVALID_PARAMS, RESOURCES, Change.PARAMS, ""),
        (Reason.IMPORT_ERROR, RESOURCES, Change.IMAGE, ""),
        (Reason.DATA_ERROR, RESOURCES, Change.NOTHING, ""),
        ("LicenceServer", RESOURCES, Change.NOTHING, ""),
    ],
    ids=["memory", "no whole number", "no limit", "/dev/shm", "a parameter", "an image", "outside", "a user's cause"],
)
def test_a_cause_asks_for_a_change(reason: str, resources: dict[str, str], change: Change, value: str) -> None:
    found = remedy(reason, resources)
    assert (found.change, found.value) == (change, value)
