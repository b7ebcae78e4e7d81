"""What has to hold after the storm, compared with the same sweep undisturbed. Pure: what is wrong, as sentences."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.chaos.runs import TIMES, Curve
from tests.chaos.watcher import PodSeen, Seen

Body = dict[str, Any]
Results = dict[str, Body]
"""Name of a trial -> what must be the same bit for bit."""

RESOLUTION = timedelta(seconds=1)
"""Times of containers have whole seconds: one that began in the second in which another ended came after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is left when the sweep is over."""

    sweep: Body
    experiments: list[Body]
    curves: dict[str, Curve]
    """By name of the trial."""


def results(ending: Ending) -> Results:
    """JSON's numbers are the shortest that read back as the same float, so nothing is lost on the way here."""
    return {
        body["metadata"]["name"]: {
            "params": body["spec"]["params"],
            "state": body["status"].get("state"),
            "objective": body["status"].get("objective"),
            "metrics": {
                name: value for name, value in (body["status"].get("metrics") or {}).items() if TIMES not in name
            },
            "curve": {
                str(step): values for step, values in sorted(ending.curves[body["metadata"]["name"]].steps.items())
            },
        }
        for body in ending.experiments
    }


def problems(calm: Results, ending: Ending, seen: Seen, together: Mapping[str, set[str]]) -> list[str]:
    return [
        *_same_trials(calm, ending, seen),
        *_counts(calm, ending),
        *_attempts(ending),
        *_one_at_a_time(seen, together),
        *_same_results(calm, results(ending)),
        *(f"done twice, otherwise: {one}" for curve in ending.curves.values() for one in curve.differ),
    ]


def _same_trials(calm: Results, ending: Ending, seen: Seen) -> list[str]:
    names = [body["metadata"]["name"] for body in ending.experiments]
    found = [f"{name} is missing" for name in sorted(set(calm) - set(names))]
    found += [f"{name} is none of the planned" for name in sorted({*names, *seen.experiments} - set(calm))]
    found += [f"{name} was made {len(uids)} times" for name, uids in sorted(seen.experiments.items()) if len(uids) > 1]
    # A Job that somebody deletes by hand may be made again; nobody did.
    found += [f"Job {name} was made {len(uids)} times" for name, uids in sorted(seen.jobs.items()) if len(uids) > 1]
    return found


def _counts(calm: Results, ending: Ending) -> list[str]:
    status = ending.sweep["status"]
    counted, want = status["trials"], len(calm)
    expected = dict.fromkeys(("total", "created", "succeeded"), want)
    expected |= dict.fromkeys(("failed", "queued", "running", "replaced", "pruned", "skipped", "reused"), 0)
    found = [
        f"the sweep counts {what} {counted.get(what, 0)}, not {number}"
        for what, number in expected.items()
        if counted.get(what, 0) != number
    ]
    ranked = [row["experiment"] for row in status.get("leaderboard", ())]
    if not ranked:
        found.append("the leaderboard is empty")
    if len(ranked) != len(set(ranked)):
        found.append("a trial is in the leaderboard twice")
    return found


def _attempts(ending: Ending) -> list[str]:
    found = []
    for body in ending.experiments:
        name, attempts = body["metadata"]["name"], body["status"].get("attempts", [])
        numbers = [attempt["number"] for attempt in attempts]
        if numbers != sorted(set(numbers)):
            found.append(f"{name}: attempts {numbers}")
        completed = sum(attempt.get("reason") == "Completed" for attempt in attempts)
        if completed != 1 or attempts[-1].get("reason") != "Completed":
            found.append(f"{name}: {completed} attempts are Completed, of {len(attempts)}")
        limit = body["spec"].get("retry", {}).get("limit", 2)
        if body["status"].get("retriesUsed", 0) > limit:
            found.append(f"{name}: {body['status']['retriesUsed']} retries used of {limit}")
    return found


def _one_at_a_time(seen: Seen, together: Mapping[str, set[str]]) -> list[str]:
    found = [
        f"processes of {len(pods)} pods at once in {folder}: {', '.join(sorted(pods))}"
        for folder, pods in sorted(together.items())
    ]
    by_experiment: dict[str, list[PodSeen]] = defaultdict(list)
    for pod in seen.pods.values():
        if pod.started is not None:
            by_experiment[pod.experiment].append(pod)
    for name, pods in sorted(by_experiment.items()):
        pods.sort(key=lambda pod: (pod.started, pod.attempt))
        for before, after in itertools.pairwise(pods):
            assert after.started is not None
            # Where no end was seen, the pod went with its node; the census has looked at its processes.
            if before.finished is not None and after.started + RESOLUTION <= before.finished:
                found.append(
                    f"{name}: {after.name} started {after.started:%H:%M:%S}, {before.name} ended "
                    f"{before.finished:%H:%M:%S}"
                )
    return found


def _same_results(calm: Results, stormy: Results) -> list[str]:
    return [
        f"{name}: {what} is {stormy[name][what]}, undisturbed {want}"
        for name in sorted(set(calm) & set(stormy))
        for what, want in calm[name].items()
        if stormy[name][what] != want
    ]
