"""Many trainings on this machine without a cluster, each in a process of its own, each once: what is finished is read,
not run again, so that a study can be stopped and gone on with. What a study is about is in its own module.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    """For people."""
    params: Mapping[str, Any]
    """Without a seed. Together they are what makes it the same job."""
    seed: int

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps([self.params, self.seed], sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Trained:
    job: Job
    epochs: Sequence[Mapping[str, float]]
    """The metrics of each epoch."""
    cpu_seconds: float | None
    """Of all attempts together, with start and report. None: an attempt was cut off together with what counted it."""

    def last(self, metric: str, count: int) -> float:
        """The mean of the last epochs: the best one would be chosen on the slices that judge."""
        values = [epoch[metric] for epoch in self.epochs[-count:]]
        return sum(values) / len(values)

    def best(self, metric: str) -> float:
        return max(epoch[metric] for epoch in self.epochs)


def run(jobs: Sequence[Job], *, folder: Path, processes: int) -> Iterator[Trained | str]:
    """What each job found, in their order; text for what went wrong: one failed job stops no other."""

    def work(job: Job) -> Trained | str:
        try:
            return _finished(job, folder) or _run(job, folder)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            return f"{job.name} seed {job.seed}: {error}"

    with ThreadPoolExecutor(processes) as pool:
        yield from pool.map(work, jobs)


def run_and_tell(jobs: Sequence[Job], *, folder: Path, processes: int, metric: str) -> list[Trained]:
    """`run` with a line for each job. Raises SystemExit at the end where one failed."""
    results: list[Trained] = []
    failures: list[str] = []
    for number, found in enumerate(run(jobs, folder=folder, processes=processes), start=1):
        if isinstance(found, str):
            failures.append(found)
            print(f"{number}/{len(jobs)} FAILED {found.splitlines()[0]}", flush=True)
            continue
        results.append(found)
        print(
            f"{number}/{len(jobs)} {found.job.name} seed {found.job.seed}: {metric} {found.epochs[-1][metric]:.4f}, "
            + ("CPU time unknown" if found.cpu_seconds is None else f"{found.cpu_seconds / 60:.1f} CPU minutes"),
            flush=True,
        )
    if failures:
        print("\n\n".join(failures), file=sys.stderr)
        raise SystemExit(f"{len(failures)} of {len(jobs)} trainings failed, no page is written; the same again goes on")
    return results


def _run(job: Job, folder: Path) -> Trained:
    """Raises RuntimeError with the end of the log."""
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / f"{job.key}.json", folder / f"{job.key}.log"
    config.write_text(json.dumps(job.params))
    output = folder / job.key
    before = _cost(folder, job, begun=output.exists())
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "ctseg", "train", "--config", config, "--output", output, "--seed", str(job.seed)],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "trainer"),
                "OMP_NUM_THREADS": str(job.params.get("threads", 1)),
            },
            stdout=told,
            stderr=subprocess.STDOUT,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    spent = usage.ru_utime + usage.ru_stime
    cost = {
        "cpu_seconds": None if before is None else before + spent,
        "wall_seconds_of_last_attempt": time.monotonic() - started,
    }
    (folder / f"{job.key}.cost.json").write_text(json.dumps(cost))
    if process.returncode:
        raise RuntimeError(f"ended with {process.returncode}:\n{log.read_text(encoding='utf-8')[-2000:]}")
    found = _finished(job, folder)
    if found is None:
        raise RuntimeError(f"{output} is not complete, though its training ended with 0")
    return found


def _finished(job: Job, folder: Path) -> Trained | None:
    """None where it is not there, or not to its end."""
    output = folder / job.key
    try:
        summary = json.loads((output / "training.json").read_bytes())
    except (OSError, ValueError):
        return None
    if summary["epochs"] < job.params["epochs"] and not summary["stopped_early"]:
        return None
    by_step: dict[int, dict[str, float]] = {}
    for path in sorted(output.glob("metrics-*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if "val/dice" in record.get("metrics", {}):
                by_step[record["step"]] = record["metrics"]  # an epoch that was repeated counts once
    if len(by_step) < summary["epochs"]:
        return None
    return Trained(job, [by_step[step] for step in sorted(by_step)], _cost(folder, job, begun=True))


def _cost(folder: Path, job: Job, *, begun: bool) -> float | None:
    """CPU seconds so far; None where they are not known."""
    try:
        found = json.loads((folder / f"{job.key}.cost.json").read_bytes())["cpu_seconds"]
    except FileNotFoundError:
        return None if begun else 0.0
    return None if found is None else float(found)
