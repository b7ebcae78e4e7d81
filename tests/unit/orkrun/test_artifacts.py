"""What a run reports besides numbers: the manifest on disk, and how it reaches a hub that fails."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orkrun import contract, reporter
from orkrun.artifacts import Manifest, manifest_lines
from orkrun.contract import ArtifactKind
from orkrun.reporter import Target
from orkrun.uploader import Uploader
from tests.unit.orkrun.conftest import Pod, wait_for

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


def lines(output: Path) -> list[Any]:
    return list(manifest_lines((output / contract.ARTIFACTS / contract.MANIFEST).read_bytes()))


@dataclass
class Hub:
    url: str = ""
    codes: list[int] = field(default_factory=list)
    taken: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            head, _, content = self.rfile.read(int(self.headers["Content-Length"])).partition(b"\n")
            code = state.codes.pop(0) if state.codes else 200
            if code == 200:
                assert self.headers["Content-Type"] == contract.ARTIFACT_TYPE
                state.taken.append((json.loads(head), content))
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "BACKOFF_BASE", 0.01)
    monkeypatch.setattr(reporter, "BACKOFF_MAX", 0.05)


def uploader(output: Path, url: str) -> Uploader:
    (output / "token").write_text("t")
    made = Uploader(output, Target(url, output / "token"), rng=random.Random(0))
    made.notify()
    return made


def test_an_image_is_written_with_its_line(tmp_path: Path) -> None:
    Manifest(tmp_path, 2).image("overlays/worst", PNG, step=3, group="case 7", role="prediction")
    (line,) = lines(tmp_path)
    assert (tmp_path / line["path"]).read_bytes() == PNG
    assert line["path"].startswith("artifacts/overlays-worst-3-")
    assert line["path"].endswith(".png")
    assert {key: line[key] for key in ("attempt", "seq", "step", "group", "role", "kind", "mediaType", "size")} == {
        "attempt": 2,
        "seq": 1,
        "step": 3,
        "group": "case 7",
        "role": "prediction",
        "kind": "image",
        "mediaType": "image/png",
        "size": len(PNG),
    }
    assert line["sha256"] == hashlib.sha256(PNG).hexdigest()


def test_a_file_of_the_output_folder_stays_and_another_is_copied_into_it(tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "out", tmp_path / "ct.nii.gz"
    output.mkdir()
    (output / "own.nii").write_bytes(b"own")
    elsewhere.write_bytes(b"other")
    manifest = Manifest(output, 1)
    manifest.file("own", output / "own.nii", kind=ArtifactKind.VOLUME)
    manifest.file("other", elsewhere, kind=ArtifactKind.VOLUME)
    own, other = lines(output)
    assert own["path"] == "own.nii"
    assert other["path"].startswith("artifacts/other-")
    assert other["path"].endswith(".nii.gz")
    assert (output / other["path"]).read_bytes() == b"other"


def test_the_next_process_and_attempt_go_on_counting_after_half_a_line(tmp_path: Path) -> None:
    Manifest(tmp_path, 1).image("a", PNG)
    path = tmp_path / contract.ARTIFACTS / contract.MANIFEST
    path.write_bytes(path.read_bytes() + b'{"attempt":1,"se')
    Manifest(tmp_path, 1).image("b", PNG)
    Manifest(tmp_path, 2).image("c", PNG)
    assert [(line["name"], line["attempt"], line["seq"]) for line in lines(tmp_path)] == [
        ("a", 1, 1),
        ("b", 1, 2),
        ("c", 2, 1),
    ]


def test_what_is_wrong_is_said_and_never_ends_the_training(pod: Pod) -> None:
    code, errors = pod.run(
        f"""
with orkrun.run() as run:
    assert not run.image("page", b"<svg onload=alert(1)>")
    assert not run.image("a\\nb", {PNG!r})
    assert not run.image("role", {PNG!r}, role="boss")
    assert not run.volume("gone", "/nowhere.nii")
    assert not run.artifact("/etc", kind="file")
    assert not run.artifact(__file__, kind="page")
    assert run.image("good", {PNG!r}, step=1)
    assert run.artifact(__file__)
    run.report(1, {{"val/dice": 0.5}})
"""
    )
    assert code == 0, errors
    assert errors.count("is left out") == 6
    assert [line["name"] for line in lines(pod.output)] == ["good", "script.py"]


def test_a_run_has_at_most_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_ARTIFACTS", 2)
    manifest = Manifest(tmp_path, 1)
    manifest.image("a", PNG)
    manifest.image("b", PNG)
    with pytest.raises(ValueError, match="at most 2 artifacts"):
        manifest.image("c", PNG)


def test_they_arrive_once_and_in_order_though_the_hub_fails(tmp_path: Path, hub: Hub) -> None:
    hub.codes = [503, 200, 401, 500, 422]
    manifest = Manifest(tmp_path, 1)
    for name in ("a", "refused", "c"):
        manifest.image(name, PNG)
    made = uploader(tmp_path, hub.url)
    wait_for(lambda: len(hub.taken) == 2, "the artifacts")
    assert made.close(10)
    assert [(line["name"], content) for line, content in hub.taken] == [("a", PNG), ("c", PNG)]
    assert uploader(tmp_path, hub.url).close(10)
    assert len(hub.taken) == 2


def test_a_large_one_goes_without_its_content(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_UPLOAD", 10)
    manifest = Manifest(tmp_path, 1)
    manifest.image("large", PNG)
    (tmp_path / "small").write_bytes(b"ok")
    manifest.file("small", tmp_path / "small", kind=ArtifactKind.FILE)
    (tmp_path / "changed").write_bytes(b"old")
    manifest.file("changed", tmp_path / "changed", kind=ArtifactKind.FILE)
    (tmp_path / "changed").write_bytes(b"new")
    assert uploader(tmp_path, hub.url).close(10)
    assert [(line["name"], content) for line, content in hub.taken] == [
        ("large", b""),
        ("small", b"ok"),
        ("changed", b""),
    ]


def test_a_run_sends_both_metrics_and_artifacts(pod: Pod, hub: Hub) -> None:
    pod.environ[contract.ENV_URL] = hub.url
    code, errors = pod.run(f'with orkrun.run() as run:\n    run.image("a", {PNG!r})\n')
    assert code == 0, errors
    assert [line["name"] for line, _ in hub.taken] == ["a"]
