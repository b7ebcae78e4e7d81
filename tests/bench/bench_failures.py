"""What judging failures costs: an attempt, a sweep of 10,000 trials of which 1,000 failed, and a user's pattern.

Ratios of CPU time, so that it says the same on any machine: a look at the clusters is compared with the parse of the
sweep's trials, which the operator needs anyway.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from orkhaven.core.failures import classify, fingerprint
from orkhaven.core.failures.clusters import failure_clusters
from orkhaven.core.failures.mask import mask
from orkhaven.core.failures.traces import fatal
from orkhaven.core.parse import parse_experiment
from orkhaven.core.pattern import Pattern
from orkhaven.core.views import ExperimentView
from tools.corpus import Failure, load

TRIALS, FAILED = 10_000, 1_000
START = datetime(2026, 3, 1, tzinfo=UTC)


def cpu(function: Callable[[], object], *, repeat: int = 3) -> float:
    """Seconds of CPU, the best of `repeat`."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        function()
        best = min(best, time.process_time() - begin)
    return best


def judge_all(failures: list[Failure]) -> None:
    fatal.cache_clear()
    mask.cache_clear()
    for failure in failures:
        found = classify(failure.evidence)
        fingerprint(found.reason, found.message, failure.evidence)


def test_an_attempt() -> None:
    failures = load()
    seconds = cpu(lambda: judge_all(failures)) / len(failures)
    print(f"\n{seconds * 1000:.2f} ms of CPU an attempt, {len(failures)} of the corpus")
    log = "\n".join(f"step {n} loss 0.{n} from 10.0.0.{n % 250}:29500 in /data/{n}.npy" for n in range(1200))
    longest = [
        Failure(one.source, one.label, one.bug, type(one.evidence)(text=f"{log}\n{one.evidence.text}"), False)
        for one in failures[:40]
    ]
    seconds = cpu(lambda: judge_all(longest)) / len(longest)
    print(f"{seconds * 1000:.2f} ms with {len(log) / 1024:.0f} KiB of log before it")


def trials() -> list[dict[str, object]]:
    made = []
    for number in range(TRIALS):
        failed = number % (TRIALS // FAILED) == 0
        end = (START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
        status: dict[str, object] = {
            "state": "Failed" if failed else "Succeeded",
            "reason": "ShapeMismatch" if failed else "Completed",
            "message": "x" * 200,
            "completionTime": end,
            "attempts": [{"number": 1, "job": "j", "node": f"n{number % 40}", "gpuModel": "A100"}],
        }
        if failed:
            status["failure"] = {
                "reason": "ShapeMismatch",
                "message": "m",
                "cluster": f"{number % 400:08x}",
                "signature": "RuntimeError: mat# and mat# shapes cannot be multiplied (# and #)",
                "suggestion": "Look at the shapes.",
            }
        params = {
            "lr": number / 7,
            "batch_size": 2 ** (number % 5),
            "model": {"encoder": f"resnet{number % 4}"},
            "a": 1,
        }
        made.append(
            {
                "metadata": {
                    "name": f"t{number:05}",
                    "namespace": "ns",
                    "uid": f"u{number}",
                    "resourceVersion": "1",
                    "creationTimestamp": end,
                },
                "spec": {"params": params, "image": "trainer:1"},
                "status": status,
            }
        )
    return made


def test_ten_thousand_trials() -> None:
    bodies = trials()
    views: list[ExperimentView] = []

    def parse() -> None:
        views[:] = [parse_experiment(body) for body in bodies]

    parsing = cpu(parse, repeat=1)
    failed = [view for view in views if view.status.state == "Failed"]
    succeeded = [view for view in views if view.status.state != "Failed"]
    names = ["lr", "batch_size", "model.encoder", "a"]

    def look() -> None:
        failure_clusters(failed, succeeded=succeeded, names=names)

    looking = cpu(look)
    found = failure_clusters(failed, succeeded=succeeded, names=names)
    size = len(json.dumps([one.to_dict() for one in found.listed]).encode())
    took, kib = looking * 1000, size / 1024
    print(f"\n{took:.0f} ms of CPU for a look at {FAILED} failures of {TRIALS} trials, {kib:.1f} KiB of status")
    assert looking < 0.25 * parsing, f"{looking:.2f} s, the trials are parsed in {parsing:.2f} s"


def test_a_users_pattern() -> None:
    line = "a" * 1999 + "c"
    plain, evil = Pattern("cannot check out a licen[cs]e"), Pattern("(a*)*(a|a)*b")
    simple, worst = cpu(lambda: plain.search(line)), cpu(lambda: evil.search(line))
    print(f"\n{simple * 1e6:.0f} and {worst * 1e6:.0f} microseconds for 2,000 characters")
    assert worst < 20 * simple
