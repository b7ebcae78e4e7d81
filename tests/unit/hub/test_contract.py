"""What the OpenAPI document promises is what the hub answers, for requests that nobody would write by hand."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from schemathesis import checks

from orkhaven.hub.app import create_app
from orkhaven.hub.settings import HubSettings
from orkrun import contract
from tests.unit.hub.conftest import line
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

RUNS = ("run-0", "run-1")
OBJECTIVE = {"metric": "dice", "direction": "Maximize"}


@contextlib.asynccontextmanager
async def _cluster() -> AsyncIterator[FakeCluster]:
    cluster = FakeCluster()
    cluster.put("Sweep", "covid", spec={"objective": OBJECTIVE}, status={"state": "Running"})
    for number, name in enumerate(RUNS):
        cluster.add_run(name, sweep="covid", objective=OBJECTIVE, params={"lr": 10.0**-number, "model": {"n": name}})
    yield cluster


def _document() -> dict[str, Any]:
    """The hub's, with names that are there: random ones would all be answered 404."""
    document = create_app(HubSettings(), _cluster).openapi()
    known = {"namespace": [NAMESPACE], "sweep": ["covid", "none"], "experiment": [*RUNS, "none"]}
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                for schema in (parameter["schema"], *parameter["schema"].get("anyOf", [])):
                    if schema.get("type") == "string" and "enum" not in schema:
                        # Together below 64 KB, above which the server itself closes the door.
                        schema["maxLength"] = min(schema.get("maxLength", 200), 200)
                if parameter["in"] == "path" and parameter["name"] in known:
                    parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
    return dict(json.loads(json.dumps(document)))


@schemathesis.serializer("application/x-ndjson", "application/x-orkhaven-artifact")
def _as_lines(_context: object, value: object) -> bytes:
    return str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("contract")
    app = create_app(HubSettings(database_url=f"sqlite:///{folder}/hub.db", read_auth="none"), _cluster)  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the hub does not start"
        assert time.monotonic() < deadline, "the hub does not start"
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    for name in RUNS:
        answer = httpx.post(
            url + contract.metrics_path(NAMESPACE, name),
            content="".join(
                json.dumps(line(seq, dice=value)) + "\n" for seq, value in enumerate([0.1, "NaN", "Infinity"], 1)
            ),
            headers={"Authorization": f"Bearer token-{name}", "Content-Type": "application/x-ndjson"},
        )
        assert answer.status_code == 200, answer.text
    yield url
    server.should_exit = True
    thread.join(30)


@schemathesis.openapi.from_dict(_document()).parametrize()
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_answers_are_as_the_document_says(case: schemathesis.Case, base_url: str) -> None:
    case.call_and_validate(
        base_url=base_url,
        checks=[
            checks.not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_schema_conformance,
        ],
        headers={"Authorization": "Bearer token-run-0"},
    )
