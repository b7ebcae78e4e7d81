"""Nodes that only the API knows, played by KWOK: thousands of pods "run" on them without a container. For scale tests.

Owns the stages (what happens to a node and a pod after how long) and the KWOK process of a cluster.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.cluster import programs
from tests.cluster.api import Api
from tests.cluster.gpus import RESOURCE, gpu_labels
from tests.cluster.processes import Processes
from tests.cluster.say import wait_for
from tests.cluster.settings import Settings

# KWOK plays only nodes that carry it, so a real node beside them is left alone.
MARK = "kwok.x-k8s.io/node"
# On a pod: how long it runs, in whole milliseconds, in place of the cluster's default.
RUNS_FOR = "orkhaven.io/kwok-runs-ms"
# On a pod: the exit code of its containers in place of 0.
EXITS_WITH = "orkhaven.io/kwok-exit-code"
# On a pod: the termination message of its containers, as a trainer would write it to /dev/termination-log.
MESSAGE = "orkhaven.io/kwok-message"

_ALIVE = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}


def _phase(value: str) -> dict[str, Any]:
    return {"key": ".status.phase", "operator": "In", "values": [value]}


def _stage(name: str, kind: str, when: list[dict[str, Any]], then: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": when},
            "next": then,
            **more,
        },
    }


_NODE_READY = """{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
phase: Running
"""

_POD_RUNS = """{{ $now := Now }}
phase: Running
startTime: {{ $now | Quote }}
conditions:
{{ range $type := "Initialized,ContainersReady,Ready" | split "," }}
- {type: {{ $type | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
"""

_POD_ENDS = """{{ $now := Now }}
{{ $notes := or .metadata.annotations dict }}
{{ $code := or (index $notes "@exit") "0" }}
{{ $message := or (index $notes "@message") @default }}
phase: {{ if eq $code "0" }}Succeeded{{ else }}Failed{{ end }}
conditions:
- {type: ContainersReady, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "False", reason: PodCompleted, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ $start := .status.startTime }}
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state:
    terminated:
      exitCode: {{ $code }}
      message: {{ $message | Quote }}
      reason: {{ if eq $code "0" }}Completed{{ else }}Error{{ end }}
      startedAt: {{ $start | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
""".replace("@exit", EXITS_WITH).replace("@message", MESSAGE)


def stages(*, runs_ms: int, at_most_ms: int | None = None, message: str = "") -> list[dict[str, Any]]:
    """Nodes become ready and pods run at once; pods end after `runs_ms` (or anything up to `at_most_ms`) with
    `message`, or as annotations say."""
    not_ready = {
        "key": '.status.conditions.[] | select( .type == "Ready" ) | .status',
        "operator": "NotIn",
        "values": ["True"],
    }
    delay: dict[str, Any] = {
        "durationMilliseconds": runs_ms,
        "durationFrom": {"expressionFrom": f'.metadata.annotations["{RUNS_FOR}"] | select(. != null) | . + "ms"'},
    }
    if at_most_ms is not None:
        delay["jitterDurationMilliseconds"] = at_most_ms
    ends = _POD_ENDS.replace("@default", json.dumps(message))
    return [
        _stage("node-ready", "Node", [not_ready], {"statusTemplate": _NODE_READY}),
        _stage("pod-runs", "Pod", [_ALIVE, _phase("Pending")], {"statusTemplate": _POD_RUNS}),
        _stage("pod-ends", "Pod", [_ALIVE, _phase("Running")], {"statusTemplate": ends}, delay=delay),
        _stage(
            "pod-goes",
            "Pod",
            [{"key": ".metadata.deletionTimestamp", "operator": "Exists"}],
            {"delete": True, "finalizers": {"empty": True}},
        ),
    ]


def start(
    processes: Processes,
    *,
    state: Path,
    kubeconfig: Path,
    runs_ms: int,
    at_most_ms: int | None = None,
    message: str = "",
) -> None:
    """Starts KWOK, or starts it anew where its stages have changed."""
    made = stages(runs_ms=runs_ms, at_most_ms=at_most_ms, message=message)
    text = "\n---\n".join(json.dumps(stage) for stage in made)
    # Of its own name, so that a process with other stages is started anew.
    config = state / f"kwok-{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"
    config.write_text(text)
    processes.start(
        "kwok",
        [
            programs.ensure(["kwok"])["kwok"],
            f"--kubeconfig={kubeconfig}",
            f"--config={config}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={MARK}=fake",
            "--node-lease-duration-seconds=60",
            # At its default it writes a line per patch.
            "--v=WARN",
        ],
    )


def add_nodes(api: Api, settings: Settings, *, count: int, gpus_each: int, prefix: str) -> list[str]:
    """Creates nodes `<prefix>-<number>` with GPUs and returns their names when all are ready."""
    names = [f"{prefix}-{number}" for number in range(count)]
    amounts = {"cpu": "64", "memory": "512Gi", "pods": "1000", RESOURCE: str(gpus_each)}
    for name in names:
        api.create(
            "/api/v1/nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "annotations": {MARK: "fake"},
                    "labels": {"kubernetes.io/hostname": name, "type": "kwok", **gpu_labels(settings)},
                },
                "status": {"capacity": amounts, "allocatable": amounts},
            },
        )

    def ready() -> bool:
        found = api.call("GET", "/api/v1/nodes")["items"]
        usable = {n["metadata"]["name"] for n in found if not n["spec"].get("taints") and _is_ready(n)}
        return usable >= set(names)

    wait_for(
        f"{count} KWOK nodes to be ready", ready, seconds=60, hint="see the logs of kwok and the controller-manager"
    )
    return names


def _is_ready(node: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
