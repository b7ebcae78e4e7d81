"""etcd, kube-apiserver, controller-manager and scheduler as processes: the part that both process modes share.

Owns their flags and certificates; knows nothing of nodes. Works without root where the address is loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.cluster.api import Api
from tests.cluster.pki import Pki, Subject
from tests.cluster.processes import Processes
from tests.cluster.say import ClusterError, wait_for

ISSUER = "https://kubernetes.default.svc.cluster.local"
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

# With their defaults of 20 requests a second the controller-manager and the scheduler, not the operator, decide how
# fast Jobs run. `tuned` lifts that, so that tests wait for what is tested.
_TUNED = ("--kube-api-qps=500", "--kube-api-burst=1000")


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of the control plane. The fixed ones serve where the cluster has a network namespace of its own."""

    api: int = 6443
    etcd: int = 2379
    etcd_peer: int = 2380


@dataclass(frozen=True)
class ControlPlane:
    """Everything that decides how the control plane is started. `state` is the cluster's folder."""

    name: str
    state: Path
    address: str
    ports: Ports
    service_range: str
    # The first address of the range: that of the service `kubernetes`.
    service_address: str
    programs: Mapping[str, Path]
    tuned: bool
    pod_range: str = ""
    enter: Sequence[str] = ()
    apiserver_flags: Sequence[str] = ()
    subjects: Mapping[str, Subject] = field(default_factory=dict)

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.ports.api}"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @cached_property
    def pki(self) -> Pki:
        return Pki(self.state / "pki")

    @cached_property
    def processes(self) -> Processes:
        return Processes(self.state / "processes", self.state / "logs")

    @cached_property
    def api(self) -> Api:
        return Api(self.server, ca=self.pki.ca, certificate=self.pki.certificate("admin"), key=self.pki.key("admin"))

    def prepare(self) -> None:
        """Certificates and kubeconfigs. What is there is kept; kubeconfigs are written anew, ports may have changed."""
        self.pki.create(
            {
                "apiserver": Subject(
                    "kube-apiserver",
                    names=(
                        "kubernetes",
                        "kubernetes.default",
                        "kubernetes.default.svc",
                        "localhost",
                        "kubernetes.default.svc.cluster.local",
                    ),
                    addresses=tuple(sorted({"127.0.0.1", self.address, self.service_address})),
                ),
                "apiserver-to-kubelet": Subject("kube-apiserver-kubelet-client", "system:masters"),
                "admin": Subject("orkhaven-admin", "system:masters"),
                # With an account per controller it would end for good where the API server comes back from a restart
                # before its roles are loaded ("serviceaccounts is forbidden"); nothing here would start it again.
                "kube-controller-manager": Subject("system:kube-controller-manager", "system:masters"),
                "kube-scheduler": Subject("system:kube-scheduler"),
                **self.subjects,
            }
        )
        self.kubeconfig("admin", self.admin_kubeconfig)
        for subject in ("kube-controller-manager", "kube-scheduler"):
            self.kubeconfig(subject)

    def kubeconfig(self, subject: str, path: Path | None = None) -> Path:
        """Writes the kubeconfig of a subject; by default to `<state>/kubeconfigs/<subject>`."""
        path = path or self.state / "kubeconfigs" / subject
        return self.pki.kubeconfig(path, server=self.server, subject=subject, context=f"orkhaven-{self.name}")

    def start_etcd_and_apiserver(self) -> None:
        """Starts both; the API server tries until etcd answers, so nothing is waited for here."""
        peer = f"http://127.0.0.1:{self.ports.etcd_peer}"
        client = f"http://127.0.0.1:{self.ports.etcd}"
        self._start(
            "etcd",
            f"--data-dir={self.state / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # Durable across kill -9 of the process, not across a loss of power: these clusters are thrown away.
            "--unsafe-no-fsync",
            "--snapshot-count=100000",
            "--quota-backend-bytes=4294967296",
            "--log-level=warn",
        )
        loopback = self.address.startswith("127.")
        self._start(
            "kube-apiserver",
            f"--etcd-servers={client}",
            f"--bind-address={self.address if loopback else '0.0.0.0'}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.ports.api}",
            # Loopback is refused as an endpoint of the service `kubernetes`; without a node nobody asks for it.
            *(["--endpoint-reconciler-type=none"] if loopback else []),
            f"--service-cluster-ip-range={self.service_range}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={self.pki.ca}",
            f"--tls-cert-file={self.pki.certificate('apiserver')}",
            f"--tls-private-key-file={self.pki.key('apiserver')}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self.pki.key('service-accounts')}",
            f"--service-account-signing-key-file={self.pki.key('service-accounts')}",
            f"--kubelet-certificate-authority={self.pki.ca}",
            f"--kubelet-client-certificate={self.pki.certificate('apiserver-to-kubelet')}",
            f"--kubelet-client-key={self.pki.key('apiserver-to-kubelet')}",
            # Else `kubectl logs` looks the node's name up in DNS.
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
            *self.apiserver_flags,
        )

    def wait_ready(self) -> None:
        """Returns once the API server is ready. Raises ClusterError with a log's end where a process has ended."""

        def ready() -> bool:
            self.processes.check()
            return self.api.ready()

        wait_for("the API server to be ready", ready, seconds=90, hint=f"see {self.processes.log('kube-apiserver')}")

    def start_controllers(self) -> None:
        """Starts controller-manager and scheduler; the first gives up where the API server takes over 10 s."""
        tuned = _TUNED if self.tuned else ()
        manager = self.state / "kubeconfigs" / "kube-controller-manager"
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={manager}",
            f"--authentication-kubeconfig={manager}",
            f"--authorization-kubeconfig={manager}",
            f"--service-account-private-key-file={self.pki.key('service-accounts')}",
            f"--root-ca-file={self.pki.ca}",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
            *tuned,
            *(["--concurrent-job-syncs=50", "--concurrent-gc-syncs=50"] if self.tuned else []),
        )
        scheduler = self.state / "kubeconfigs" / "kube-scheduler"
        self._start(
            "kube-scheduler",
            f"--kubeconfig={scheduler}",
            f"--authentication-kubeconfig={scheduler}",
            f"--authorization-kubeconfig={scheduler}",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
            *tuned,
        )

    def wait_default_service_account(self) -> None:
        """Returns once pods can be created in the namespace `default`."""

        def there() -> bool:
            self.processes.check()
            return self.api.get("/api/v1/namespaces/default/serviceaccounts/default") is not None

        wait_for("the default service account", there, seconds=60)

    def _start(self, name: str, *flags: str) -> None:
        self.processes.start(name, [self.programs[name], *flags], enter=self.enter)


def free_ports() -> Ports:
    """Three ports of the loopback address that nobody listens on right now."""
    sockets = [socket.socket() for _ in range(3)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return Ports(*(int(one.getsockname()[1]) for one in sockets))
    finally:
        for one in sockets:
            one.close()


def require_free(ports: Ports) -> None:
    """Raises ClusterError where another program listens on one of the ports."""
    for port in (ports.api, ports.etcd, ports.etcd_peer):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise ClusterError(f"port {port} of 127.0.0.1 is taken by another program")
