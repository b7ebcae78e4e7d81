"""The hub as a user reaches it: through a port-forward of kubectl, with a token of one's own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx

from tests.e2e.user import User
from tools.deploy import SYSTEM_NAMESPACE, Deployment


@contextlib.contextmanager
def forwarded(deployment: Deployment) -> Iterator[str]:
    """Base URL of the hub's Service on this machine."""
    kubectl = str(deployment.cluster.programs["kubectl"])
    command = [kubectl, "port-forward", "-n", SYSTEM_NAMESPACE, "service/orkhaven-hub", ":80"]
    environment = {**os.environ, "KUBECONFIG": str(deployment.cluster.kubeconfig)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            assert run.stdout is not None
            line = run.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found, f"kubectl port-forward says: {line}{run.stdout.read() if run.poll() is not None else ''}"
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            run.terminate()


@contextlib.contextmanager
def reader_of(user: User) -> Iterator[httpx.Client]:
    """A client with the rights of somebody who may view the user's namespace, and no more."""
    user.kubectl("create", "serviceaccount", "reader")
    user.kubectl("create", "rolebinding", "reader", "--clusterrole=view", f"--serviceaccount={user.namespace}:reader")
    token = user.kubectl("create", "token", "reader").strip()
    with (
        forwarded(user.deployment) as url,
        httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30) as client,
    ):
        yield client


def read(client: httpx.Client, path: str, **query: Any) -> Any:
    """The JSON of a GET below /api/v1/namespaces."""
    answer = client.get(f"/api/v1/namespaces/{path}", params=query)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
    return answer.json()
