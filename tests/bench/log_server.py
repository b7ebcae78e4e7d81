"""What bench_logs measures: `python -m tests.bench.log_server node PORT_FILE` is an API server with PODS pods that each
print RATE bytes a second; `... hub PORT_FILE DATABASE NODE_URL SETTINGS` is the hub over it, with the tokens of runs in
memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from aiohttp import web
from kubernetes.aio.client import Configuration

from orkhaven.hub.app import create_app
from orkhaven.hub.logs.stamps import SECOND
from orkhaven.hub.settings import HubSettings
from orkhaven.kube import Client, Gateway
from orkrun import contract
from tests.bench.ingest_load import RUNS
from tests.unit.hub.fakes import FakeCluster
from tests.unit.hub.pods import BEGIN, stamp

PODS = 50
RATE = 1_000_000
SECONDS = 20
"""Of log that a pod has."""


def text() -> bytes:
    """SECONDS of log: lines of about 120 bytes, as a training prints them. A second is made once, then dated."""
    line = b"epoch 12/200 batch %6d/9999 loss 0.%06d dice 0.%06d lr 1.00e-03 gpu 11.2 GiB 412 images/s\n"
    count = RATE // 125
    second = b"".join(
        b"@.%09dZ " % (number * (SECOND // count)) + line % (number, number * 7919 % 10**6, number * 104729 % 10**6)
        for number in range(count)
    )
    begin = stamp(BEGIN).partition(b".")[0]
    at = int(begin[-2:])
    return b"".join(second.replace(b"@", begin[:-2] + b"%02d" % (at + past)) for past in range(min(SECONDS, 60 - at)))


def pod(number: int) -> dict[str, Any]:
    labels = {contract.LABEL_ATTEMPT: "1", contract.LABEL_MANAGED_BY: contract.MANAGED_BY}
    job = {"kind": "Job", "apiVersion": "batch/v1", "name": f"log-{number}-1", "uid": f"j{number}", "controller": True}
    return {
        "metadata": {
            "namespace": "radiology",
            "name": f"log-{number}",
            "uid": f"p{number}",
            "resourceVersion": "1",
            "labels": labels,
            "ownerReferences": [job],
        },
        "spec": {"containers": [{"name": "trainer"}]},
        "status": {"containerStatuses": [{"name": "trainer", "state": {"running": {}}}]},
    }


def node(listener: socket.socket, said: bytes) -> None:
    async def pods(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"\n")  # with it the headers go
            await asyncio.sleep(3600)
            return response
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [pod(n) for n in range(PODS)]})

    async def job(request: web.Request) -> web.Response:
        number = request.match_info["name"].split("-")[1]
        owner = {
            "kind": "Experiment",
            "apiVersion": "orkhaven.io/v1alpha1",
            "name": f"log-{number}",
            "uid": f"x{number}",
            "controller": True,
        }
        return web.json_response({"metadata": {"uid": f"j{number}", "ownerReferences": [owner]}})

    async def log(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while sent < len(said):
            due = min(len(said), int((loop.time() - began) * RATE))
            await response.write(said[sent:due])
            sent = due
            await asyncio.sleep(0.1)
        await asyncio.sleep(3600)
        return response

    app = web.Application()
    app.router.add_get("/api/v1/pods", pods)
    app.router.add_get("/apis/batch/v1/namespaces/radiology/jobs/{name}", job)
    app.router.add_get("/api/v1/namespaces/radiology/pods/{name}/log", log)
    web.run_app(app, sock=listener, print=None)


class Mixed(FakeCluster):
    """Pods and their logs over HTTP, everything else in memory."""

    def __init__(self, real: Gateway) -> None:
        super().__init__()
        self._real = real
        self.pod_log = real.pod_log
        for run in RUNS:
            self.add_run(run, objective={"metric": "m0", "direction": "Maximize"})

    async def get(self, kind: str, namespace: str, name: str) -> Any:
        of_logs = kind == "Job" and name.startswith("log-")
        return await (self._real.get(kind, namespace, name) if of_logs else super().get(kind, namespace, name))

    def pages(self, kind: str, **about: Any) -> Any:
        return self._real.pages(kind, **about) if kind == "Pod" else super().pages(kind, **about)

    def watch(self, kind: str, **about: Any) -> Any:
        return self._real.watch(kind, **about) if kind == "Pod" else super().watch(kind, **about)


def hub(listener: socket.socket, database: str, url: str, settings: dict[str, Any]) -> None:
    @contextlib.asynccontextmanager
    async def cluster() -> AsyncIterator[Mixed]:
        client = Client(Configuration(host=url))
        yield Mixed(Gateway(client))
        await client.close()

    app = create_app(HubSettings(database_url=database, **settings), cluster)
    uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[listener])


def main() -> None:
    kind, port_file, *rest = sys.argv[1:]
    said = text() if kind == "node" else b""
    # The protocol is named: asyncio turns Nagle's delay off only for sockets that say TCP.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        Path(port_file).with_suffix(".new").write_text(str(listener.getsockname()[1]))
        Path(port_file).with_suffix(".new").rename(port_file)
        if kind == "node":
            node(listener, said)
        else:
            hub(listener, rest[0], rest[1], json.loads(rest[2]))


if __name__ == "__main__":
    main()
