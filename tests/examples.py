"""The examples as the operator sees them. Used by the tests that parse and train what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from orkhaven.api import SweepSpec
from orkhaven.core.search import trial_params

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def trials(name: str) -> list[dict[str, Any]]:
    """The parameters of every trial of a Sweep's example, in the order in which they start."""
    body = yaml.safe_load((EXAMPLES / name).read_text())
    source = trial_params(SweepSpec.model_validate(body["spec"]), body["spec"]["template"]["params"])
    return [source.params(index) for index in range(source.total)]
