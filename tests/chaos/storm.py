"""The storm itself, and the calm that it is compared with: the same sweep, undisturbed, on the same cluster before."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos import stage as scene
from tests.chaos.faults import FAULTS
from tests.chaos.report import Report, Struck
from tests.chaos.runs import curve_of
from tests.chaos.schedule import Strike
from tests.chaos.stage import Stage
from tests.chaos.verdict import Ending, Results, problems, results
from tests.chaos.watcher import Watcher
from tests.cluster.programs import cache_root
from tests.e2e.user import Body, sweep
from tools.deploy import wait_until

SWEEP = "storm"
PARALLELISM = 2
EPOCHS = int(os.environ.get("ORKHAVEN_CHAOS_EPOCHS", "12"))
"""Of each training: so many that the sweep outlasts its strikes."""
RIGHT_SECONDS = 300.0
"""Longer, and a person would have had to help. A container that was killed five times waits 160 s for its kubelet."""
Say = Callable[[str], None]


def body(trials: int) -> Body:
    """Real trainings of a few seconds that differ in their learning rate only."""
    rates = [round(1e-3 + number * 1e-4, 6) for number in range(trials)]
    return sweep(
        SWEEP,
        [{"name": "optimizer.lr", "values": rates}],
        search={"algorithm": "Grid"},
        parallelism=PARALLELISM,
        # A volume that is read-only for a while fails what starts meanwhile again and again.
        template={"params": {"epochs": EPOCHS}, "retry": {"limit": 8}},
    )


def calm(stage: Stage, trials: int, *, say: Say) -> tuple[Results, float]:
    """Results and seconds of the sweep undisturbed. Kept for the next storm of the same image, sweep and processor."""
    kept = cache_root() / "chaos" / f"{_key(stage, trials)}.json"
    if kept.exists():
        known = json.loads(kept.read_text())
        say(f"undisturbed: {kept}, recorded before")
        return known["results"], known["seconds"]
    folder = scene.new_namespace(stage, "calm")
    start = time.monotonic()
    stage.deployment.apply(_in("calm", body(trials)))
    ending = _ending(stage, "calm", folder, timeout_s=120 + 40 * trials)
    seconds = time.monotonic() - start
    attempts = [len(one["status"]["attempts"]) for one in ending.experiments]
    assert attempts == [1] * trials, f"not undisturbed: {attempts}"
    # As they come back from the file, so that both are compared alike.
    found: Results = json.loads(json.dumps(results(ending)))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"seconds": seconds, "results": found}))
    say(f"undisturbed: {trials} trials in {seconds:.0f} s")
    return found, seconds


def _key(stage: Stage, trials: int) -> str:
    images = dict(stage.cluster.images())
    trainer = next(digest for name, digest in sorted(images.items()) if "trainer-cpu" in name)
    processor = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ""
    )
    told = json.dumps([trainer, body(trials), platform.machine(), processor], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def storm(stage: Stage, strikes: Sequence[Strike], *, seed: int, trials: int, say: Say) -> tuple[Report, list[str]]:
    """Undisturbed, then struck. The report, and what does not hold."""
    expected, calm_seconds = calm(stage, trials, say=say)
    stage.namespace, stage.sweep = f"storm-{seed}", SWEEP
    folder = scene.new_namespace(stage, stage.namespace)
    watcher = Watcher(stage.cluster, stage.namespace).start()
    rng = random.Random(seed)
    start = time.monotonic()
    try:
        stage.deployment.apply(_in(stage.namespace, body(trials)))
        struck = [_strike(stage, strike, rng, say=say) for strike in strikes]
        ending = _ending(stage, stage.namespace, folder, timeout_s=300 + 40 * trials)
        seconds = time.monotonic() - start
        wait_until("the sweep's counts", lambda: scene.settled(stage), timeout_s=60)
    finally:
        watcher.stop()
    report = Report(
        seed=seed,
        trials=trials,
        calm_seconds=calm_seconds,
        storm_seconds=seconds,
        struck=struck,
        ending=ending,
        restarts=stage.supervisor.restarts,
        looks=watcher.looks,
        together=len(watcher.together),
        pods=len(watcher.seen.pods),
    )
    found = problems(expected, ending, watcher.seen, watcher.together)
    found += [f"{one.fault} came after the end of the sweep" for one in struck if one.after >= trials]
    if not watcher.looks or not watcher.seen.pods:
        found.append("the watcher has seen nothing")
    return report, found


def _strike(stage: Stage, strike: Strike, rng: random.Random, *, say: Say) -> Struck:
    def far_enough() -> bool:
        return scene.done_trials(stage) >= strike.after

    wait_until(f"{strike.after} trials", far_enough, timeout_s=900, interval_s=0.25)
    time.sleep(strike.pause)
    fault = FAULTS[strike.fault]
    done = scene.done_trials(stage)
    hits = stage.proxy.hit[fault.counted]
    start = time.monotonic()
    fault.act(stage, rng)
    lifted = time.monotonic()
    wrong: dict[str, None] = {}

    def right() -> bool:
        """Everything is there, the operator leads, and the sweep's status counts what its trials are."""
        now = stage.wrong() or _stale(stage, lease)
        wrong.update(dict.fromkeys(now))
        return not now and scene.settled(stage)

    lease = stage.lease().get("renewTime")
    try:
        seconds = scene.wait_for(f"all to be right again after {fault.name}", right, seconds=RIGHT_SECONDS)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {list(wrong)}\n{scene.describe(stage, stage.namespace)}") from error
    made = Struck(
        fault=fault.name,
        after=done,
        lasted=lifted - start,
        right=seconds,
        wrong=tuple(wrong),
        requests=stage.proxy.hit[fault.counted] - hits if fault.counted else 0,
    )
    say(f"{fault.name} after {done} trials: lasted {made.lasted:.0f} s, right again after {seconds:.1f} s")
    return made


def _stale(stage: Stage, before: Any) -> list[str]:
    """The lease has not been renewed since."""
    now = stage.lease().get("renewTime")
    return ["the operator does not lead"] if now is None or now == before else []


def _ending(stage: Stage, namespace: str, folder: Path, *, timeout_s: float) -> Ending:
    sweep = scene.finished(stage, namespace, SWEEP, timeout_s=timeout_s)
    experiments = scene.experiments(stage, namespace)
    curves = {
        one["metadata"]["name"]: curve_of(folder / (one["status"].get("outputFolder") or one["status"]["runHash"]))
        for one in experiments
    }
    return Ending(sweep=sweep, experiments=experiments, curves=curves)


def _in(namespace: str, made: Body) -> Body:
    return {**made, "metadata": {**made["metadata"], "namespace": namespace}}
