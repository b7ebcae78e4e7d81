"""The faults: each strikes, holds for a while, and is lifted. Whether all is right again is not asked here.

A kill is SIGKILL to the process alone; who starts it again is its supervisor: the kubelet for what runs in a pod, with
its back-off, `supervisor.Supervisor` for the rest.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.proxy import Trouble
from tests.chaos.stage import LEASE_SECONDS, Stage, wait_for
from tests.e2e.user import condition
from tools.deploy import SYSTEM_NAMESPACE

Act = Callable[[Stage, random.Random], None]
GONE_SECONDS = 120.0
TROUBLE_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    what: str
    """For the report."""
    act: Act
    """Strikes and lifts; returns when the cause is gone."""
    counted: str = ""
    """What `FaultProxy.hit` counts its requests as."""


def pause(seconds: float) -> None:
    """A fault lasts for a time; nothing is waited for here."""
    time.sleep(seconds)


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def kill_in_pod(component: str) -> Act:
    """Of the container's processes: the kubelet starts another one in the same pod."""

    def act(stage: Stage, rng: random.Random) -> None:
        for pod in stage.pods(component):
            stage.cluster.kill_containers(pod["metadata"]["uid"])

    return act


def kill_process(name: str) -> Act:
    def act(stage: Stage, rng: random.Random) -> None:
        stage.cluster.kill(name)

    return act


def shims(stage: Stage) -> list[int]:
    """containerd's shims, one for each pod, in the node's mount namespace."""
    containerd = stage.cluster.processes()["containerd"]
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdigit() and Path("/proc", entry, "comm").read_text().startswith("containerd-shim"):
                own, node = os.stat(f"/proc/{entry}/ns/mnt"), os.stat(f"/proc/{containerd}/ns/mnt")
                if os.path.samestat(own, node):
                    found.append(int(entry))
    return found


def kill_containerd_with_shims(stage: Stage, rng: random.Random) -> None:
    """containerd and all its shims at once: their containers are orphans until it is back and clears up."""
    pids = shims(stage)
    with stage.supervisor.down("containerd"):
        stage.cluster.kill("containerd")
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


KILLS = (
    Fault("operator", "kill -9 in its pod", kill_in_pod("operator")),
    Fault("hub", "kill -9 in its pod", kill_in_pod("hub")),
    Fault("kube-apiserver", "kill -9", kill_process("kube-apiserver")),
    Fault("etcd", "kill -9", kill_process("etcd")),
    Fault("kube-controller-manager", "kill -9", kill_process("kube-controller-manager")),
    Fault("kube-scheduler", "kill -9", kill_process("kube-scheduler")),
    Fault("kubelet", "kill -9", kill_process("kubelet")),
    Fault("containerd", "kill -9; its shims and all containers live on", kill_process("containerd")),
)


# --- node and volumes -------------------------------------------------------------------------------------------------


def drain(stage: Stage, rng: random.Random) -> None:
    """All pods are evicted, operator and hub too; a while later the node takes pods again."""
    node = str(stage.cluster.node_name)
    stage.try_kubectl(
        "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s", seconds=180
    )
    pause(rng.uniform(2, 6))
    stage.try_kubectl("uncordon", node)


def node_gone(stage: Stage, rng: random.Random) -> None:
    """Its kubelet is dead for two minutes: the node is not heard of, its containers run on where nobody sees them."""
    with stage.supervisor.down("kubelet"):
        stage.cluster.kill("kubelet")
        pause(GONE_SECONDS)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """No byte left on its file system."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    try:
        yield
    finally:
        filler.unlink()


def hub_disk_full(stage: Stage, rng: random.Random) -> None:
    with full(stage.hub_disk):
        pause(TROUBLE_SECONDS)


def output_read_only(stage: Stage, rng: random.Random) -> None:
    """What is mounted from now on is read-only; those that train have it open for writing and keep it so."""
    folder = str(stage.cluster.shared / "results" / stage.namespace)
    stage.cluster.inside("mount", "-o", "remount,bind,ro", folder)
    try:
        pause(TROUBLE_SECONDS)
    finally:
        stage.cluster.inside("mount", "-o", "remount,bind,rw", folder)


# --- the API server's answers -----------------------------------------------------------------------------------------


def cut(stage: Stage, rng: random.Random) -> None:
    """Three times in a row: the second comes while those who watch are just back."""
    for _ in range(3):
        stage.proxy.cut()
        pause(rng.uniform(0.2, 2))


def trouble(which: Trouble) -> Act:
    def act(stage: Stage, rng: random.Random) -> None:
        with stage.proxy.troubled(which):
            if which is Trouble.GONE:
                stage.proxy.cut()
            pause(TROUBLE_SECONDS)

    return act


def two_operators(stage: Stage, rng: random.Random) -> None:
    """A second one beside the first. The leader is frozen until the other leads, and wakes believing that it does."""

    def replicas(count: int) -> None:
        stage.try_kubectl("scale", "-n", SYSTEM_NAMESPACE, "deployment/orkhaven-operator", f"--replicas={count}")

    replicas(2)
    with ExitStack() as after:
        after.callback(replicas, 1)
        wait_for("two operators", lambda: len(_ready(stage)) == 2, seconds=120)
        leader = str(stage.lease().get("holderIdentity"))
        uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in _ready(stage)}
        if leader not in uids:
            return
        stage.cluster.kill_containers(uids[leader], signal.SIGSTOP)
        try:
            wait_for(
                "the other one to lead",
                lambda: stage.lease().get("holderIdentity") not in ("", None, leader),
                seconds=LEASE_SECONDS * 8,
            )
            pause(2)
        finally:
            stage.cluster.kill_containers(uids[leader], signal.SIGCONT)
        pause(LEASE_SECONDS)


def _ready(stage: Stage) -> list[dict[str, object]]:
    return [pod for pod in stage.pods("operator") if condition(pod["status"], "Ready") == "True"]


OTHERS = (
    Fault("containerd and its shims", "kill -9 of all at once", kill_containerd_with_shims),
    Fault("node drained", "all pods evicted, uncordoned after", drain),
    Fault("node gone", "no kubelet for 2 minutes", node_gone),
    Fault("hub's disk full", f"no byte left for {TROUBLE_SECONDS:.0f} s", hub_disk_full),
    Fault("output volume read-only", f"for what starts in {TROUBLE_SECONDS:.0f} s", output_read_only),
    Fault("watches cut", "three times in a row", cut, "cut"),
    Fault("watches answered 410", f"for {TROUBLE_SECONDS:.0f} s", trouble(Trouble.GONE), Trouble.GONE),
    Fault("requests answered 429", f"for {TROUBLE_SECONDS:.0f} s", trouble(Trouble.THROTTLED), Trouble.THROTTLED),
    Fault("requests answered 500", f"for {TROUBLE_SECONDS:.0f} s", trouble(Trouble.BROKEN), Trouble.BROKEN),
    Fault("answers 10 s late", f"for {TROUBLE_SECONDS:.0f} s", trouble(Trouble.LATE), Trouble.LATE),
    Fault(
        "answers lost", f"executed, never answered, for {TROUBLE_SECONDS:.0f} s", trouble(Trouble.LOST), Trouble.LOST
    ),
    Fault("two operators", "the leader frozen until another leads", two_operators),
)
FAULTS = {fault.name: fault for fault in (*KILLS, *OTHERS)}
