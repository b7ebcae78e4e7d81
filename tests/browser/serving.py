"""The hub over a fake cluster, served by uvicorn on a port of its own in a thread of this process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from orkhaven.hub.app import create_app
from orkhaven.hub.context import Clocks
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.storage.store import Store, open_store
from tests.unit.hub.fakes import FakeCluster


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    cluster: FakeCluster
    store: Store
    loop: asyncio.AbstractEventLoop

    def do(self, change: Callable[[], object]) -> None:
        """In the hub's own thread: the fake cluster wakes its watches there."""
        done = threading.Event()

        def run() -> None:
            try:
                change()
            finally:
                done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(60)


@contextlib.contextmanager
def serving(cluster: FakeCluster, folder: Path, clocks: Clocks | None = None, **settings: object) -> Iterator[Served]:
    """Until the block ends. Raises TimeoutError where it does not come up."""
    database = f"sqlite:///{folder}/hub.db"
    store = open_store(database, max_metrics_per_run=1000)

    @contextlib.asynccontextmanager
    async def gateway() -> AsyncIterator[FakeCluster]:
        yield cluster

    made = HubSettings.model_validate({"database_url": database, "flush_seconds": 0.05, **settings})
    app = create_app(made, gateway, open_the_store=lambda: store, clocks=clocks)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    # run() cancels what is still under way at the end, and waits for it.
    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        if time.monotonic() > deadline or not thread.is_alive():
            raise TimeoutError("the hub did not start")
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", cluster, store, loops[0])
    finally:
        loops[0].call_soon_threadsafe(app.state.pages.stopping.set)
        server.should_exit = True
        thread.join(20)
