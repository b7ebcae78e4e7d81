"""A hub in a process of its own, over a fake cluster in which the run `trial` exists: `python -m
tests.unit.hub.process URL PORT_FILE`.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn

from orkhaven.hub.app import create_app
from orkhaven.hub.settings import HubSettings
from tests.unit.hub.fakes import FakeCluster


@contextlib.asynccontextmanager
async def _gateway() -> AsyncIterator[FakeCluster]:
    cluster = FakeCluster()
    cluster.add_run("trial")
    # The same in each process: the hub is restarted, the Experiment is not.
    cluster.add_reader("reader")
    yield cluster


def main() -> None:
    database_url, port_file = sys.argv[1:]
    # The protocol is named: asyncio turns Nagle's delay off only for sockets that say TCP.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        Path(port_file).with_suffix(".new").write_text(str(listener.getsockname()[1]))
        Path(port_file).with_suffix(".new").rename(port_file)
        app = create_app(HubSettings(database_url=database_url), _gateway)
        uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
