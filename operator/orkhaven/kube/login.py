"""Where the API server is and as whom one logs in: a kubeconfig, or the pod's service account."""

from __future__ import annotations

import os
from typing import Any

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

from orkhaven.kube.client import Client, OnCall


async def connect(
    kubeconfig: str | None = None, *, on_call: OnCall | None = None, seconds: float = 30.0, pool: int = 32
) -> Client:
    """Credentials from `kubeconfig`, else the pod's service account, else ~/.kube/config.

    A rotated service-account token is read again every minute, and at once when the server answers 401. `seconds` is
    the longest that a request may take where it does not say so itself.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = pool
    if kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        load_incluster_config(client_configuration=configuration)
        return Client(configuration, reload=_load_incluster, on_call=on_call, seconds=seconds)

    async def load(target: Configuration) -> None:
        await load_kube_config(config_file=kubeconfig, client_configuration=target, persist_config=False)

    await load(configuration)
    return Client(configuration, reload=load, on_call=on_call, seconds=seconds)


async def credentials(kubeconfig: str | None = None) -> dict[str, Any]:
    """Where and as whom `connect` would log in now, in the words of kopf.ConnectionInfo."""
    client = await connect(kubeconfig)
    try:
        found = client.configuration
        token = await found.get_api_key_with_prefix("BearerToken")
        return {
            "server": found.host,
            "ca_path": found.ssl_ca_cert,
            "insecure": not found.verify_ssl,
            "certificate_path": found.cert_file,
            "private_key_path": found.key_file,
            "scheme": "Bearer" if token else None,
            "token": token.split(" ", 1)[-1] if token else None,
        }
    finally:
        await client.close()


def _load_incluster(configuration: Configuration) -> None:
    load_incluster_config(client_configuration=configuration)
