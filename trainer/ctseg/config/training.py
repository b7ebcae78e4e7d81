"""Parameters of the loop around the components."""

from __future__ import annotations

from pydantic import Field

from ctseg.config.base import Component, Int


class Checkpoint(Component):
    """How much work a killed process can lose. At SIGTERM one is saved anyway."""

    every_epochs: Int = Field(1, ge=1)
