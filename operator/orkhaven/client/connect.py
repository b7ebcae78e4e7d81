"""The way to the cluster: `kubectl proxy` where kubectl is, else the service account of the pod we are in.

kubectl knows every kind of credential, and its configuration stays its own business: nothing of it is read here. The
proxy listens on a Unix socket in a folder of the user's own, so that nobody else on the machine gets through it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orkhaven.client.child import Child, ChildFailed
from orkhaven.client.errors import NoCluster, NoKubectl
from orkhaven.client.http import httpx
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
    return _by_proxy(target)


def in_pod(env: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> bool:
    return bool(env.get("KUBERNETES_SERVICE_HOST")) and (account / "token").is_file()


def _by_proxy(target: Target) -> Kube:
    # Both at once: each takes about 50 ms.
    asked = _ask_namespace(target) if target.namespace is None else None
    # mkdtemp makes it for the user alone (0700). Short, as a socket's path has at most 104 bytes.
    folder = tempfile.mkdtemp(prefix="ork-", dir="/tmp" if os.path.isdir("/tmp") else None)
    socket = f"{folder}/api"
    proxy: Child | None = None
    try:
        command = target.kubectl("proxy", f"--unix-socket={socket}")
        proxy = Child.start(command, ready="Starting to serve on")
        namespace = target.namespace or _namespace(asked)
    except ChildFailed as error:
        _finish(asked, proxy, folder)
        raise NoCluster(f"kubectl proxy: {_short(str(error))}", hint=_CHOOSE) from error
    except BaseException:
        _finish(asked, proxy, folder)
        raise
    http = httpx.Client(
        # verify is about TLS, which a socket has none of: it only saves reading the certificates of the system.
        transport=httpx.HTTPTransport(uds=socket, verify=False, retries=1),
        base_url="http://localhost",
        trust_env=False,
    )
    running = proxy

    def close() -> None:
        _finish(None, running, folder)

    where = f"the cluster of context {target.context!r}" if target.context else "the cluster"
    return Kube(http, namespace=namespace, where=where, on_close=close)


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


def _finish(asked: subprocess.Popen[str] | None, proxy: Child | None, folder: str) -> None:
    if asked is not None and asked.poll() is None:
        asked.kill()
        asked.communicate()
    if proxy is not None:
        proxy.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _short(text: str) -> str:
    """kubectl's last words without its prefix."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "it says nothing"


class FileToken(httpx.Auth):
    """The token in a file, read for every request: the kubelet renews it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        request.headers["Authorization"] = f"Bearer {self._file.read_text().strip()}"
        yield request


def _from_pod(target: Target, *, env: Mapping[str, str], account: Path) -> Kube:
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    import ssl

    http = httpx.Client(
        base_url=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        verify=ssl.create_default_context(cafile=str(account / "ca.crt")),
        auth=FileToken(account / "token"),
        trust_env=False,
    )
    namespace = target.namespace or (account / "namespace").read_text().strip()
    return Kube(http, namespace=namespace, where="the cluster of this pod")
