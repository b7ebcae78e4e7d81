"""The operator as its own process against a cluster of tests/cluster, and what tests ask of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster import Cluster

Body = dict[str, Any]


class OperatorProcess:
    """`orkhaven operator`, started, killed and asked. Its settings are those of the product but for names and ports."""

    def __init__(self, cluster: Cluster, folder: Path, *, namespaces: str = "", **settings: str) -> None:
        self.cluster = cluster
        self.log = folder / "operator.log"
        self._env = {
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "ORKHAVEN_NAMESPACES": namespaces,
            "ORKHAVEN_HTTP_HOST": "127.0.0.1",
            "ORKHAVEN_HTTP_PORT": "0",
            "ORKHAVEN_OUTPUT_CLAIM": "results",
            "ORKHAVEN_LEASE_NAMESPACE": namespaces.split(",")[0] or "default",
            "ORKHAVEN_LEASE_IDENTITY": "the-pod",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0

    def start(self) -> OperatorProcess:
        self._started_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = subprocess.Popen([sys.executable, "-m", "orkhaven", "operator"], env=self._env, stderr=out)
        return self

    def wait_ready(self, *, seconds: float = 60) -> OperatorProcess:
        until("the operator to be ready", lambda: self.get("/readyz")[0] == 200, seconds=seconds, on_fail=self.tail)
        return self

    def wait_leading(self, *, seconds: float = 60) -> OperatorProcess:
        until("the operator to lead", lambda: self.metric("orkhaven_leader") == 1, seconds=seconds, on_fail=self.tail)
        return self

    def kill(self) -> None:
        """kill -9, and gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self, *, seconds: float = 30) -> int:
        """SIGTERM; the exit code. Nothing where it is not running."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def get(self, path: str) -> tuple[int, str]:
        """Status (0: no answer) and text."""
        port = next((line["http_port"] for line in self.lines() if line["message"] == "operator started"), None)
        if port is None:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """Sum over the series of that name with these labels."""
        return _sum(self.get("/metrics")[1], name, **labels)

    def writes(self) -> float:
        """Requests so far that could change something, the lease's own aside. Of one answer: the lease is renewed
        between two."""
        text, calls = self.get("/metrics")[1], "orkhaven_api_calls_total"
        every = sum(_sum(text, calls, verb=verb) for verb in ("create", "patch", "apply", "delete", "update"))
        return every - sum(_sum(text, calls, resource="leases", verb=verb) for verb in ("create", "update"))

    def lines(self) -> list[Body]:
        """What this process has logged so far."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(self._started_at)
            raw = file.read().decode()
        found = []
        for line in raw.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"message": line})
        return found

    def tail(self) -> str:
        return "\n".join(json.dumps(line) for line in self.lines()[-40:])


def _sum(metrics: str, name: str, **labels: str) -> float:
    total = 0.0
    for line in metrics.splitlines():
        if re.match(rf"{name}(\{{|\s)", line) and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def until(
    what: str, condition: Callable[[], Any], *, seconds: float = 60, on_fail: Callable[[], str] = lambda: ""
) -> Any:
    """The first truthy answer. Raises AssertionError, saying what was waited for, after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}; last answer {answer!r}\n{on_fail()}")
        time.sleep(0.1)


def unchanged(read: Callable[[], Any], seconds: float = 2.0) -> Any:
    """What is read, where it is the same that many seconds later; else None: for `until`."""
    before = read()
    time.sleep(seconds)
    return before if read() == before else None
