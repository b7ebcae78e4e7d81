"""What was there, seen from outside: every Experiment, Job and pod through the API, and the processes on the node.

Own connections with the administrator's certificate, past the proxy. A list after every break, so an API server that is
away costs nothing but time. The census of processes needs no API at all: it is the judge of whether two attempts of
one run ever trained at once.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from orkrun.contract import ENV_OUTPUT, LABEL_ATTEMPT, LABEL_EXPERIMENT
from tests.cluster import Cluster
from tests.cluster.api import Api

Body = dict[str, Any]
CENSUS_SECONDS = 0.5
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")


@dataclass(slots=True)
class PodSeen:
    """A training pod: the last that was seen of it."""

    name: str
    experiment: str
    attempt: int
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None


@dataclass(slots=True)
class Seen:
    """Everything that was ever there. Filled by `take`, which forgets nothing."""

    experiments: dict[str, set[str]] = field(default_factory=dict)
    """Name -> uids: more than one would be a trial that was made twice."""
    jobs: dict[str, set[str]] = field(default_factory=dict)
    pods: dict[str, PodSeen] = field(default_factory=dict)
    """By uid."""

    def take(self, kind: str, body: Body) -> None:
        meta = body["metadata"]
        if kind == "experiments":
            self.experiments.setdefault(meta["name"], set()).add(meta["uid"])
        elif kind == "jobs":
            self.jobs.setdefault(meta["name"], set()).add(meta["uid"])
        elif LABEL_EXPERIMENT in (labels := meta.get("labels", {})):
            self._take_pod(meta, labels, body.get("status", {}))

    def _take_pod(self, meta: Body, labels: Body, status: Body) -> None:
        pod = self.pods.setdefault(
            meta["uid"], PodSeen(meta["name"], labels[LABEL_EXPERIMENT], int(labels.get(LABEL_ATTEMPT, 0)))
        )
        for container in status.get("containerStatuses", ()):
            state = container.get("state", {})
            running, ended = state.get("running") or {}, state.get("terminated") or {}
            pod.started = _time(running.get("startedAt") or ended.get("startedAt")) or pod.started
            if ended:
                pod.finished = _time(ended.get("finishedAt")) or pod.finished
                pod.exit_code = ended.get("exitCode", pod.exit_code)


def _time(text: str | None) -> datetime | None:
    found = datetime.fromisoformat(text) if text else None
    # The kubelet writes the year 1 where it does not know.
    return found if found is not None and found.year > 1970 else None


class Watcher:
    """`start`, `stop`, then `seen` and `together`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self.seen = Seen()
        self.together: dict[str, set[str]] = {}
        """Output folder -> uids of pods whose processes had it at one moment."""
        self.looks = 0
        self.breaks = 0
        """How often a list or a watch ended otherwise than by its time."""
        self._over = threading.Event()
        group = "/apis/orkhaven.io/v1alpha1"
        paths = {
            "experiments": f"{group}/namespaces/{namespace}/experiments",
            "jobs": f"/apis/batch/v1/namespaces/{namespace}/jobs",
            "pods": f"/api/v1/namespaces/{namespace}/pods",
        }
        self._threads = [
            threading.Thread(target=self._follow, args=(kind, path), name=f"watch-{kind}", daemon=True)
            for kind, path in paths.items()
        ]
        self._threads.append(threading.Thread(target=self._count, name="census", daemon=True))

    def start(self) -> Watcher:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _follow(self, kind: str, path: str) -> None:
        api = self._cluster.api
        while not self._over.is_set():
            try:
                listed = api.call("GET", path)
                for body in listed["items"]:
                    self.seen.take(kind, body)
                version = listed["metadata"]["resourceVersion"]
                while version and not self._over.is_set():
                    version = self._watch(api, kind, path, version)
            except Exception:  # noqa: BLE001  whatever it was, the next list makes up for it
                self.breaks += 1
                self._over.wait(0.2)

    def _watch(self, api: Api, kind: str, path: str, version: str) -> str:
        """Until the server ends it; the version to go on from. Empty: list again."""
        for event in _events(
            api, f"{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds=20&resourceVersion={version}"
        ):
            if event["type"] == "ERROR":
                return ""
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self.seen.take(kind, event["object"])
        return version

    def _count(self) -> None:
        group = f"/orkhaven-{self._cluster.name}/"
        while not self._over.wait(CENSUS_SECONDS):
            self.looks += 1
            for folder, pods in trainers(Path("/proc"), group).items():
                if len(pods) > 1:
                    self.together.setdefault(folder, set()).update(pods)


def _events(api: Api, path: str) -> Iterator[Body]:
    connection = http.client.HTTPSConnection(api.server.removeprefix("https://"), context=api.context, timeout=40)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"{answer.status}: {answer.read()[:200]!r}")
        while line := answer.readline():
            yield json.loads(line)


def trainers(proc: Path, group: str) -> dict[str, set[str]]:
    """Output folder -> uids of the pods that have a process with it, by what /proc shows of this node's processes."""
    found: dict[str, set[str]] = {}
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            control = (proc / name / "cgroup").read_text()
            if group not in control:
                continue
            environment = (proc / name / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        pod = _POD.search(control)
        prefix = f"{ENV_OUTPUT}=".encode()
        folder = next((entry[len(prefix) :].decode() for entry in environment if entry.startswith(prefix)), None)
        if pod is not None and folder:
            found.setdefault(folder, set()).add(pod[1].replace("_", "-"))
    return found
