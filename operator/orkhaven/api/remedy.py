"""What has to be changed before the trials of a cause are run again, where that can be told: what `kubectl ork
failures` puts into its line and the dashboard into its form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orkhaven.api.reasons import Reason


class Change(StrEnum):
    """Of spec.rerun[].overrides."""

    NOTHING = ""
    MEMORY = "memory"
    SHARED_MEMORY = "sharedMemory"
    PARAMS = "params"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Remedy:
    change: Change = Change.NOTHING
    value: str = ""
    """A proposal; empty where only a person knows."""
    example: str = ""
    """What one looks like."""


def remedy(reason: str, resources: Mapping[str, Any]) -> Remedy:
    """`resources`: those of the Sweep's template."""
    match reason:
        case Reason.OUT_OF_MEMORY_KILLED:
            return Remedy(Change.MEMORY, _doubled(resources.get("memory")), "32Gi")
        case Reason.SHARED_MEMORY:
            return Remedy(Change.SHARED_MEMORY, _doubled(resources.get("sharedMemory")), "4Gi")
        case Reason.CUDA_OUT_OF_MEMORY:
            return Remedy(Change.PARAMS, "", "batch_size=<smaller>")
        case Reason.INVALID_PARAMS | Reason.DIVERGED:
            return Remedy(Change.PARAMS, "", "<parameter>=<value>")
        case Reason.IMPORT_ERROR | Reason.IMAGE_PULL | Reason.USER_EXCEPTION | Reason.METRIC_MISSING:
            return Remedy(Change.IMAGE, "", "<mended image>")
        case _:
            return Remedy()


def _doubled(quantity: str | None) -> str:
    """ "16Gi" -> "32Gi"; what is no whole number of a unit is left to the person."""
    digits = str(quantity or "").rstrip("KMGTi")
    unit = str(quantity or "")[len(digits) :]
    return f"{int(digits) * 2}{unit}" if digits.isdecimal() and unit else ""
