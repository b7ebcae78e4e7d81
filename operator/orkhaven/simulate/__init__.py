"""What would the queue do? Replays a trace of runs against it in virtual time, for admins who choose weights and for
our own tests.

`trace` and `cluster` read what is replayed, `generator` makes traces, `world` is the virtual cluster, `replay` its
time, `policies` decide in it (the product's own `plan_queue`, and orders to compare it with), `usage` is what they have
used, `measure` keeps the sums, `report` says them, `command` is `orkhaven simulate`. Imports core and api, and is
imported by nothing of the product.
"""

from orkhaven.simulate.cluster import read_nodes
from orkhaven.simulate.generator import Shape, make_trace
from orkhaven.simulate.measure import Measured
from orkhaven.simulate.policies import POLICIES, FairShare, Policy
from orkhaven.simulate.replay import Options, replay
from orkhaven.simulate.report import table
from orkhaven.simulate.trace import TraceError, TraceRun, read_trace, write_trace

__all__ = [
    "POLICIES",
    "FairShare",
    "Measured",
    "Options",
    "Policy",
    "Shape",
    "TraceError",
    "TraceRun",
    "make_trace",
    "read_nodes",
    "read_trace",
    "replay",
    "table",
    "write_trace",
]
