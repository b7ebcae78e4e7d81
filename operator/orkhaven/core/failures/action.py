"""What a rule that a user has written wants done about a failure."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    NEVER = "Never"
    """Not tried again."""
    RETRY = "Retry"
    """Tried again, up to retry.limit."""
    OTHER_NODE = "OtherNode"
    """The same, on another node where one fits."""
    MORE_MEMORY = "MoreMemory"
    """The same, with more memory: see retry.outOfMemory."""
