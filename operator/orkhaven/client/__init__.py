"""Python client: the cluster and the hub from a notebook or a script, and what `kubectl ork` is made of.

`from orkhaven.client import Orkhaven`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orkhaven.client.errors import OrkhavenError
    from orkhaven.client.experiment import Experiment
    from orkhaven.client.orkhaven import Orkhaven
    from orkhaven.client.sweep import Sweep

__all__ = ["Experiment", "Orkhaven", "OrkhavenError", "Sweep"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: `kubectl ork --help` imports this package too, and has 300 ms."""
    if name == "OrkhavenError":
        from orkhaven.client.errors import OrkhavenError

        return OrkhavenError
    if name in __all__:
        from orkhaven.client import orkhaven

        return getattr(orkhaven, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
