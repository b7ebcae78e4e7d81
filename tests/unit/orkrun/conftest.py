"""A hub that can be told to fail, and a training script run as the process a pod would run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orkrun import contract

TRAINER = Path(__file__).resolve().parents[3] / "trainer"


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.005)


@dataclass
class Hub:
    """Answers with what `answer` makes of (token, lines); keeps the lines of requests that it took."""

    url: str = ""
    answer: Callable[[str, list[dict[str, Any]]], int] = lambda token, lines: 200
    lines: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def seqs(self) -> list[int]:
        return [line["seq"] for line in self.lines]


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            lines = [json.loads(raw) for raw in body.splitlines()]
            token = self.headers.get("Authorization", "")
            state.tokens.append(token)
            state.paths.append(self.path)
            state.bodies.append(body)
            code = state.answer(token, lines)
            if code == 200:
                state.lines += lines
            self.send_response(code)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"no" if code != 200 else b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Pod:
    """Runs scripts as a container of the operator's would run: config, token, output and termination log in one
    folder.
    """

    folder: Path
    config: dict[str, Any]
    environ: dict[str, str]

    @property
    def output(self) -> Path:
        return Path(self.config["output"])

    @property
    def log(self) -> Path:
        return self.folder / "termination-log"

    def record(self) -> dict[str, Any]:
        content = self.log.read_bytes()
        assert len(content) <= contract.TERMINATION_LIMIT
        parsed: dict[str, Any] = json.loads(content)
        return parsed

    def start(self, script: str) -> subprocess.Popen[str]:
        (self.folder / "config.json").write_text(json.dumps(self.config))
        self.log.write_text("")
        (self.folder / "script.py").write_text("import sys\nimport orkrun\n" + script)
        return subprocess.Popen(
            [sys.executable, str(self.folder / "script.py")],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str) -> tuple[int, str]:
        process = self.start(script)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    token = tmp_path / "token"
    token.write_text("secret-1\n")
    config = {
        "version": 1,
        "namespace": "radiology",
        "experiment": "covid-1f0c",
        "uid": "u-1",
        "paramHash": "p",
        "runHash": "r",
        "params": {"lr": 0.1},
        "data": [{"name": "ct", "mountPath": "/data", "readOnly": True}],
        "objective": {"metric": "val/dice", "direction": "Maximize"},
        "seed": 3,
        "attempt": 1,
        "output": str(tmp_path / "output"),
    }
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(TRAINER),
        contract.ENV_CONFIG: str(tmp_path / "config.json"),
        contract.ENV_TERMINATION_LOG: str(tmp_path / "termination-log"),
        contract.ENV_TOKEN_FILE: str(token),
    }
    return Pod(tmp_path, config, environ)
