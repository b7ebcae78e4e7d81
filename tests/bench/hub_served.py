"""The hub over the store of 10,000 runs in a process of its own, and who asks it."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from tests.bench.hub_store import NAMESPACE, SWEEP

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180
"""A second or two where nothing else runs."""
HEADERS = {"Authorization": "Bearer reader"}
PAGE = f"/n/{NAMESPACE}/sweeps/{SWEEP}"
API = f"/api/v1/namespaces/{NAMESPACE}/sweeps/{SWEEP}"


@dataclass(frozen=True)
class Served:
    port: int
    pid: int
    first_ms: float
    """Milliseconds from the start of the process to the first leaderboard."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def process(module: str, *arguments: str, port_file: Path) -> Iterator[tuple[int, int]]:
    """Port and process of a server that writes its port into the file."""
    port_file.unlink(missing_ok=True)
    started = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not port_file.exists():
            assert started.poll() is None, f"{module} ended"
            assert time.monotonic() < deadline, f"{module} does not start"
            time.sleep(0.02)
        yield int(port_file.read_text()), started.pid
    finally:
        started.kill()
        started.wait()


@contextlib.contextmanager
def served(database: Path, folder: Path) -> Iterator[Served]:
    started = time.perf_counter()
    port_file = folder / "port"
    with process("tests.bench.hub_store", str(database), str(port_file), port_file=port_file) as (port, pid):
        client = Client(port)
        while client.get(f"{API}/leaderboard")[0] == 503:
            time.sleep(0.02)
        yield Served(port, pid, (time.perf_counter() - started) * 1000)


class Client:
    """One connection that is kept."""

    def __init__(self, port: int, headers: dict[str, str] = HEADERS) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = headers
        self.size = 0
        """Bytes of the last answer."""

    def get(self, path: str, **params: object) -> tuple[int, bytes]:
        query = urlencode({key: value for key, value in params.items() if value != ""}, doseq=True)
        return self.send("GET", f"{path}?{query}" if query else path)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        for last in (False, True):
            try:
                self._connection.request(method, path, body=body, headers={**self._headers, **headers})
                answer = self._connection.getresponse()
                break
            except ConnectionError:  # kept too long: the server has closed it meanwhile
                self._connection.close()
                if last:
                    raise
        text = answer.read()
        self.size = len(text)
        return answer.status, text


def timed(ask: Callable[[int], tuple[int, bytes]], *, count: int) -> list[float]:
    """Milliseconds of each."""
    found: list[float] = []
    for number in range(count):
        started = time.perf_counter()
        status, body = ask(number)
        found.append((time.perf_counter() - started) * 1000)
        assert status == 200, body[:1000]
    return found


def memory(pid: int, field: str = "VmRSS") -> float:
    """MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {field}")
