"""`orkhaven hub`: the application under uvicorn."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator
from types import FrameType

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from orkhaven.config import LogFormat, LogSettings, kubeconfig_path
from orkhaven.hub.app import create_app, store_of
from orkhaven.hub.ports import Gateway
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.storage.engine import StoreError
from orkhaven.kube import Gateway as KubeGateway
from orkhaven.kube import connect
from orkhaven.logs import configure

EX_CONFIG = 78
NOT_STARTED = 3
SHUTDOWN_SECONDS = 10
"""For requests under way at SIGTERM; a POST takes milliseconds."""

GC_THRESHOLDS = (20_000, 20, 50)
"""Python's own (700, 10, 10) walk through all that is cached dozens of times while one large table is read: 1.36 CPU
seconds, 0.48 without any collector (measured once). Nothing large here is in cycles.
"""

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def _connected() -> AsyncIterator[Gateway]:
    client = await connect(kubeconfig_path())
    try:
        yield KubeGateway(client)
    finally:
        await client.close()


class _Server(uvicorn.Server):
    """Ends streams of events at once: uvicorn waits for answers under way, and theirs have no end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # In the main thread, between two steps of the event loop, which looks around ten times a second.
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.pages.stopping.set()
        super().handle_exit(sig, frame)


def main() -> int:
    """Runs until SIGTERM. Returns the exit code: 0, 78 for a wrong setting, 3 where it could not start."""
    try:
        settings = HubSettings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"orkhaven: ORKHAVEN_HUB_{name}: {problem['msg']}", file=sys.stderr)
        return EX_CONFIG
    gc.set_threshold(*GC_THRESHOLDS)
    logs = LogSettings()
    configure(level=logs.log_level, as_json=logs.log_format is LogFormat.JSON)
    try:
        # Here, and not when the application starts: what is wrong with it is a sentence for people, not a traceback.
        store = store_of(settings)
    except StoreError as error:
        log.error("the hub cannot start: %s", error)
        return NOT_STARTED
    app = create_app(settings, _connected, open_the_store=lambda: store)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            # Every POST would be a line; /metrics counts them.
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            server_header=False,
        )
    )
    # uvicorn ends in order at SIGTERM, then raises it again for whoever handled it before: to us that is a good end.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    server.run()
    return 0 if server.started else NOT_STARTED


if __name__ == "__main__":
    sys.exit(main())
