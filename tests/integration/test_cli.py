"""`kubectl ork` as a process, by the real kubectl, against a real API server; the notebook, and a real hub."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from orkhaven.hub.auth import identity_of
from orkhaven.hub.lines import Line
from orkhaven.hub.storage.ingest import Post
from orkhaven.hub.storage.store import open_store
from tests import cli_world
from tests.cluster import Cluster
from tests.examples import EXAMPLES
from tests.integration.operator_process import OperatorProcess

pytestmark = pytest.mark.cluster

Body = dict[str, Any]
Done = subprocess.CompletedProcess[str]


@dataclass
class User:
    """Somebody at a shell whose kubeconfig has this namespace."""

    cluster: Cluster
    namespace: str
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        own = self.folder / "kubeconfig"
        if not own.exists():
            shutil.copyfile(self.cluster.kubeconfig, own)
            self.cluster.kubectl(
                "config", "set-context", "--current", f"--namespace={self.namespace}", "--kubeconfig", str(own)
            )
        kubectl = self.cluster.env()["PATH"]
        path = f"{kubectl}:{os.environ['PATH']}"
        python_path = os.pathsep.join(sys.path)
        return {**os.environ, "KUBECONFIG": str(own), "PATH": path, "PYTHONPATH": python_path, "COLUMNS": "200"}

    def ork(self, *arguments: str, code: int = 0, given: str | None = None, **env: str) -> Done:
        command = [sys.executable, "-m", "orkhaven.cli.app", *arguments]
        done = subprocess.run(
            command, env={**self.env, **env}, input=given or "", capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def get(self, kind: str, name: str) -> Body | None:
        path = f"/apis/{cli_world.API_VERSION}/namespaces/{self.namespace}/{kind}/{name}"
        found: Body | None = self.cluster.api.get(path)
        return found


@pytest.fixture
def user(cluster: Cluster, namespace: str, tmp_path: Path) -> User:
    return User(cluster, namespace, tmp_path)


@pytest.fixture
def covid(user: User) -> list[Body]:
    bodies = [*cli_world.covid(), cli_world.finished("broken", failed=1)]
    return [cli_world.put(user.cluster.api, body) for body in cli_world.moved(bodies, user.namespace)]


def test_verbs_that_read(user: User, covid: list[Body]) -> None:
    assert "5/24" in user.ork("status").stdout
    assert user.namespace in user.ork("status", "-A").stdout
    assert json.loads(user.ork("status", "-l", "team=ct", "-o", "json").stdout)[0]["metadata"]["name"] == "covid"
    assert user.ork("status", "-l", "team=other").stderr.startswith("no sweeps in namespace")
    assert "17 not made yet" in user.ork("status", "covid").stdout
    assert "covid-1b2c3d4e5f" in user.ork("top", "covid").stdout.splitlines()[1]
    assert "\\toprule" in user.ork("top", "covid", "-o", "latex").stdout
    assert "2 x InvalidParams" in user.ork("failures", "covid").stdout
    assert len(user.ork("export", "covid", "-o", "csv").stdout.splitlines()) == 8
    assert "loss.name" in user.ork("describe", "covid-3d4e5f6a7b").stdout
    assert "params.optimizer.lr" in user.ork("diff", "covid-0a1b2c3d4e", "covid-2c3d4e5f6a").stdout
    assert yaml.safe_load(user.ork("describe", "covid-3d4e5f6a7b", "-o", "yaml").stdout)["kind"] == "Experiment"


def test_why_shows_the_events(user: User, covid: list[Body]) -> None:
    waiting = next(body for body in covid if body["metadata"]["name"] == "covid-6a7b8c9d0e")
    event = cli_world.event(waiting, "WaitingForGpus", "0 of 4 GPUs are free", kind="Warning", count=3)
    user.cluster.api.call("POST", f"/api/v1/namespaces/{user.namespace}/events", event)
    assert "0 of 4 GPUs are free" in user.ork("why", "covid-6a7b8c9d0e").stdout.split("Events")[1]


def test_the_queue_and_the_gpus_are_read_with_the_selectors_of_a_real_api_server(user: User, covid: list[Body]) -> None:
    found = json.loads(user.ork("queue", "-o", "json").stdout)
    assert [row["experiment"] for row in found["runs"]] == ["covid-6a7b8c9d0e"]
    assert user.namespace in user.ork("queue", "-A").stdout
    seen = json.loads(user.ork("gpus", "-o", "json").stdout)
    assert seen["notes"] == []
    told = json.loads(user.ork("why", "covid-6a7b8c9d0e", "-o", "json").stdout)
    assert "asks for" in told["standing"]
    assert "cluster" in told["standing"]


def test_submit_checks_counts_and_applies(user: User) -> None:
    file = str(EXAMPLES / "quickstart.yaml")
    assert "nothing was kept" in user.ork("submit", file, "--no-check", "--dry-run").stdout
    assert user.get("sweeps", "quickstart") is None
    assert "8 trials: 8 new" in user.ork("submit", file, "--no-check").stdout
    made = user.get("sweeps", "quickstart")
    assert made is not None
    assert "kubectl-ork" in {entry["manager"] for entry in made["metadata"]["managedFields"]}
    again = user.ork("submit", file, "--no-check")
    assert "applied" in again.stdout
    refused = user.ork("submit", file, "--no-check", "--set", "epochs=20", code=1)
    assert "immutable: all trials have to share it; make a new Sweep" in refused.stderr
    wrong = user.ork(
        "submit", "-", code=1, given="apiVersion: orkhaven.io/v1alpha1\nkind: Sweep\nmetadata: {name: a}\n"
    )
    assert "spec: is missing" in wrong.stderr


def test_submit_watches_to_the_end(user: User) -> None:
    text = json.dumps(
        {k: v for k, v in cli_world.finished("short").items() if k != "status"} | {"metadata": {"name": "short"}}
    )
    command = [sys.executable, "-m", "orkhaven.cli.app", "submit", "-", "--watch"]
    with subprocess.Popen(command, env=user.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        run.stdin.write(text)
        run.stdin.close()
        lines = [run.stdout.readline() for _ in range(3)]
        assert lines[2].startswith("short: Pending")
        path = f"/apis/{cli_world.API_VERSION}/namespaces/{user.namespace}/sweeps/short/status"
        user.cluster.api.patch(path, {"status": cli_world.finished("short", failed=2)["status"]})
        assert run.stdout.read().startswith("short: Succeeded 4/4, 0 running, 2 failed")
        assert run.wait(30) == 3


def test_suspend_resume_rerun_cancel(user: User, covid: list[Body]) -> None:
    def suspended() -> Any:
        body = user.get("sweeps", "covid")
        assert body is not None
        return body["spec"]["suspend"]

    user.ork("suspend", "covid")
    assert suspended()
    user.ork("resume", "sweep/covid")
    assert not suspended()
    user.ork("rerun", "covid-3d4e5f6a7b", "--set", "loss.name=dice")
    made = user.get("experiments", "covid-3d4e5f6a7b-r1")
    assert made is not None
    assert made["spec"]["params"]["loss"] == {"name": "dice"}
    assert "--yes" in user.ork("cancel", "covid", code=1).stderr
    user.ork("cancel", "covid", "--yes")
    assert user.get("sweeps", "covid") is None


def test_wait_says_how_it_ended(user: User, covid: list[Body]) -> None:
    assert "1 failed" in user.ork("wait", "broken", code=3).stdout
    assert "not within 1 s; now: covid: Running 5/24" in user.ork("wait", "covid", "--timeout", "1s", code=1).stderr


def test_what_is_wrong_is_a_sentence(user: User, covid: list[Body], kubectl: Callable[..., str]) -> None:
    assert f"there is no Sweep 'nope' in namespace '{user.namespace}'" in user.ork("status", "nope", code=1).stderr
    assert "no sweeps in namespace 'elsewhere'" in user.ork("status", "-n", "elsewhere").stderr
    assert "context" in user.ork("status", "--context", "nope", code=1).stderr
    assert "kubectl knows no cluster" in user.ork("status", KUBECONFIG="/nonexistent", code=1).stderr
    away = user.folder / "away"
    away.write_text(Path(user.env["KUBECONFIG"]).read_text().replace(_server(user), "https://127.0.0.1:1"))
    assert "no answer from the cluster" in user.ork("status", "--kubeconfig", str(away), code=1).stderr
    forbidden = user.ork("status", "--as", "eve", code=1).stderr
    assert 'User "eve" cannot list resource "sweeps"' in forbidden
    assert "ClusterRole view" in forbidden
    assert "cannot be reached" in user.ork("top", "covid", "--filter", "state == 1", code=1).stderr
    token = user.ork("top", "covid", "--filter", "x", ORKHAVEN_HUB="http://127.0.0.1:9", code=1).stderr
    assert "client certificate" in token
    assert "ORKHAVEN_SERVICE_ACCOUNT" in token
    assert "kubectl is not on PATH" in user.ork("status", PATH="/nonexistent", code=1).stderr


def _server(user: User) -> str:
    config = yaml.safe_load(Path(user.env["KUBECONFIG"]).read_text())
    return str(config["clusters"][0]["cluster"]["server"])


def test_completion_knows_the_names(user: User, covid: list[Body]) -> None:
    def complete(*words: str) -> list[str]:
        command = [sys.executable, "-c", "from orkhaven.cli.complete import main; main()", *words]
        return subprocess.run(command, env=user.env, capture_output=True, text=True, check=True).stdout.split()

    assert complete("top", "c") == ["covid", ":4"]
    assert complete("describe", "covid-0") == ["covid-0a1b2c3d4e", ":4"]
    assert complete("top", "-n", "elsewhere", "") == [":4"]


def test_versions_are_asked_for(user: User) -> None:
    told = json.loads(user.ork("version", "-o", "json").stdout)
    assert told["client"] == "0.1.0"
    assert told["kubernetes"].startswith("v1.")
    assert told["hub"] is None


def test_an_imported_run_has_ended_and_the_operator_leaves_it_alone(user: User, tmp_path: Path) -> None:
    place = tmp_path / "savedir" / "0f1e2d3c4b5a"
    place.mkdir(parents=True)
    (place / "exp_dict.json").write_text(json.dumps({"lr": 0.001, "dropout": None}))
    (place / "score_list.pkl").write_bytes(pickle.dumps([{"epoch": 1, "dice": 0.5}, {"epoch": 2, "dice": 0.625}]))
    operator = OperatorProcess(user.cluster, tmp_path, namespaces=user.namespace).start()
    try:
        operator.wait_leading()
        user.ork("import-haven", str(place.parent), "--metric", "dice", "--apply")
        made = user.get("experiments", "haven-0f1e2d3c4b")
        # Another run that the operator has to look at: by then it has looked at the imported one too.
        user.ork("rerun", "haven-0f1e2d3c4b", "--seed", "1")
        deadline = time.monotonic() + 60
        while not (user.get("experiments", "haven-0f1e2d3c4b-r1") or {}).get("status"):
            assert time.monotonic() < deadline, operator.tail()
            time.sleep(0.1)
    finally:
        operator.stop()
    after = user.get("experiments", "haven-0f1e2d3c4b")
    assert made is not None
    assert after is not None
    assert after["status"]["state"] == "Succeeded"
    assert after["status"]["objective"] == {"value": 0.625, "step": 2}
    assert after["spec"]["params"] == {"lr": 0.001, "dropout": None}
    jobs = user.cluster.api.call("GET", f"/apis/batch/v1/namespaces/{user.namespace}/jobs")["items"]
    assert not [job for job in jobs if job["metadata"]["name"].startswith("haven-0f1e2d3c4b-1")]


# --- with a hub ---


@pytest.fixture
def hub(user: User, covid: list[Body], tmp_path: Path) -> Iterator[dict[str, str]]:
    """A hub whose store has curves of the sweep's runs; the environment that leads to it."""
    url = f"sqlite:///{tmp_path}/hub.db"
    store = open_store(url, max_metrics_per_run=100)
    for body in covid:
        value = (body["status"].get("objective") or {}).get("value")
        if body["kind"] == "Experiment" and value:
            points = [(step, value * step / 10) for step in range(1, 11)]
            lines = [Line(at, 1, at, at, 1_790_000_000.0 + at, 10, (("val/dice", one),)) for at, one in points]
            store.ingest.write([Post(identity_of(body), tuple(lines))], now=1_790_000_100.0)
    store.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "KUBECONFIG": str(user.cluster.kubeconfig),
        "ORKHAVEN_HUB_HOST": "127.0.0.1",
        "ORKHAVEN_HUB_PORT": str(port),
        "ORKHAVEN_HUB_DATABASE_URL": url,
    }
    for name, arguments in (
        ("serviceaccount", ("reader",)),
        ("rolebinding", ("reader", "--clusterrole=cluster-admin", f"--serviceaccount={user.namespace}:reader")),
    ):
        user.cluster.kubectl("create", name, "-n", user.namespace, *arguments)
    token = user.cluster.kubectl("create", "token", "-n", user.namespace, "reader").strip()
    with open(tmp_path / "hub.log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "orkhaven", "hub"], env={**user.env, **settings}, stderr=log)
    try:
        deadline = time.monotonic() + 60
        headers = {"Authorization": f"Bearer {token}"}
        board = f"http://127.0.0.1:{port}/api/v1/namespaces/{user.namespace}/sweeps/covid/leaderboard"
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(board, headers=headers).status_code == 200:
                    break
            assert process.poll() is None, (tmp_path / "hub.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "hub.log").read_text()
            time.sleep(0.1)
        yield {"ORKHAVEN_HUB": f"http://127.0.0.1:{port}", "ORKHAVEN_TOKEN": token}
    finally:
        process.terminate()
        process.wait(30)


def test_the_hub_filters_and_ranks(user: User, hub: dict[str, str]) -> None:
    done = user.ork(
        "top", "covid", "--filter", 'state == "Succeeded"', "--sort", "params.optimizer.lr", "-o", "json", **hub
    )
    rows = json.loads(done.stdout)
    assert rows[0]["experiment"] == "covid-2c3d4e5f6a"
    assert len(rows) == 3
    assert "[1]" not in user.ork("top", "covid", "--filter", "nonsense <", code=1, **hub).stdout
    by_account = {"ORKHAVEN_HUB": hub["ORKHAVEN_HUB"], "ORKHAVEN_SERVICE_ACCOUNT": "reader"}
    assert "covid-1b2c3d4e5f" in user.ork("top", "covid", "-k", "50", **by_account).stdout
    refused = user.ork("top", "covid", "-k", "50", code=1, **{**hub, "ORKHAVEN_TOKEN": "forged"})
    assert "the hub refuses" in refused.stderr


def test_the_notebook_runs(user: User, hub: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for name, value in {**user.env, **hub, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(EXAMPLES / "results.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, startup_timeout=180, kernel_name="python3").execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = ["".join(str(out.get("data", out)) for out in cell.outputs) for cell in code]
    assert "5/24" in shown[1] or "<Sweep covid: Running" in shown[1]
    assert shown[2].index("covid-1b2c3d4e5f") < shown[2].index("covid-0a1b2c3d4e")
    assert "covid-2c3d4e5f6a" in shown[3]
    assert "covid-1b2c3d4e5f" not in shown[3]
    assert any("image/png" in out.get("data", {}) for out in code[4].outputs)
    assert "InvalidParams" in shown[6]
