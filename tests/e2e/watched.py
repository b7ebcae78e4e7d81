"""What held the GPUs, by the API server alone: a watch of a namespace's pods, of which nothing of Orkhaven knows."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.e2e.user import Body, User


@dataclass(frozen=True, slots=True)
class Pods:
    """What was said of them so far."""

    said: Path

    def seen(self) -> list[Body]:
        """All there ever were, each as it was last; of one that is gone that is how it went."""
        text, at, found = self.said.read_text(), 0, dict[str, Body]()
        decoder = json.JSONDecoder()
        while True:
            while text[at : at + 1].isspace():
                at += 1
            try:
                event, at = decoder.raw_decode(text, at)
            except ValueError:  # the end, or half an event that is still being written
                return list(found.values())
            found[event["object"]["metadata"]["uid"]] = event["object"]

    def held(self, now: datetime) -> list[Held]:
        return [held for pod in self.seen() if (held := _held(pod, now)) is not None]


@dataclass(frozen=True, slots=True)
class Held:
    """By one pod."""

    job: str
    gpu_seconds: float
    ended: bool


@contextlib.contextmanager
def watched_pods(user: User, folder: Path) -> Iterator[Pods]:
    """From now on."""
    cluster = user.deployment.cluster
    command = [str(cluster.programs["kubectl"]), "-n", user.namespace, "get", "pods", "-o", "json", "--watch"]
    said = folder / "pods.json"
    with (
        said.open("w") as out,
        subprocess.Popen(
            [*command, "--output-watch-events"], env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}, stdout=out
        ) as watch,
    ):
        try:
            yield Pods(said)
            assert watch.poll() is None, "the watch ended before the test"
        finally:
            watch.terminate()


def _held(pod: Body, now: datetime) -> Held | None:
    """From the moment the node took it (startTime) to the end of its container, both in whole seconds of the kubelet's
    clock; None: no node took it."""
    status = pod.get("status", {})
    if "startTime" not in status:
        return None
    (container,) = pod["spec"]["containers"]
    states = [one["state"] for one in status.get("containerStatuses", ())]
    ends = [state["terminated"]["finishedAt"] for state in states if "terminated" in state]
    end = datetime.fromisoformat(ends[0]) if ends else now
    seconds = max((end - datetime.fromisoformat(status["startTime"])).total_seconds(), 0.0)
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    return Held(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"], seconds * gpus, bool(ends))
