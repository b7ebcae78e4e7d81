"""The way to the cluster: `kubectl proxy` where kubectl is, else the service account of the pod we are in.

kubectl knows every kind of credential, and its configuration stays its own business: nothing of it is read here. The
proxy listens on a Unix socket in a folder of the user's own, so that nobody else on the machine gets through it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orkhaven.client.child import Child, ChildFailed
from orkhaven.client.errors import NoCluster, NoKubectl

if TYPE_CHECKING:
    from orkhaven.client.kube import Kube

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which cluster, as whom, which namespace: what kubectl's own options say."""

    context: str | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
    impersonate: str | None = None
    """`kubectl --as`."""

    def kubectl(self, *arguments: str) -> list[str]:
        """A command line of kubectl with these options. Raises NoKubectl."""
        program = shutil.which("kubectl")
        if program is None:
            raise NoKubectl(
                "kubectl is not on PATH, and this is no pod with a service account",
                hint="install kubectl: https://kubernetes.io/docs/tasks/tools/",
            )
        options = [
            f"--{name}={value}"
            for name, value in (("context", self.context), ("kubeconfig", self.kubeconfig), ("as", self.impersonate))
            if value
        ]
        return [program, *arguments, *options]


def connect(target: Target, *, env: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> Kube:
    """Raises NoKubectl, NoCluster."""
    if shutil.which("kubectl") is None and in_pod(env, account):
        return _from_pod(target, env=env, account=account)
    return Opening(target).kube()


def in_pod(env: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> bool:
    return bool(env.get("KUBERNETES_SERVICE_HOST")) and (account / "token").is_file()


class Opening:
    """`kubectl proxy` while it starts: it takes about as long as Python takes to load what will use it."""

    def __init__(self, target: Target) -> None:
        """Raises NoKubectl."""
        self._target = target
        command = target.kubectl("proxy")
        # mkdtemp makes it for the user alone (0700). Short, as a socket's path has at most 104 bytes.
        self._folder = tempfile.mkdtemp(prefix="ork-", dir="/tmp" if os.path.isdir("/tmp") else None)
        self._socket = f"{self._folder}/api"
        # Both at once: each takes about 50 ms.
        self._asked = _ask_namespace(target) if target.namespace is None else None
        self._proxy: Child | None = None
        self._failed: BaseException | None = None
        command = [*command[:2], f"--unix-socket={self._socket}", *command[2:]]
        self._thread = threading.Thread(target=self._start, args=(command,), daemon=True)
        self._thread.start()

    def _start(self, command: list[str]) -> None:
        try:
            self._proxy = Child.start(command, ready="Starting to serve on")
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._failed = error

    def kube(self) -> Kube:
        """Once it serves. Raises NoCluster."""
        from orkhaven.client.kube import Kube
        from orkhaven.client.wire import SocketConnection, Wire

        try:
            self._thread.join()
            if self._failed is not None:
                raise self._failed
            namespace = self._target.namespace or _namespace(self._asked)
        except ChildFailed as error:
            self.close()
            raise NoCluster(f"kubectl proxy: {_short(str(error))}", hint=_CHOOSE) from error
        except BaseException:
            self.close()
            raise
        wire = Wire(lambda timeout: SocketConnection(self._socket, timeout))
        context = self._target.context
        where = f"the cluster of context {context!r}" if context else "the cluster"
        return Kube(wire, namespace=namespace, where=where, on_close=self.close)

    def close(self) -> None:
        """Safe to repeat, and where nothing was ever asked."""
        self._thread.join()
        if self._asked is not None and self._asked.poll() is None:
            self._asked.kill()
            self._asked.communicate()
        if self._proxy is not None:
            self._proxy.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


_CHOOSE = "kubectl config get-contexts lists the clusters that kubectl knows; --context and --kubeconfig choose one"


def context_namespace(target: Target, *, env: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> str:
    """The namespace that a command is about, without a way to the cluster. Raises NoKubectl, NoCluster."""
    if target.namespace is not None:
        return target.namespace
    if shutil.which("kubectl") is None and in_pod(env, account):
        return (account / "namespace").read_text().strip()
    return _namespace(_ask_namespace(target))


def _ask_namespace(target: Target) -> subprocess.Popen[str]:
    return subprocess.Popen(
        target.kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _namespace(asked: subprocess.Popen[str] | None) -> str:
    """The context's namespace. Raises NoCluster where no cluster is configured."""
    assert asked is not None
    output, errors = asked.communicate(timeout=30)
    if asked.returncode:
        if in_pod():
            # kubectl in a pod finds its own way; the namespace is the pod's.
            return (SERVICE_ACCOUNT / "namespace").read_text().strip()
        raise NoCluster(f"kubectl knows no cluster: {_short(errors)}", hint=_CHOOSE)
    return output.strip() or "default"


def _short(text: str) -> str:
    """kubectl's last words without its prefix."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "it says nothing"


def _from_pod(target: Target, *, env: Mapping[str, str], account: Path) -> Kube:
    import http.client
    import ssl

    from orkhaven.client.kube import Kube
    from orkhaven.client.wire import Wire

    host, port = env["KUBERNETES_SERVICE_HOST"], int(env.get("KUBERNETES_SERVICE_PORT", "443"))
    context = ssl.create_default_context(cafile=str(account / "ca.crt"))
    wire = Wire(
        lambda timeout: http.client.HTTPSConnection(host, port, timeout=timeout, context=context),
        # Read for every request: the kubelet renews it.
        headers=lambda: {"Authorization": f"Bearer {(account / 'token').read_text().strip()}"},
    )
    namespace = target.namespace or (account / "namespace").read_text().strip()
    return Kube(wire, namespace=namespace, where="the cluster of this pod")
