"""The bare mode: a real single-node cluster as processes in namespaces of their own. Root on Debian or Ubuntu."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.cluster import node as node_module
from tests.cluster import programs
from tests.cluster.api import Api
from tests.cluster.controlplane import ControlPlane, Ports
from tests.cluster.debian import NODE_PACKAGES, apt_install
from tests.cluster.gpus import offer_gpus
from tests.cluster.namespaces import RUN, Namespaces, Subnets, choose_subnets, host_lock
from tests.cluster.namespaces import command as run_command
from tests.cluster.node import Node
from tests.cluster.processes import Processes
from tests.cluster.say import ClusterError, say, wait_for
from tests.cluster.settings import Mode, Settings, read_place, write_place

_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21


def possible() -> str | None:
    """None where this process may run a node, else the reason why not."""
    if os.geteuid() != 0:
        return "not root"
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    held = int(match[1], 16) if match else 0
    for bit, name in ((_CAP_NET_ADMIN, "CAP_NET_ADMIN"), (_CAP_SYS_ADMIN, "CAP_SYS_ADMIN")):
        if not held >> bit & 1:
            return f"root without {name} (a container without --privileged?)"
    return None


@dataclass(frozen=True)
class Bare:
    """A cluster with one real node."""

    settings: Settings

    @property
    def node_name(self) -> str:
        return f"{self.settings.name}-node"

    @cached_property
    def processes(self) -> Processes:
        return Processes(self.settings.state / "processes", self.settings.state / "logs")

    @property
    def kubeconfig(self) -> Path:
        return self.settings.state / "kubeconfig"

    @property
    def api(self) -> Api:
        return self._node(self._known_subnets(), {}).plane.api

    def _known_subnets(self) -> Subnets:
        octet = read_place(self.settings).get("octet")
        if octet is None:
            raise ClusterError(f"cluster {self.settings.name!r} is not there; bring it up first")
        return Subnets(octet)

    def _node(self, subnets: Subnets, found: dict[str, Path]) -> Node:
        namespaces = Namespaces(self.settings.name, subnets, self.settings.state)
        plane = ControlPlane(
            name=self.settings.name,
            state=self.settings.state,
            address=subnets.node,
            ports=Ports(),
            service_range=subnets.services,
            service_address=subnets.service_api,
            programs=found,
            tuned=self.settings.tuned,
            enter=namespaces.enter,
            apiserver_flags=self.settings.apiserver_flags,
            subjects=node_module.subjects(self.node_name, subnets),
        )
        return Node(name=self.node_name, plane=plane, namespaces=namespaces, subnets=subnets)

    def up(self) -> None:
        """Starts what does not run and waits until the node is ready, DNS answers and pods can be created."""
        reason = possible()
        if reason is not None:
            raise ClusterError(f"the bare mode can't run here: {reason}; try --mode control-plane")
        if missing := node_module.missing_tools():
            say(f"not installed here: {', '.join(missing)}")
            apt_install(NODE_PACKAGES)
        found = programs.ensure((*programs.CONTROL_PLANE, *programs.NODE))
        dead = self.processes.forget_dead()
        if dead:
            say(f"had ended and is started again: {', '.join(dead)}")
        with host_lock():
            octet = read_place(self.settings).get("octet")
            subnets = Subnets(octet) if octet is not None else choose_subnets()
            write_place(self.settings, Mode.BARE, octet=subnets.octet)
            node = self._node(subnets, found)
            node.namespaces.claim()
        node.namespaces.create()
        node.plane.prepare()
        node.plane.start_etcd_and_apiserver()
        node.start_containerd()
        node.wait_containerd()
        node.plane.wait_ready()
        since = time.time() if self.processes.pid("kubelet") is None else 0.0
        node.plane.start_controllers()
        node.start()
        self._wait_node(node, since=since)

    def _wait_node(self, node: Node, *, since: float) -> None:
        plane = node.plane

        def ready() -> bool:
            plane.processes.check()
            return _ready(plane.api.get(f"/api/v1/nodes/{self.node_name}"), since=since)

        hint = f"see {plane.processes.log('kubelet')}"
        wait_for(f"node {self.node_name} to be ready", ready, seconds=60, hint=hint)
        offer_gpus(plane.api, self.node_name, self.settings)
        wait_for("cluster DNS", node.dns_answers, seconds=30, hint=f"see {plane.processes.log('coredns')}")
        plane.wait_default_service_account()

    def restarted(self, process: str, *, since: float) -> None:
        """After a process was started again at `since`: returns when it serves; GPUs are offered again."""
        node = self._node(self._known_subnets(), {})
        if process in ("kube-apiserver", "etcd"):
            node.plane.wait_ready()
        if process == "kubelet":
            self._wait_node(node, since=since)

    def down(self) -> None:
        """Kills everything and removes every trace; works on what a crash has left too."""
        if os.geteuid() != 0 and self.settings.state.exists():
            raise ClusterError(f"cluster {self.settings.name!r} runs as root: take it down as root")
        for name in self.processes.names():
            self.processes.kill(name)
        octet = read_place(self.settings).get("octet")
        claim = RUN / self.settings.name / "subnets.json"
        if octet is None and claim.exists():
            octet = Namespaces.claimed(claim)
        if octet is not None:
            namespaces = self._node(Subnets(octet), {}).namespaces
            namespaces.kill_all()
            namespaces.destroy()
        shutil.rmtree(self.settings.state, ignore_errors=True)

    def load(self, archive: Path) -> list[str]:
        return self._node(self._known_subnets(), {}).load(archive)

    def images(self) -> list[tuple[str, str]]:
        return self._node(self._known_subnets(), {}).images()

    def on_node(self, *command: str) -> str:
        """Runs a command among the node's processes, which are this machine's; returns what it prints."""
        return run_command(*command)

    def inside(self, *command: str) -> str:
        """Runs a command in the node's namespaces; returns what it prints."""
        return run_command(*self._node(self._known_subnets(), {}).namespaces.enter, *command)


def _ready(node: dict[str, Any] | None, *, since: float) -> bool:
    """Whether the node is ready by a report that is not older than `since`, and takes pods."""
    if node is None or node["spec"].get("taints"):
        return False
    for condition in node["status"].get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            reported = datetime.strptime(condition["lastHeartbeatTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            # The time of a report has no fractions of a second.
            return reported.timestamp() >= int(since)
    return False
