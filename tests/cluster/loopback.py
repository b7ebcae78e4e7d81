"""The control-plane mode: no root and no node, only etcd, API server, controller-manager and scheduler on 127.0.0.1."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from tests.cluster import controlplane, programs
from tests.cluster.api import Api
from tests.cluster.controlplane import ControlPlane, Ports
from tests.cluster.processes import Processes
from tests.cluster.say import ClusterError, wait_for
from tests.cluster.settings import Mode, Settings, read_place, write_place


@dataclass(frozen=True)
class Loopback:
    """A cluster without a node; pods stay Pending unless KWOK plays the nodes."""

    settings: Settings
    node_name: str | None = None

    @cached_property
    def processes(self) -> Processes:
        return Processes(self.settings.state / "processes", self.settings.state / "logs")

    @property
    def kubeconfig(self) -> Path:
        return self.settings.state / "kubeconfig"

    @property
    def api(self) -> Api:
        return self._plane(Ports(**read_place(self.settings)["ports"]), {}).api

    def _plane(self, ports: Ports, found: dict[str, Path]) -> ControlPlane:
        return ControlPlane(
            name=self.settings.name,
            state=self.settings.state,
            address="127.0.0.1",
            ports=ports,
            service_range="10.199.0.0/24",
            service_address="10.199.0.1",
            programs=found,
            tuned=self.settings.tuned,
            apiserver_flags=self.settings.apiserver_flags,
        )

    def up(self) -> None:
        """Starts what does not run and waits until pods could be created."""
        found = programs.ensure(programs.CONTROL_PLANE)
        self.processes.forget_dead()
        stored = read_place(self.settings).get("ports")
        # Another program may have taken the ports of a cluster that was killed.
        ports = Ports(**stored) if stored else controlplane.free_ports()
        if not {"etcd", "kube-apiserver"} & set(self.processes.names()):
            try:
                controlplane.require_free(ports)
            except ClusterError:
                ports = controlplane.free_ports()
        write_place(self.settings, Mode.CONTROL_PLANE, ports=asdict(ports))
        plane = self._plane(ports, found)
        plane.prepare()
        plane.start_etcd_and_apiserver()
        plane.wait_ready()
        plane.start_controllers()
        plane.wait_default_service_account()

    def restarted(self, process: str, *, since: float) -> None:
        """After the API server was started again: returns when it is ready."""
        if process in ("kube-apiserver", "etcd"):
            api = self.api
            wait_for("the API server to be ready", api.ready, seconds=60)

    def down(self) -> None:
        """Stops everything and removes the cluster's folder."""
        # The clients first: no noise in the logs of what they talk to.
        for name in sorted(self.processes.names(), key=_stop_order):
            self.processes.stop(name)
        shutil.rmtree(self.settings.state, ignore_errors=True)

    def load(self, archive: Path) -> list[str]:
        raise ClusterError(
            f"{archive}: the control-plane mode has no node that could run an image; bare mode needs root"
        )

    def images(self) -> list[tuple[str, str]]:
        return []

    def on_node(self, *command: str) -> str:
        raise ClusterError(f"{command[0]}: the control-plane mode has no node to run it on; bare mode needs root")

    def inside(self, *command: str) -> str:
        return self.on_node(*command)


def _stop_order(name: str) -> int:
    return {"etcd": 3, "kube-apiserver": 2}.get(name, 1)
