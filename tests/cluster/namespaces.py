"""What keeps a node apart from its host: a network namespace with a veth pair, a mount namespace, control groups.

The mount namespace gives containerd and the kubelet folders of their own behind the paths that are fixed in their
code (/run/containerd, /var/lib/kubelet, /var/log/pods), so that several nodes live side by side. It also says which
processes are the node's, and takes every mount with it when it goes. Root only.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.say import ClusterError

RUN = Path("/run/orkhaven")
# One /16 of 10.0.0.0/8 per cluster; those that the host already routes are passed over.
_OCTETS = range(200, 250)
_BOUND = ("/run/containerd", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers")


def command(*argv: str | Path, check: bool = True) -> str:
    """Runs a short command and returns what it printed. Raises ClusterError with its errors."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"{' '.join(map(str, argv))} failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout


def _mounted(path: Path) -> bool:
    # os.path.ismount doesn't see a bind mount within one file system.
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in lines)


@contextmanager
def host_lock() -> Iterator[None]:
    """One tool at a time picks subnets and makes or removes what the clusters share."""
    RUN.mkdir(parents=True, exist_ok=True)
    with open(RUN / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class Subnets:
    """Addresses of one cluster, all in 10.<octet>.0.0/16."""

    octet: int

    @property
    def whole(self) -> str:
        return f"10.{self.octet}.0.0/16"

    @property
    def host(self) -> str:
        return f"10.{self.octet}.0.1"

    @property
    def node(self) -> str:
        return f"10.{self.octet}.0.2"

    @property
    def pods(self) -> str:
        return f"10.{self.octet}.1.0/24"

    @property
    def services(self) -> str:
        return f"10.{self.octet}.2.0/24"

    @property
    def service_api(self) -> str:
        return f"10.{self.octet}.2.1"


def choose_subnets() -> Subnets:
    """The first /16 that no address or route of the host touches. Call it under `host_lock`."""
    routes = json.loads(command("ip", "-json", "-4", "route", "show", "table", "all"))
    used = [ipaddress.ip_network(r["dst"], strict=False) for r in routes if r.get("dst", "default") != "default"]
    for octet in _OCTETS:
        subnets = Subnets(octet)
        claimed = any(f'"octet": {octet}' in p.read_text() for p in RUN.glob("*/subnets.json"))
        if not claimed and not any(ipaddress.ip_network(subnets.whole).overlaps(network) for network in used):
            return subnets
    raise ClusterError(f"no free 10.x.0.0/16 with x in {_OCTETS.start}..{_OCTETS.stop - 1}")


class Namespaces:
    """The namespaces and control groups of the node of one cluster."""

    def __init__(self, name: str, subnets: Subnets, state: Path) -> None:
        self.run = RUN / name
        self._netns = f"orkhaven-{name}"
        self._subnets = subnets
        self._state = state
        self._link = f"ork{subnets.octet}"
        self._mount = self.run / "ns" / "mnt"
        self.cgroup = f"/orkhaven-{name}"

    @property
    def enter(self) -> Sequence[str]:
        """Prefix of a command that is to run inside. Not `ip netns exec`: it remounts /sys, without control groups."""
        return ("nsenter", f"--net=/run/netns/{self._netns}", f"--mount={self._mount}", "--")

    def claim(self) -> None:
        """Takes the subnets for this cluster; call it under the `host_lock` that they were chosen under."""
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "subnets.json").write_text(json.dumps({"octet": self._subnets.octet}))

    @staticmethod
    def claimed(file: Path) -> int:
        """What `claim` has written."""
        return int(json.loads(file.read_text())["octet"])

    def create(self) -> None:
        """Makes what is missing; call `claim` first."""
        self._create_network()
        self._create_mounts()
        self._create_cgroups()

    def _create_network(self) -> None:
        netns, link, subnets = self._netns, self._link, self._subnets
        if not Path("/run/netns", netns).exists():
            command("ip", "netns", "add", netns)
        inside = ("ip", "-netns", netns)
        command(*inside, "link", "set", "lo", "up")
        if not Path("/sys/class/net", link).exists():
            command("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", netns)
            command(*inside, "address", "add", f"{subnets.node}/24", "dev", "eth0")
            command("ip", "address", "add", f"{subnets.host}/24", "dev", link)
        command(*inside, "link", "set", "eth0", "up")
        command("ip", "link", "set", link, "up")
        command(*inside, "route", "replace", "default", "via", subnets.host)
        for network in (subnets.pods, subnets.services):
            command("ip", "route", "replace", network, "via", subnets.node)
        command("nsenter", f"--net=/run/netns/{netns}", "--", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def _create_mounts(self) -> None:
        if _mounted(self._mount):
            return
        folder = self._mount.parent
        folder.mkdir(parents=True, exist_ok=True)
        if not _mounted(folder):
            # A mount namespace can be pinned only below a mount that propagates nowhere.
            command("mount", "--bind", folder, folder)
            command("mount", "--make-private", folder)
        self._mount.touch()
        with host_lock():
            made = RUN / ".made"
            for path in _BOUND:
                if not Path(path).exists():
                    Path(path).mkdir(parents=True)
                    with open(made, "a") as handle:
                        handle.write(path + "\n")
        script = ["set -e", "mount --make-rshared /", "mount -t tmpfs -o mode=755 orkhaven /run/netns"]
        for path in _BOUND:
            own = (self.run if path.startswith("/run/") else self._state) / path.strip("/").replace("/", "-")
            own.mkdir(parents=True, exist_ok=True)
            script.append(f"mount --bind '{own}' {path}")
        command("unshare", f"--mount={self._mount}", "--propagation", "slave", "sh", "-c", "\n".join(script))

    @property
    def containerd_run(self) -> Path:
        """As the host sees it; inside it is /run/containerd."""
        return self.run / "run-containerd"

    # Control groups

    def _hierarchies(self) -> list[tuple[Path, bool]]:
        """Where control groups are mounted, and whether that is version 2."""
        found = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            kind = rest.split()[0]
            if kind in ("cgroup", "cgroup2"):
                found.append((Path(fields.split()[4]), kind == "cgroup2"))
        return found

    def _create_cgroups(self) -> None:
        for root, unified in self._hierarchies():
            if unified:
                controllers = (root / "cgroup.controllers").read_text().split()
                for controller in controllers:
                    try:
                        (root / "cgroup.subtree_control").write_text(f"+{controller}")
                    except OSError as error:
                        raise ClusterError(
                            f"the control group {root} can't hand {controller} on ({error.strerror}): in a container "
                            "start it with --cgroupns=host, or use --mode control-plane"
                        ) from error
            group = root / self.cgroup.strip("/")
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                # Version 1 leaves them empty, and then no process may enter.
                if not unified and (group / setting).exists() and not (group / setting).read_text().strip():
                    (group / setting).write_text((root / setting).read_text())

    def _cgroup_folders(self) -> list[Path]:
        """All control groups of the node, the innermost first."""
        folders = []
        for root, _ in self._hierarchies():
            folders += [Path(folder) for folder, _, _ in os.walk(root / self.cgroup.strip("/"), topdown=False)]
        return folders

    # The end

    def kill_all(self) -> None:
        """SIGKILL to every process in the node's control groups and in its mount namespace, until there is none."""
        deadline = time.monotonic() + 20
        while True:
            left = self._container_processes() | self._own_processes()
            if not left:
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"processes that do not end even by SIGKILL: {sorted(left)}")
            for pid in left:
                self._kill(pid)
            time.sleep(0.02)

    def _container_processes(self) -> set[int]:
        found: set[int] = set()
        for folder in self._cgroup_folders():
            with contextlib.suppress(OSError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return found

    def _own_processes(self) -> set[int]:
        return {int(p) for p in os.listdir("/proc") if p.isdigit() and self._is_inside(int(p))}

    def _is_inside(self, pid: int) -> bool:
        try:
            return os.path.samestat(os.stat(f"/proc/{pid}/ns/mnt"), os.stat(self._mount))
        except OSError:
            return False

    def _kill(self, pid: int) -> None:
        # The handle is taken before the check, so that the number can't pass to a stranger in between.
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return
        try:
            if self._is_inside(pid) or self.cgroup + "/" in Path(f"/proc/{pid}/cgroup").read_text():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(handle)

    def destroy(self) -> None:
        """Removes everything; call it after `kill_all`."""
        if _mounted(self._mount):
            command("umount", self._mount)
        while _mounted(self._mount.parent):
            command("umount", self._mount.parent)
        if Path("/sys/class/net", self._link).exists():
            command("ip", "link", "delete", self._link)
        if Path("/run/netns", self._netns).exists():
            command("ip", "netns", "delete", self._netns)
        self._remove_cgroups()
        shutil.rmtree(self.run, ignore_errors=True)
        with host_lock():
            made = RUN / ".made"
            if made.exists() and not any(path.is_dir() for path in RUN.iterdir()):
                for path in made.read_text().split():
                    with contextlib.suppress(OSError):
                        Path(path).rmdir()
                made.unlink()

    def _remove_cgroups(self) -> None:
        # The kernel lets go of a group a moment after its last process.
        deadline = time.monotonic() + 10
        while folders := self._cgroup_folders():
            for folder in folders:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if time.monotonic() > deadline:
                raise ClusterError(f"control groups that can't be removed: {', '.join(map(str, folders[:3]))}")
            time.sleep(0.02)
