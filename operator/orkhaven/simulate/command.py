"""`orkhaven simulate`: a table of what the queue does with a trace, or a trace to begin with."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random

from orkhaven.core.queue import Shares
from orkhaven.simulate.cluster import read_nodes
from orkhaven.simulate.generator import Shape, make_trace
from orkhaven.simulate.policies import POLICIES, FairShare, Policy
from orkhaven.simulate.replay import Options, replay
from orkhaven.simulate.report import table
from orkhaven.simulate.trace import TraceError, read_trace, write_trace

DEFAULTS = Shares()


def main(argv: Sequence[str]) -> int:
    """The exit code: 64 where a file cannot be read."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.make_trace:
            return _make(arguments)
        return _replay(arguments)
    except TraceError as error:
        print(error, file=sys.stderr)
    except (OSError, UnicodeDecodeError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
    return 64


def _make(arguments: argparse.Namespace) -> int:
    nodes = read_nodes(arguments.nodes.read_text(), name=arguments.nodes.name)
    shape = Shape(
        days=arguments.days,
        gpus=sum(node.gpus for node in nodes),
        load=arguments.load,
        namespaces=arguments.namespaces,
        users=arguments.users,
        largest=max(node.gpus for node in nodes),
    )
    write_trace(make_trace(shape, Random(arguments.seed)), sys.stdout)
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    nodes = read_nodes(arguments.nodes.read_text(), name=arguments.nodes.name)
    with arguments.trace.open(newline="") as lines:
        trace = read_trace(lines, name=arguments.trace.name)
    weights = dict(arguments.weight)
    half_life = timedelta(hours=arguments.half_life)
    options = Options(
        every=arguments.every,
        grace=arguments.grace,
        restart=arguments.restart,
        checkpoint_every=arguments.checkpoint_every,
        packed=arguments.scheduler == "pack",
        half_life=half_life,
        weights=weights,
    )
    fair = FairShare(weights=weights, half_life=half_life, min_run=timedelta(seconds=arguments.min_run))
    wanted: dict[str, Policy] = {"fair": fair, **POLICIES}
    chosen = arguments.policy or ["fair"]
    names = list(wanted) if "all" in chosen else chosen
    print(table([replay(trace, nodes, wanted[name], options) for name in names]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orkhaven simulate", description="What would the queue do with these runs on these nodes?"
    )
    parser.add_argument("--nodes", type=Path, required=True, help="YAML: a list of {count, gpus, model, memory}")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--trace", type=Path, help="CSV: submitted_s,namespace,user,gpus,duration_s,priority,gpu_model")
    what.add_argument("--make-trace", action="store_true", help="print a trace for these nodes instead")
    play = parser.add_argument_group("the replay")
    play.add_argument(
        "--policy", action="append", choices=["fair", *POLICIES, "all"], help="default: fair, as in Orkhaven"
    )
    play.add_argument(
        "--weight", action="append", type=_weight, default=[], metavar="NAMESPACE=WEIGHT", help="default: 1 for each"
    )
    hours = DEFAULTS.half_life / timedelta(hours=1)
    play.add_argument("--half-life", type=_positive, default=hours, metavar="HOURS", help=f"of past use ({hours:g})")
    least = DEFAULTS.min_run.total_seconds()
    play.add_argument("--min-run", type=_number, default=least, metavar="S", help=f"before preemption ({least:g})")
    play.add_argument("--every", type=_positive, default=1.0, metavar="S", help="from one decision to the next (1)")
    play.add_argument("--grace", type=_number, default=15.0, metavar="S", help="from SIGTERM to the pod's end (15)")
    play.add_argument("--restart", type=_number, default=60.0, metavar="S", help="until a resumed run works again (60)")
    play.add_argument(
        "--checkpoint-every", type=_positive, metavar="S", help="where training saves none at SIGTERM; default: it does"
    )
    play.add_argument(
        "--scheduler", choices=["pack", "spread"], default="pack", help="how kube-scheduler chooses nodes (pack)"
    )
    make = parser.add_argument_group("--make-trace")
    make.add_argument("--days", type=_positive, default=3.0)
    make.add_argument("--load", type=_positive, default=1.2, help="work submitted, of what the GPUs could do (1.2)")
    make.add_argument("--namespaces", type=_count, default=20)
    make.add_argument("--users", type=_count, default=8, help="of each namespace (8)")
    make.add_argument("--seed", type=int, default=0)
    return parser


def _weight(text: str) -> tuple[str, float]:
    namespace, _, weight = text.partition("=")
    if not namespace:
        raise argparse.ArgumentTypeError(f'"{text}" is not NAMESPACE=WEIGHT')
    return namespace, _positive(weight)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of at least 0')
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not value:
        raise argparse.ArgumentTypeError("has to be above 0")
    return value


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 1 to 10000')
    return int(text)
