"""`orkhaven hub`: the application under uvicorn."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import AsyncIterator

import uvicorn
from pydantic import ValidationError

from orkhaven.config import LogFormat, LogSettings, kubeconfig_path
from orkhaven.hub.app import create_app
from orkhaven.hub.ports import Gateway
from orkhaven.hub.settings import HubSettings
from orkhaven.kube import Gateway as KubeGateway
from orkhaven.kube import connect
from orkhaven.logs import configure

EX_CONFIG = 78
SHUTDOWN_SECONDS = 10
"""For requests under way at SIGTERM; a POST takes milliseconds."""

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def _connected() -> AsyncIterator[Gateway]:
    client = await connect(kubeconfig_path())
    try:
        yield KubeGateway(client)
    finally:
        await client.close()


def main() -> int:
    """Runs until SIGTERM. Returns the exit code: 0, 78 for a wrong setting, 3 where it could not start."""
    try:
        settings = HubSettings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"orkhaven: ORKHAVEN_HUB_{name}: {problem['msg']}", file=sys.stderr)
        return EX_CONFIG
    logs = LogSettings()
    configure(level=logs.log_level, as_json=logs.log_format is LogFormat.JSON)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, _connected),
            host=settings.host,
            port=settings.port,
            log_config=None,
            # Every POST would be a line; /metrics counts them.
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            server_header=False,
        )
    )
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
