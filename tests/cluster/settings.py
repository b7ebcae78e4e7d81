"""What a cluster is to be, and where its files lie."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.cluster.say import ClusterError


class Mode(StrEnum):
    """How a cluster runs."""

    KIND = "kind"
    BARE = "bare"
    CONTROL_PLANE = "control-plane"


@dataclass(frozen=True, slots=True)
class Settings:
    """Chosen by the caller. `gpu_memory` in MiB. `tuned`: request limits of controller-manager and scheduler lifted."""

    name: str = "orkhaven"
    gpus: int = 2
    gpu_model: str = "NVIDIA-A100-SXM4-40GB"
    gpu_memory: int = 40960
    tuned: bool = True
    apiserver_flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", self.name):
            raise ClusterError(
                f"cluster name {self.name!r}: at most 32 lower-case letters, digits and dashes, a letter first"
            )
        if not 0 <= self.gpus <= 1024:
            raise ClusterError(f"gpus: {self.gpus} is not between 0 and 1024")

    @property
    def state(self) -> Path:
        """`${XDG_STATE_HOME:-~/.local/state}/orkhaven/clusters/<name>`."""
        return clusters_folder() / self.name

    @property
    def shared(self) -> Path:
        """The folder that host and node have at the same path."""
        return self.state / "shared"


def clusters_folder() -> Path:
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "orkhaven" / "clusters"


def read_place(settings: Settings) -> dict[str, Any]:
    """What was written when the cluster was made: its mode and its addresses or ports. Empty where there is none."""
    try:
        content: dict[str, Any] = json.loads((settings.state / "cluster.json").read_text())
    except (OSError, ValueError):
        return {}
    return content


def write_place(settings: Settings, mode: Mode, **place: Any) -> None:
    """Remembers what a later `up`, `down` or `status` has to know. Atomic."""
    settings.state.mkdir(parents=True, exist_ok=True)
    scratch = settings.state / ".cluster.json"
    scratch.write_text(json.dumps({"mode": mode, "settings": asdict(settings), **place}, indent=1))
    scratch.replace(settings.state / "cluster.json")


def remembered(settings: Settings) -> Settings:
    """The settings that the cluster was last brought up with; the given ones where there is no cluster."""
    stored = read_place(settings).get("settings")
    if not stored:
        return settings
    return replace(settings, **{**stored, "apiserver_flags": tuple(stored["apiserver_flags"])})
