"""Each verb of `kubectl ork` on a real sweep: typed by a user of the namespace, the hub through a port-forward."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.user import User, sweep

Done = subprocess.CompletedProcess[str]


@dataclass
class Shell:
    """`kubectl ork` in the user's namespace, showing the hub a token of a service account that may view it."""

    user: User

    def __post_init__(self) -> None:
        self.user.kubectl("create", "serviceaccount", "reader")
        here = f"--serviceaccount={self.user.namespace}:reader"
        self.user.kubectl("create", "rolebinding", "reader", "--clusterrole=view", here)
        cluster = self.user.deployment.cluster.env()
        self.env = {
            **os.environ,
            **cluster,
            "PATH": f"{cluster['PATH']}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ORKHAVEN_SERVICE_ACCOUNT": "reader",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orkhaven.cli.app", *arguments, "-n", self.user.namespace]

    def __call__(self, *arguments: str, code: int = 0, given: str = "") -> str:
        done = subprocess.run(
            self.command(*arguments),
            env=self.env,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}\n{self.user.report()}"
        return done.stdout


@pytest.fixture
def ork(user: User) -> Shell:
    return Shell(user)


BODY = sweep(
    "typed",
    [
        {"name": "loss.name", "values": ["dice_ce", "focal"]},
        {"name": "loss.gamma", "values": [2.0, -2.0], "when": {"loss.name": ["focal"]}},
    ],
    search={"algorithm": "Grid"},
)


def test_a_sweep_from_submit_to_cancel(ork: Shell, user: User) -> None:
    told = ork("submit", "-", "--watch", given=json.dumps(BODY), code=3)
    assert "3 trials: 3 new" in told
    assert told.splitlines()[-1].startswith("typed: Succeeded 3/3, 0 running, 1 failed")
    assert "3/3" in ork("status")
    assert "InvalidParams" in ork("status", "typed")
    ork("wait", "typed", code=3)

    board = json.loads(ork("top", "typed", "-o", "json"))
    assert [row["rank"] for row in board] == [1, 2]
    best, second = (row["experiment"] for row in board)
    by_hub = json.loads(ork("top", "typed", "--filter", 'params.loss.name == "focal"', "-o", "json"))
    assert {row["state"] for row in by_hub} == {"Succeeded", "Failed"}

    assert "1 x InvalidParams" in ork("failures", "typed")
    failed = next(
        one["metadata"]["name"]
        for one in user.list("experiments", "orkhaven.io/sweep=typed")
        if one["status"]["state"] == "Failed"
    )
    assert "loss.gamma" in ork("why", failed)
    assert "Attempts" in ork("describe", failed)
    assert "params.loss.name" in ork("diff", best, second)
    assert len(ork("export", "typed", "-o", "csv").splitlines()) == 4

    assert ork("logs", best).strip()
    user.kubectl("delete", "jobs,pods", "--all", "--wait=true")
    assert ork("logs", best).strip(), "the hub has kept it"

    assert "the same run" not in ork("rerun", failed, "--set", "loss.gamma=1.0", "--apply")
    assert "Succeeded" in ork("wait", f"{failed}-r1")
    ork("cancel", "typed", "--yes")
    assert "typed" not in ork("status")


def test_suspend_gives_the_gpus_back_and_resume_goes_on(ork: Shell, user: User) -> None:
    long = sweep(
        "long", [{"name": "optimizer.lr", "values": [1e-3]}], params={"epochs": 400}, search={"algorithm": "Grid"}
    )
    ork("submit", "-", given=json.dumps(long))
    user.wait("sweep", "long", lambda status: (status.get("trials") or {}).get("running") == 1)
    ork("suspend", "long")
    ork("wait", "long", "--for", "Suspended", "--timeout", "2m")
    user.wait("sweep", "long", lambda status: status.get("state") == "Suspended")
    ork("resume", "long")
    user.wait("sweep", "long", lambda status: (status.get("trials") or {}).get("running") == 1)
    ork("cancel", "long", "--yes")


def test_the_rest_of_the_verbs(ork: Shell, tmp_path: Path) -> None:
    told = json.loads(ork("version", "-o", "json"))
    assert all(told[part] for part in ("client", "kubernetes", "operator", "hub")), told
    file = tmp_path / "typed.json"
    file.write_text(json.dumps(BODY))
    done = subprocess.run(
        [sys.executable, "-m", "orkhaven.cli.app", "lint", str(file)],
        env=ork.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "loss.gamma" in done.stdout) == (1, True)
    place = tmp_path / "savedir" / "abc"
    place.mkdir(parents=True)
    (place / "exp_dict.json").write_text('{"lr": 0.1}')
    (place / "score_list.pkl").write_bytes(pickle.dumps([{"epoch": 1, "dice": 0.5}]))
    ork("import-haven", str(place.parent), "--metric", "dice", "--apply")
    assert "imported from Haven" in ork("describe", "haven-abc", "-o", "yaml")


def test_the_dashboard_is_forwarded_without_a_token_in_its_address(ork: Shell) -> None:
    command = ork.command("dashboard", "--no-browser")
    with subprocess.Popen(command, env=ork.env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        try:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
            assert httpx.get(f"{url}healthz").status_code == 200
        finally:
            run.terminate()
