"""What judging failures costs: an attempt, by kind of log, a sweep of 10,000 trials of which 1,000 failed, and a user's
pattern.

Ratios of CPU time, so that it says the same on any machine: a look at the clusters is compared with the parse of the
sweep's trials, which the operator needs anyway.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from orkhaven.core.failures import Evidence, classify, fingerprint, wants_log
from orkhaven.core.failures.clusters import failure_clusters
from orkhaven.core.failures.mask import mask
from orkhaven.core.failures.traces import fatal
from orkhaven.core.outcome import failure_of
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


LOG = 64 * 1024
"""Characters of a log that are read."""
BAR_MS = 2.0
"""Of CPU for an attempt."""
SLACK = 1.5
"""What a busy machine may add: the table shows what it was."""
_CAUGHT = (
    "Traceback (most recent call last):",
    '  File "/app/train.py", line {n}, in main',
    "    step({n})",
    '  File "/app/models/unet.py", line {n}, in forward',
    "    x = self.conv(x)",
    '  File "/usr/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1518, in _call_impl',
    "    return forward_call(*args)",
    "ValueError: no idea {n}",
    "",
    "During handling of the above exception, another exception occurred:",
    "",
)
_END = "\n".join(_CAUGHT[:8])
_CPP = "frame #{n}: c10::Error::Error(c10::SourceLocation, std::string) + 0x7f{n} (0x7fab{n} in /opt/lib/libc10.so)"
_PLAIN = "2026-03-01 10:00:00 INFO train: step {n} loss 0.{n} from 10.0.0.9:29500 /data/case-{n}.npy"
KINDS: dict[str, tuple[str, str]] = {
    "all INFO": (_PLAIN, ""),
    "INFO, then a traceback": (_PLAIN, _END),
    "every line an error": ("ERROR: cannot read /data/case-{n}.bin: ValueError: wrong number {n}, trying again", ""),
    "every line an exception": ("RuntimeError: cannot do step {n} of /data/x{n}", ""),
    "tracebacks, chained": ("\n".join(_CAUGHT), _END),
    "tracebacks of ranks": ("\n".join(f"[rank{n}]: {line}" for n in range(8) for line in _CAUGHT), ""),
    "C++ frames": (_CPP, ""),
    "progress bars": ("{n}%|####    | {n}/9999 [00:01<01:00, 3.2it/s, loss=0.{n}]\r", ""),
    "one line of numbers": ("0.{n}, ", ""),
    "one line without a space": ("x", ""),
    "nothing but blanks": (" ", ""),
    "nothing but ends of lines": ("\n", ""),
}
"""(what comes again and again, what comes last); {n} counts."""


def log_of(kind: str, number: int) -> str:
    again, last = KINDS[kind]
    joint = "\n" if len(again) > 10 else ""
    count = LOG // (len(again) + len(joint)) + 1
    text = joint.join(again.replace("{n}", str(n)) for n in range(number, number + count))
    # Another text each time: nothing that is remembered of one helps with the next.
    return f"{text[: LOG - len(last)]}\n{last} {number}"


def judged(text: str) -> float:
    """Milliseconds of CPU for all that is found out about an attempt with this log."""
    fatal.cache_clear()
    mask.cache_clear()
    evidence = Evidence(text=text, from_log=True, exit_code=1, ran=True, data_paths=("/data",))
    begin = time.process_time()
    cause = classify(evidence)
    wants_log(evidence, cause)
    failure_of(cause.reason, cause.message, evidence)
    return (time.process_time() - begin) * 1000


def test_an_attempt_by_kind_of_log() -> None:
    judged("to compile what is compiled once")
    print(f"\n{'64 KiB of':28} p50 ms  p95 ms")
    slow = {}
    for kind in KINDS:
        took = sorted(judged(log_of(kind, number)) for number in range(20))
        p50, p95 = took[len(took) // 2], took[-2]
        print(f"{kind:28} {p50:6.2f}  {p95:6.2f}")
        if p50 > SLACK * BAR_MS:
            slow[kind] = p50
    assert slow == {}


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
