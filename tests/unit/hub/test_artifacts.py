"""Artifacts: what a pod reports is checked, kept once, and served so that neither path nor content can do harm."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from orkhaven.hub.artifacts import serve
from orkhaven.hub.artifacts.entry import BadEntry, parse
from orkhaven.hub.storage import migrate
from orkhaven.hub.storage.engine import open_engines
from orkhaven.hub.storage.store import open_store
from orkrun import contract
from tests.unit.hub.conftest import RunningHub, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 20
HASH = "a" * 64


def entry(seq: int = 1, content: bytes = PNG, **fields: Any) -> dict[str, Any]:
    made = {
        "attempt": 1,
        "seq": seq,
        "time": 1_790_000_000.0,
        "name": "overlays",
        "kind": "image",
        "path": "report/overlays.png",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "mediaType": "image/png",
    }
    return {**made, **fields}


async def post(hub: RunningHub, line: Any, content: bytes = b"", *, token: str = "token-trial") -> httpx.Response:
    head = line if isinstance(line, bytes) else json.dumps(line).encode()
    return await hub.client.post(
        contract.artifacts_path(NAMESPACE, "trial"),
        content=head + b"\n" + content,
        headers={"Authorization": f"Bearer {token}", "Content-Type": contract.ARTIFACT_TYPE},
    )


def a_run(cluster: FakeCluster, *, claim: str = "results") -> None:
    cluster.add_run("trial")
    body = cluster.objects["Experiment", NAMESPACE, "trial"]
    body["spec"]["output"] = {"claim": claim}
    body["status"] = {"runHash": HASH}
    cluster.touch("Experiment", NAMESPACE, "trial")


async def test_an_image_is_kept_listed_and_shown(fake_cluster: FakeCluster, database_url: str) -> None:
    a_run(fake_cluster)
    async with running_hub(fake_cluster, database_url) as hub:
        line = entry(step=3, caption="worst <b>case</b>", group="case-7/12", role="prediction")
        assert (await post(hub, line, PNG)).json() == {"id": 1, "new": True, "stored": True}
        assert (await post(hub, line, PNG)).json() == {"id": 1, "new": False, "stored": True}
        listed = (await hub.get("experiments/trial/artifacts")).json()
        (item,) = listed["items"]
        assert {key: item[key] for key in ("name", "kind", "step", "caption", "group", "role", "source")} == {
            "name": "overlays",
            "kind": "image",
            "step": 3,
            "caption": "worst <b>case</b>",
            "group": "case-7/12",
            "role": "prediction",
            "source": "store",
        }
        headers = {"Authorization": "Bearer reader"}
        answer = await hub.client.get(item["url"], headers=headers)
        assert answer.content == PNG
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-disposition"].startswith('inline; filename="overlays.png"')
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        fresh = await hub.client.get(item["url"], headers=headers | {"If-None-Match": answer.headers["etag"]})
        assert (fresh.status_code, fresh.content) == (304, b"")
        part = await hub.client.get(item["url"], headers=headers | {"Range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, PNG[4:8])
        assert part.headers["content-range"] == f"bytes 4-7/{len(PNG)}"
        beyond = await hub.client.get(item["url"], headers=headers | {"Range": "bytes=99999-"})
        assert beyond.status_code == 416


async def test_only_the_run_s_own_pod_reports_and_only_who_may_see_the_run_sees(
    fake_cluster: FakeCluster, sqlite_url: str
) -> None:
    a_run(fake_cluster)
    fake_cluster.add_run("neighbour")
    guest = fake_cluster.add_reader("guest", namespace="elsewhere")
    async with running_hub(fake_cluster, sqlite_url) as hub:
        assert (await post(hub, entry(), PNG, token="token-neighbour")).status_code == 403
        assert (await post(hub, entry(), PNG, token="reader")).status_code == 401
        assert (await post(hub, entry(), PNG)).status_code == 200
        for path in ("experiments/trial/artifacts", "experiments/trial/artifacts/1/content"):
            assert (await hub.get(path, token=None)).status_code == 401
            assert (await hub.get(path, token=guest)).status_code == 403
            assert (await hub.get(path)).status_code == 200
        # An id is good for its own run alone.
        assert (await hub.get("experiments/neighbour/artifacts/1/content")).status_code == 404


@pytest.mark.parametrize(
    "content",
    [b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<html><script>alert(1)</script>", b"GIF8 no"],
    ids=["svg", "html", "no image"],
)
@pytest.mark.parametrize("media_type", ["image/svg+xml", "text/html", "image/png"])
async def test_what_could_run_is_never_shown_in_place(
    fake_cluster: FakeCluster, sqlite_url: str, content: bytes, media_type: str
) -> None:
    a_run(fake_cluster)
    async with running_hub(fake_cluster, sqlite_url) as hub:
        name = "a\"b'; filename=x.html/../é"
        line = entry(content=content, mediaType=media_type, name=name, path="x.svg")
        assert (await post(hub, line, content)).status_code == 200
        answer = await hub.get("experiments/trial/artifacts/1/content")
        assert answer.headers["content-type"] == "application/octet-stream"
        said = answer.headers["content-disposition"]
        assert said.startswith("attachment; filename=\"a-b-filename-x.html-..-.svg\"; filename*=UTF-8''a%22b")
        assert "/" not in said


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"path": "../secret"}, "path"),
        ({"path": "/etc/passwd"}, "path"),
        ({"path": "a//b"}, "path"),
        ({"path": "a\\..\\b"}, "path"),
        ({"path": "a/./b"}, "path"),
        ({"path": "a\u0000b"}, "path"),
        ({"path": "/".join("a" * 20)}, "path"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"kind": "page"}, "kind"),
        ({"role": "admin"}, "role"),
        ({"mediaType": "text/html\r\nX-Evil: 1"}, "mediaType"),
        ({"sha256": "A" * 64}, "sha256"),
        ({"size": -1}, "size"),
        ({"size": len(PNG) + 1}, "size"),
        ({"sha256": "0" * 64}, "sha256"),
        ({"seq": 0}, "seq"),
        ({"seq": True}, "seq"),
        ({"time": "now"}, "time"),
        ({"step": 1.5}, "step"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
async def test_a_line_that_is_wrong_is_refused_and_says_where(
    fake_cluster: FakeCluster, sqlite_url: str, change: dict[str, Any], field: str
) -> None:
    a_run(fake_cluster)
    async with running_hub(fake_cluster, sqlite_url) as hub:
        answer = await post(hub, entry(**change), PNG)
        assert (answer.status_code, answer.json()["error"]["where"]) == (422, field)
        assert (await hub.get("experiments/trial/artifacts")).json()["items"] == []


@given(
    st.binary(max_size=80) | st.dictionaries(st.text(max_size=9), st.text(max_size=9)).map(json.dumps).map(str.encode)
)
def test_no_first_line_at_all_makes_it_fail(raw: bytes) -> None:
    try:
        parse(raw)
    except BadEntry:
        return


async def test_too_large_and_too_many_are_refused_or_only_listed(fake_cluster: FakeCluster, sqlite_url: str) -> None:
    a_run(fake_cluster)
    async with running_hub(fake_cluster, sqlite_url, artifact_run_bytes=len(PNG)) as hub:
        huge = b"x" * (contract.MAX_UPLOAD + contract.MAX_ARTIFACT_LINE)
        assert (await post(hub, entry(content=huge), huge)).status_code == 413
        assert (await post(hub, entry(1), PNG)).json()["stored"] is True
        assert (await post(hub, entry(2), PNG)).json()["stored"] is False
        kept, only_listed = (await hub.get("experiments/trial/artifacts")).json()["items"]
        assert (kept["source"], only_listed["source"], only_listed["url"]) == ("store", None, None)
        assert "chart value hub.outputs" in only_listed["why"]
        gone = await hub.get("experiments/trial/artifacts/2/content")
        assert gone.status_code == 404
        assert "hub.outputs" in gone.json()["error"]["message"]


# --- what lies on the output volume ---


def _as_reported(folder: Path, outside: Path) -> None:
    (folder / "volumes").mkdir()
    (folder / "volumes" / "ct.nii.gz").write_bytes(PNG)


def _a_link_to_a_file(folder: Path, outside: Path) -> None:
    (folder / "volumes").mkdir()
    (folder / "volumes" / "ct.nii.gz").symlink_to(outside / "secret")


def _a_link_to_a_folder(folder: Path, outside: Path) -> None:
    (outside / "ct.nii.gz").write_bytes(PNG)
    (folder / "volumes").symlink_to(outside)


def _a_pipe(folder: Path, outside: Path) -> None:
    (folder / "volumes").mkdir()
    os.mkfifo(folder / "volumes" / "ct.nii.gz")


def _other_bytes(folder: Path, outside: Path) -> None:
    (folder / "volumes").mkdir()
    (folder / "volumes" / "ct.nii.gz").write_bytes(PNG[::-1])


def _longer(folder: Path, outside: Path) -> None:
    (folder / "volumes").mkdir()
    (folder / "volumes" / "ct.nii.gz").write_bytes(PNG + b"x")


def _nothing(folder: Path, outside: Path) -> None:
    return


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_as_reported, None),
        (_a_link_to_a_file, "cannot be opened"),
        (_a_link_to_a_folder, "cannot be opened"),
        (_a_pipe, "no regular file"),
        (_other_bytes, "it was changed"),
        (_longer, "it was changed"),
        (_nothing, "No such file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_volume_is_served_from_the_run_s_folder_and_nothing_else_is(
    fake_cluster: FakeCluster,
    sqlite_url: str,
    tmp_path: Path,
    make: Callable[[Path, Path], None],
    says: str | None,
) -> None:
    a_run(fake_cluster)
    root, outside = tmp_path / "outputs", tmp_path / "outside"
    folder = root / NAMESPACE / "results" / HASH
    folder.mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_bytes(PNG)
    make(folder, outside)
    async with running_hub(fake_cluster, sqlite_url, output_root=root) as hub:
        line = entry(kind="volume", path="volumes/ct.nii.gz", mediaType="application/gzip", name="CT")
        assert (await post(hub, line)).json()["stored"] is False
        (item,) = (await hub.get("experiments/trial/artifacts", kind="volume")).json()["items"]
        assert item["source"] == "volume"
        answer = await hub.get("experiments/trial/artifacts/1/content")
        if says is not None:
            assert answer.status_code == 404
            assert says in answer.json()["error"]["message"]
            return
        assert answer.content == PNG
        assert answer.headers["content-length"] == str(len(PNG))
        part = await hub.client.get(item["url"], headers={"Authorization": "Bearer reader", "Range": "bytes=-3"})
        assert (part.status_code, part.content) == (206, PNG[-3:])
        # Changed afterwards, with the same size: noticed, though it was checked before.
        (folder / "volumes" / "ct.nii.gz").write_bytes(PNG[::-1])
        assert (await hub.get("experiments/trial/artifacts/1/content")).status_code == 404


async def test_a_run_cannot_name_another_run_s_folder(
    fake_cluster: FakeCluster, sqlite_url: str, tmp_path: Path
) -> None:
    """Claim and folder are the API server's word, whatever the line says."""
    a_run(fake_cluster)
    other = tmp_path / NAMESPACE / "results" / ("b" * 64)
    other.mkdir(parents=True)
    (other / "x.png").write_bytes(PNG)
    async with running_hub(fake_cluster, sqlite_url, output_root=tmp_path) as hub:
        line = entry(path="x.png", folder="b" * 64, claim="results", runHash="b" * 64)
        assert (await post(hub, line)).status_code == 200
        assert (await hub.get("experiments/trial/artifacts/1/content")).status_code == 404


@given(size=st.integers(0, 50), header=st.text(alphabet="bytes=-0123456789, ", max_size=20))
def test_a_range_is_always_inside(size: int, header: str) -> None:
    line = parse(json.dumps(entry(content=b"x" * size)).encode())
    try:
        part = serve.wanted(line, header, None)
    except serve.Unsatisfiable:
        return
    if part is not None:
        assert 0 <= part[0] < part[1] <= size


async def test_old_and_too_many_are_forgotten(fake_cluster: FakeCluster, database_url: str) -> None:
    a_run(fake_cluster)
    async with running_hub(fake_cluster, database_url) as hub:
        for seq in (1, 2, 3):
            await post(hub, entry(seq), PNG)
        artifacts = hub.app.state.hub.store.artifacts
        assert artifacts.forget(received_before=None, max_bytes=10**9) == 0
        assert artifacts.forget(received_before=None, max_bytes=2 * len(PNG)) == 1
        assert [one.entry.seq for one in artifacts.of_run(NAMESPACE, "trial")] == [2, 3]
        assert artifacts.forget(received_before=10.0**11, max_bytes=10**9) == 2


def test_a_store_of_the_version_before_is_migrated_with_what_it_has(database_url: str) -> None:
    engines = open_engines(database_url)
    config = migrate._config()
    with engines.writer.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engines.writer.begin() as connection:
        connection.execute(text("INSERT INTO metric_names (id, name) VALUES (7, 'val/dice')"))
    engines.dispose()
    store = open_store(database_url, max_metrics_per_run=10)
    with store.engines.reader.connect() as connection:
        assert connection.scalar(text("SELECT name FROM metric_names WHERE id = 7")) == "val/dice"
    assert store.logs.unfinished() == []
    store.close()
