"""The node of the bare mode: containerd, kubelet, kube-proxy and cluster DNS as processes in the node's namespaces.

Owns their configuration files. Root only.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.archive import TESTBOX_IMAGE, images_in, write_image
from tests.cluster.controlplane import ControlPlane
from tests.cluster.namespaces import Namespaces, Subnets, command
from tests.cluster.pki import Subject
from tests.cluster.say import ClusterError, wait_for

NAMES = ("containerd", "kubelet", "kube-proxy", "coredns")
_SOCKET = "/run/containerd/containerd.sock"
_CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")


def subjects(node_name: str, subnets: Subnets) -> dict[str, Subject]:
    """Who on the node needs a certificate."""
    return {
        "kubelet": Subject(f"system:node:{node_name}", "system:nodes"),
        "kubelet-server": Subject(f"system:node:{node_name}", names=(node_name,), addresses=(subnets.node,)),
        "kube-proxy": Subject("system:kube-proxy"),
        "coredns": Subject("system:coredns"),
    }


@dataclass(frozen=True)
class Node:
    """One node of one cluster."""

    name: str
    plane: ControlPlane
    namespaces: Namespaces
    subnets: Subnets

    @property
    def _state(self) -> Path:
        return self.plane.state

    def start_containerd(self) -> None:
        """Starts containerd; `wait_containerd` says when it answers."""
        self.plane.processes.start(
            "containerd",
            [_tool("containerd"), "--config", self._write_containerd_config()],
            enter=self.namespaces.enter,
        )

    def wait_containerd(self) -> None:
        """Returns when containerd answers and the pause image is there: the kubelet exits where it does not answer."""

        def answers() -> bool:
            self.plane.processes.check()
            return self._ctr("version", check=False).returncode == 0

        wait_for("containerd", answers, seconds=30, hint=f"see {self.plane.processes.log('containerd')}")
        archive = self._state / "testbox.tar"
        if not archive.exists():
            content = self.plane.programs["testbox"].read_bytes()
            write_image(archive, name=TESTBOX_IMAGE, files={"testbox": content}, entrypoint=["/testbox"])
        self.load(archive)

    def start(self) -> None:
        """Starts kubelet, kube-proxy and coredns; the API server has to be ready and containerd to answer."""
        for subject in ("kubelet", "kube-proxy", "coredns"):
            self.plane.kubeconfig(subject)
        self._grant_dns()
        self._start_kubelet()
        self._start_proxy()
        self._start_dns()

    # containerd

    def _write_containerd_config(self) -> Path:
        root = self._state / "containerd"
        cni = self._state / "cni"
        cni.mkdir(parents=True, exist_ok=True)
        # Point-to-point links instead of a bridge: all traffic is routed, so services work between pods of this node
        # even where the kernel lacks br_netfilter.
        plugins = [
            {
                "type": "ptp",
                "ipMasq": False,
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": self.subnets.pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(self.namespaces.run / "ipam"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]
        document = {"cniVersion": "0.4.0", "name": "orkhaven", "plugins": plugins}
        (cni / "10-orkhaven.conflist").write_text(json.dumps(document, indent=1))
        target = self._state / "containerd.toml"
        target.write_text(
            f"""version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE the pause container dies of lowering its out-of-memory score.
  restrict_oom_score_adj = true
  sandbox_image = "{TESTBOX_IMAGE}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_cni_folder()}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{_snapshotter(self._state)}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        # Not crun: it refuses the hybrid layout of control groups.
        BinaryName = "{_tool("runc")}"
        SystemdCgroup = false
"""
        )
        return target

    def _ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        address = self.namespaces.containerd_run / "containerd.sock"
        done = subprocess.run(
            [_tool("ctr"), "--address", str(address), "--namespace", "k8s.io", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"ctr {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done

    def load(self, archive: Path) -> list[str]:
        """Imports an image archive; returns the names of its images that the node did not have in this version."""
        known = {(row[0], row[1]) for row in self.images()}
        new = [image.name for image in images_in(archive) if (image.name, image.config) not in known]
        if new:
            self._ctr("images", "import", "--snapshotter", _snapshotter(self._state), str(archive))
        return new

    def images(self) -> list[tuple[str, str]]:
        """Name and configuration digest of every image on the node, sorted."""
        rows = []
        for line in self._ctr("images", "list", check=False).stdout.splitlines()[1:]:
            name, _, digest = line.split()[:3]
            if not name.startswith("sha256:") and "@" not in name:
                rows.append((name, self._config_of(digest)))
        return sorted(rows)

    def _config_of(self, digest: str) -> str:
        try:
            manifest = json.loads(self._ctr("content", "get", digest).stdout)
            if "manifests" in manifest:
                manifest = json.loads(self._ctr("content", "get", manifest["manifests"][0]["digest"]).stdout)
            return str(manifest["config"]["digest"])
        except (ClusterError, KeyError, IndexError, ValueError):
            return digest

    # kubelet

    def _start_kubelet(self) -> None:
        pki = self.plane.pki
        document: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki.ca)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki.certificate("kubelet-server")),
            "tlsPrivateKeyFile": str(pki.key("kubelet-server")),
            "containerRuntimeEndpoint": f"unix://{_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.namespaces.cgroup,
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDomain": "cluster.local",
            "clusterDNS": [self.subnets.node],
            # Pods don't inherit the host's resolver: they have no way out.
            "resolvConf": "",
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            "maxPods": 200,
            "serializeImagePulls": False,
            "volumePluginDir": str(self._state / "volume-plugins"),
            "eventRecordQPS": 0,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
        }
        config = self._state / "kubelet.json"
        config.write_text(json.dumps(document, indent=1))
        self.plane.processes.start(
            "kubelet",
            [
                self.plane.programs["kubelet"],
                f"--config={config}",
                f"--kubeconfig={self._state / 'kubeconfigs' / 'kubelet'}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.subnets.node}",
            ],
            enter=self.namespaces.enter,
        )

    # Services and names

    def _start_proxy(self) -> None:
        self.plane.processes.start(
            "kube-proxy",
            [
                self.plane.programs["kube-proxy"],
                f"--kubeconfig={self._state / 'kubeconfigs' / 'kube-proxy'}",
                f"--hostname-override={self.name}",
                f"--cluster-cidr={self.subnets.pods}",
                "--proxy-mode=iptables",
                # The sysctls of connection tracking are read-only in places.
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0s",
                "--conntrack-tcp-timeout-close-wait=0s",
                "--iptables-min-sync-period=100ms",
            ],
            enter=self.namespaces.enter,
        )

    def _grant_dns(self) -> None:
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        rules = [
            {
                "apiGroups": [""],
                "resources": ["endpoints", "services", "pods", "namespaces"],
                "verbs": ["list", "watch"],
            },
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ]
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": rules}
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}],
        }
        metadata = {"metadata": {"name": "system:coredns"}}
        self.plane.api.create(f"{rbac}/clusterroles", role | metadata)
        self.plane.api.create(f"{rbac}/clusterrolebindings", binding | metadata)

    def _start_dns(self) -> None:
        corefile = self._state / "Corefile"
        corefile.write_text(
            f"""cluster.local:53 in-addr.arpa:53 {{
  bind {self.subnets.node}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {self._state / "kubeconfigs" / "coredns"}
    pods insecure
    ttl 1
  }}
}}
.:53 {{
  bind {self.subnets.node}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""
        )
        self.plane.processes.start(
            "coredns", [self.plane.programs["coredns"], "-conf", corefile], enter=self.namespaces.enter
        )

    def dns_answers(self) -> bool:
        """Whether cluster DNS knows the service `kubernetes`."""
        name = b"".join(bytes([len(p)]) + p for p in b"kubernetes.default.svc.cluster.local".split(b"."))
        question = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + name + b"\0" + struct.pack(">2H", 1, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.3)
            try:
                probe.sendto(question, (self.subnets.node, 53))
                answer = probe.recv(512)
            except OSError:
                return False
        return answer.endswith(socket.inet_aton(self.subnets.service_api))

    def interfaces(self) -> str:
        """Addresses inside the node's network namespace, for a person who looks for a fault."""
        return command(*self.namespaces.enter, "ip", "-brief", "address")


def missing_tools() -> list[str]:
    """What the host lacks to run a node, by name of the command; empty on any distribution that has it all."""
    wanted = ("containerd", "ctr", "runc", "iptables", "ip", "conntrack", "socat", "openssl", "nsenter", "unshare")
    plugins = [] if any(_has_plugins(folder) for folder in _CNI_FOLDERS) else ["CNI plugins"]
    return [name for name in wanted if _which(name) is None] + plugins


def _which(name: str) -> str | None:
    # /usr/sbin is not on every user's PATH.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def _has_plugins(folder: str) -> bool:
    return all(Path(folder, plugin).exists() for plugin in ("ptp", "host-local", "portmap"))


def _tool(name: str) -> str:
    found = _which(name)
    if found is None:
        raise ClusterError(f"{name} is not installed")
    return found


def _cni_folder() -> str:
    for folder in _CNI_FOLDERS:
        if _has_plugins(folder):
            return folder
    raise ClusterError(f"the CNI plugins ptp, host-local and portmap are in none of {', '.join(_CNI_FOLDERS)}")


def _snapshotter(folder: Path) -> str:
    # overlayfs can't have its upper folder on overlayfs, which is what a container's own root is.
    kind = command("stat", "--file-system", "--format=%T", folder).strip()
    return "native" if kind == "overlayfs" else "overlayfs"
