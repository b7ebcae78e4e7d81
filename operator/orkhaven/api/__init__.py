"""The resources as pydantic models: the only source of crds/, of the chart's CRDs and of the API reference.

May import pydantic and the standard library, nothing else of orkhaven.
"""

from orkhaven.api.experiment import Experiment, ExperimentSpec, ExperimentStatus, Priority, RunTemplate
from orkhaven.api.meta import GROUP, VERSION
from orkhaven.api.reasons import Reason
from orkhaven.api.sweep import Sweep, SweepSpec
from orkhaven.api.sweep_status import SweepStatus

__all__ = [
    "GROUP",
    "VERSION",
    "Experiment",
    "ExperimentSpec",
    "ExperimentStatus",
    "Priority",
    "Reason",
    "RunTemplate",
    "Sweep",
    "SweepSpec",
    "SweepStatus",
]
