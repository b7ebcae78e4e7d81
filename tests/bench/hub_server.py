"""What bench_ingest measures, each in a process of its own: `python -m tests.bench.hub_server hub|bare DATABASE
PORT_FILE`.

`hub` is the real application over a cluster in memory, its status writer included. `bare` is the least that could be
called an endpoint: the same framework, server and database, group commit, but no token, no checks, no summaries, no
idempotence.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import socket
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
from fastapi import FastAPI, Request
from pydantic_core import from_json
from starlette.responses import JSONResponse

from orkhaven.hub.app import create_app
from orkhaven.hub.server import GC_THRESHOLDS
from orkhaven.hub.settings import HubSettings
from orkrun import contract
from tests.bench.ingest_load import RUNS
from tests.unit.hub.fakes import FakeCluster

Row = tuple[Any, ...]


@contextlib.asynccontextmanager
async def _cluster() -> AsyncIterator[FakeCluster]:
    cluster = FakeCluster()
    for run in RUNS:
        cluster.add_run(run, objective={"metric": "m0", "direction": "Maximize"})
    yield cluster


def bare(url: str) -> FastAPI:
    app = FastAPI()
    waiting: queue.SimpleQueue[tuple[list[Row], asyncio.Future[None], asyncio.AbstractEventLoop]] = queue.SimpleQueue()

    def write() -> None:
        commit = into_sqlite(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else into_postgresql(url)
        while True:
            items = [waiting.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    items.append(waiting.get_nowait())
            commit([row for rows, _, _ in items for row in rows])
            items[0][2].call_soon_threadsafe(lambda done: [future.set_result(None) for _, future, _ in done], items)

    threading.Thread(target=write, daemon=True).start()

    @app.post(contract.metrics_path("{namespace}", "{experiment}"))
    async def post(request: Request, experiment: str) -> JSONResponse:
        rows = []
        lines = (await request.body()).splitlines()
        for raw in lines:
            line = from_json(raw)
            step, seq, time = line["step"], line["seq"], line["time"]
            rows += [(experiment, name, step, seq, time, value) for name, value in line["metrics"].items()]
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        waiting.put((rows, future, loop))
        await future
        return JSONResponse({"accepted": len(lines)})

    return app


def into_sqlite(path: str) -> Callable[[list[Row]], None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE points (run TEXT, metric TEXT, step INTEGER, seq INTEGER, time REAL, value REAL, "
        "PRIMARY KEY (run, metric, step, seq)) WITHOUT ROWID"
    )

    def commit(rows: list[Row]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")

    return commit


def into_postgresql(url: str) -> Callable[[list[Row]], None]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute(
        "CREATE TABLE points (run TEXT, metric TEXT, step BIGINT, seq INTEGER, time FLOAT8, value FLOAT8, "
        "PRIMARY KEY (run, metric, step, seq))"
    )

    def commit(rows: list[Row]) -> None:
        with connection.cursor() as cursor, cursor.copy("COPY points FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    return commit


def main() -> None:
    kind, database, port_file = sys.argv[1:]
    gc.set_threshold(*GC_THRESHOLDS)
    # The protocol is named: asyncio turns Nagle's delay off only for sockets that say TCP.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        app = bare(database) if kind == "bare" else create_app(HubSettings(database_url=database), _cluster)
        Path(port_file).with_suffix(".new").write_text(str(listener.getsockname()[1]))
        Path(port_file).with_suffix(".new").rename(port_file)
        uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
