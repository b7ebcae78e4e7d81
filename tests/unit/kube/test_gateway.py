"""What the gateway sends, and what it makes of answers. Semantics of the real server: tests/integration."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from kubernetes.aio.client import Configuration

from orkhaven.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    LeaseLost,
    NotFound,
    Unavailable,
)
from orkhaven.kube.client import Client
from orkhaven.kube.gateway import Gateway
from tests.unit.kube.server import serving, status

JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "namespace": "ns",
        "name": "e-1",
        "ownerReferences": [{"kind": "Experiment", "name": "e", "uid": "u1", "controller": True}],
    },
}


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (status(404, "NotFound", 'jobs "e-1" not found'), NotFound, 'jobs "e-1" not found'),
        (status(409, "Conflict", "modified"), Conflict, "modified"),
        (status(410, "Expired", "too old"), Gone, "too old"),
        (status(422, "Invalid", "spec.gpus: must be >= 0"), Invalid, "spec.gpus: must be >= 0"),
        (status(400, "BadRequest", "no"), Invalid, "no"),
        (status(403, "Forbidden", "exceeded quota"), Forbidden, "exceeded quota"),
        (status(500, "InternalError", "etcdserver: no leader"), Unavailable, "etcdserver: no leader"),
        (
            status(500, "", "failed to create typed patch object (ns/s): .status.x: field not declared in schema"),
            Invalid,
            ".status.x: field not declared in schema",
        ),
        ((503, "<html>proxy</html>"), Unavailable, "<html>proxy</html>"),
        ((200, "<html>login</html>"), Unavailable, "no JSON"),
        ((200, "[]"), Unavailable, "no JSON object"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else getattr(value, "__name__", None),
)
async def test_every_answer_becomes_the_error_that_a_caller_decides_by(
    answer: Any, error: type[ApiError], says: str
) -> None:
    async with serving(answer) as server:
        client = server.client()
        with pytest.raises(error, match=r"GET /apis/batch/v1/namespaces/ns/jobs/e-1|no JSON") as caught:
            await Gateway(client).get("Job", "ns", "e-1")
        assert type(caught.value) is error
        assert says in str(caught.value)
        await client.close()


async def test_no_connection_is_unavailable_and_counted() -> None:
    calls = []
    client = Client(Configuration(host="http://127.0.0.1:9"), on_call=lambda *call: calls.append(call[:3]))
    with pytest.raises(Unavailable, match=r"no answer from http://127\.0\.0\.1:9"):
        await Gateway(client).get("Job", "ns", "e-1")
    assert calls == [("get", "jobs", "unavailable")]
    await client.close()


async def test_a_refusal_for_too_many_requests_is_waited_for_as_the_server_says() -> None:
    async with serving(
        (429, "slow down", {"Retry-After": "0"}), (429, "slow down", {"Retry-After": "0"}), (200, {"kind": "Job"})
    ) as server:
        client = server.client()
        assert await Gateway(client).get("Job", "ns", "e-1") == {"kind": "Job"}
        assert [code for _, _, code in server.calls] == ["429", "429", "200"]
        await client.close()


async def test_a_wish_to_wait_for_long_is_handed_to_the_caller() -> None:
    async with serving((429, "slow down", {"Retry-After": "60"})) as server:
        client = server.client()
        with pytest.raises(Unavailable) as caught:
            await Gateway(client).get("Job", "ns", "e-1")
        assert caught.value.retry_after == 60
        assert len(server.requests) == 1
        await client.close()


async def test_a_token_that_has_run_out_is_read_again_once() -> None:
    def reload(configuration: Configuration) -> None:
        configuration.api_key["BearerToken"] = "Bearer new"

    async with serving(status(401, "Unauthorized", "expired"), (200, {"kind": "Job"})) as server:
        client = server.client(token="old", reload=reload)
        await Gateway(client).get("Job", "ns", "e-1")
        assert [request.headers["Authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]
        server.answers = [status(401, "Unauthorized", "expired")]
        with pytest.raises(Forbidden):
            await Gateway(client).get("Job", "ns", "e-1")
        assert len(server.requests) == 4
        await client.close()


async def test_a_list_follows_its_pages_with_the_same_selectors() -> None:
    pages = [
        (200, {"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    async with serving(*pages) as server:
        client = server.client()
        found = [
            p async for p in Gateway(client).pages("Pod", namespace="ns", label_selector="a=b", field_selector="c!=")
        ]
        assert [([i["metadata"]["name"] for i in items], version) for items, version in found] == [
            (["a"], "7"),
            (["b"], "7"),
        ]
        assert found[0][0][0]["kind"] == "Pod"
        want = {"limit": "500", "labelSelector": "a=b", "fieldSelector": "c!="}
        assert [r.query for r in server.requests] == [want, {**want, "continue": "next"}]
        assert server.requests[0].path == "/api/v1/namespaces/ns/pods"
        await client.close()


async def test_creating_what_exists_with_the_same_owner_returns_it() -> None:
    stored = {**JOB, "metadata": {**JOB["metadata"], "uid": "u9"}}
    async with serving(status(409, "AlreadyExists", "exists"), (200, stored)) as server:
        client = server.client()
        assert await Gateway(client).create("Job", JOB) == stored
        await client.close()


@pytest.mark.parametrize(
    ("owners", "says"),
    [
        ([{"kind": "Experiment", "name": "other", "uid": "u2", "controller": True}], "belongs to Experiment other"),
        ([], "was not made by Orkhaven"),
    ],
    ids=["another owner", "no owner"],
)
async def test_creating_what_belongs_to_another_says_whose_it_is(owners: list[Any], says: str) -> None:
    stored = {**JOB, "metadata": {**JOB["metadata"], "ownerReferences": owners}}
    async with serving(status(409, "AlreadyExists", "exists"), (200, stored)) as server:
        client = server.client()
        with pytest.raises(AlreadyExists, match=f"Job ns/e-1 exists and {says}"):
            await Gateway(client).create("Job", JOB)
        await client.close()


async def test_a_name_that_was_taken_and_has_just_become_free_is_a_conflict_to_try_again() -> None:
    async with serving(status(409, "AlreadyExists", "exists"), status(404, "NotFound", "gone")) as server:
        client = server.client()
        with pytest.raises(Conflict, match="try again") as caught:
            await Gateway(client).create("Job", JOB)
        assert not isinstance(caught.value, AlreadyExists)
        await client.close()


async def test_a_patch_carries_its_preconditions_and_a_namesake_is_a_conflict() -> None:
    async with serving(status(422, "Invalid", 'metadata.uid: Invalid value: "u": field is immutable')) as server:
        client = server.client()
        with pytest.raises(Conflict):
            await Gateway(client).patch("Job", "ns", "e-1", {"spec": {"suspend": False}}, uid="u", resource_version=7)
        (request,) = server.requests
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        assert request.body == {"metadata": {"uid": "u", "resourceVersion": "7"}, "spec": {"suspend": False}}
        await client.close()


async def test_a_status_is_applied_by_its_field_manager() -> None:
    async with serving((200, {"kind": "Experiment"})) as server:
        client = server.client()
        await Gateway(client).apply_status(
            "Experiment", "ns", "e", {"state": "Queued"}, field_manager="orkhaven-operator", uid="u", resource_version=3
        )
        (request,) = server.requests
        assert (request.method, request.path) == (
            "PATCH",
            "/apis/orkhaven.io/v1alpha1/namespaces/ns/experiments/e/status",
        )
        assert request.query == {"fieldManager": "orkhaven-operator", "force": "true"}
        assert request.headers["Content-Type"] == "application/apply-patch+yaml"
        assert request.body == {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": "e", "namespace": "ns", "uid": "u", "resourceVersion": "3"},
            "status": {"state": "Queued"},
        }
        await client.close()


@pytest.mark.parametrize(
    "answer", [status(404, "NotFound", "gone"), status(409, "Conflict", "uid"), (200, {})], ids=str
)
async def test_deleting_what_is_gone_or_is_another_by_now_is_success(answer: Any) -> None:
    async with serving(answer) as server:
        client = server.client()
        await Gateway(client).delete("Job", "ns", "e-1", uid="u")
        (request,) = server.requests
        assert request.body["preconditions"] == {"uid": "u"}
        assert request.body["propagationPolicy"] == "Background"
        await client.close()


async def test_nothing_is_written_without_the_lease_but_reading_goes_on() -> None:
    async with serving((200, {"kind": "Job"})) as server:
        client = server.client()
        gateway = Gateway(client, may_write=lambda: False)
        for write in (
            gateway.create("Job", JOB),
            gateway.patch("Job", "ns", "e-1", {}, uid="u"),
            gateway.apply_status("Experiment", "ns", "e", {}, field_manager="m"),
            gateway.delete("Job", "ns", "e-1", uid="u"),
            gateway.replace("Lease", {"metadata": {"namespace": "ns", "name": "l"}}),
        ):
            with pytest.raises(LeaseLost):
                await write
        await gateway.get("Job", "ns", "e-1")
        assert [r.method for r in server.requests] == ["GET"]
        await client.close()


async def test_an_answer_that_does_not_come_is_unavailable() -> None:
    hanging = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hanging.wait()
        writer.close()

    listening = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = Client(Configuration(host=f"http://127.0.0.1:{port}"), seconds=0.1)
    with pytest.raises(Unavailable, match="Timeout"):
        await Gateway(client).get("Job", "ns", "e-1")
    hanging.set()
    await client.close()
    listening.close()


def _event(kind: str, **body: Any) -> str:
    return json.dumps({"type": kind, "object": body}) + "\n"


BOOKMARK = _event("BOOKMARK", metadata={"resourceVersion": "9"})


async def _watched(gateway: Gateway) -> list[tuple[str, Any]]:
    async with gateway.watch("Experiment", namespace="ns", version="7") as events:
        return [event async for event in events]


async def test_a_watch_goes_on_from_its_version_and_ends_when_the_server_ends_it() -> None:
    added = _event("ADDED", metadata={"name": "e", "resourceVersion": "8"})
    async with serving((200, added + BOOKMARK)) as server:
        client = server.client()
        found = await _watched(Gateway(client))
        await client.close()
    assert [(kind, body["metadata"]["resourceVersion"]) for kind, body in found] == [("ADDED", "8"), ("BOOKMARK", "9")]
    (request,) = server.requests
    assert request.path == "/apis/orkhaven.io/v1alpha1/namespaces/ns/experiments"
    assert request.query["watch"] == "true"
    assert (request.query["resourceVersion"], request.query["allowWatchBookmarks"]) == ("7", "true")
    assert server.calls == [("watch", "experiments", "200")]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (status(410, "Expired", "too old resource version"), Gone, "too old"),
        ((200, _event("ERROR", code=410, message="too old resource version")), Gone, "too old"),
        ((200, BOOKMARK + _event("ERROR", code=500, message="etcd")), Unavailable, "etcd"),
        ((200, BOOKMARK + "<html>"), Unavailable, "not a watch event"),
        (status(403, "Forbidden", "may not watch"), Forbidden, "may not watch"),
    ],
)
async def test_a_watch_that_fails_says_whether_to_list_anew(answer: Any, error: type[ApiError], says: str) -> None:
    async with serving(answer) as server:
        client = server.client()
        with pytest.raises(error, match=says):
            await _watched(Gateway(client))
        await client.close()


@pytest.mark.parametrize(
    ("environment", "own", "proxy"),
    [
        ({}, None, None),
        ({"https_proxy": "http://gate:3128"}, None, "http://gate:3128"),
        ({"https_proxy": "http://gate:3128", "no_proxy": "10.0.0.1"}, None, None),
        ({"https_proxy": "http://gate:3128"}, "http://of-the-kubeconfig:1", "http://of-the-kubeconfig:1"),
    ],
    ids=["none", "the environment's", "not for this server", "the kubeconfig's own"],
)
async def test_the_proxy_is_looked_up_once(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], own: str | None, proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = Client(Configuration(host="https://10.0.0.1:6443", proxy=own))
    assert client.configuration.proxy == proxy
    await client.close()
