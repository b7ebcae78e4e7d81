"""How each kind is selected and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orkhaven.core.parse import parse_experiment, parse_job, parse_node, parse_pod, parse_sweep, parse_workload
from orkhaven.engine.ports import Kind
from orkrun.contract import LABEL_MANAGED_BY, MANAGED_BY

PARSERS: dict[Kind, Callable[[Mapping[str, Any]], Any]] = {
    Kind.SWEEP: parse_sweep,
    Kind.EXPERIMENT: parse_experiment,
    Kind.JOB: parse_job,
    Kind.POD: parse_pod,
    Kind.NODE: parse_node,
    Kind.WORKLOAD: parse_workload,
}

OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
NOT_OURS = f"{LABEL_MANAGED_BY}!={MANAGED_BY}"
SELECTORS = {Kind.JOB: OURS, Kind.POD: OURS}
"""Label selectors of lists and watches: a cluster's other pods are not read."""
