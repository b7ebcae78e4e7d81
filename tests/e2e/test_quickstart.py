"""The examples as they stand: the quickstart on real CT slices where they are, the random search on the phantom.

And what the documentation shows, typed as it stands.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import PAGES, STORY, commands
from tests.e2e.conftest import CT_DATA
from tests.e2e.user import User, condition
from tools.deploy import ROOT, Deployment

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="session")
def phantom(deployment: Deployment, worker_id: str) -> Path:
    folder = deployment.cluster.shared / f"phantom-{worker_id}"
    command = [
        sys.executable,
        "-m",
        "ctseg",
        "phantom",
        str(folder),
        "--patients",
        "6",
        "--slices",
        "6",
        "--size",
        "96",
    ]
    subprocess.run(command, check=True)
    return folder


class TestQuickstart:
    """examples/quickstart.yaml: the whole path of the first hour with Orkhaven."""

    @pytest.fixture
    def data(self, request: pytest.FixtureRequest) -> Path:
        if CT_DATA.is_dir():
            return CT_DATA / "covid-semiseg"
        folder: Path = request.getfixturevalue("phantom")
        return folder

    def test_quickstart_ends_with_a_leader_and_one_explained_failure(self, user: User) -> None:
        user.apply_file(EXAMPLES / "quickstart.yaml")
        finished = user.wait_finished("sweep", "quickstart", timeout_s=900)
        status = finished["status"]
        assert status["state"] == "Succeeded", status
        assert status["progress"] == "8/8"
        assert (status["trials"]["succeeded"], status["trials"]["failed"]) == (7, 1)

        board = status["leaderboard"]
        assert [row["value"] for row in board] == sorted((row["value"] for row in board), reverse=True)
        assert board[0] == status["best"]
        if CT_DATA.is_dir():
            assert board[0]["value"] > 0.27, "an all-foreground mask alone gives 0.27"
        assert set(board[0]["params"]) >= {"model.architecture", "loss.name"}

        (cluster,) = status["failureClusters"]
        assert cluster["reason"] == "InvalidParams"
        assert "loss.gamma" in cluster["message"]
        assert cluster["suggestion"]

        leader = user.get("experiment", board[0]["experiment"])
        assert condition(leader["status"], "Succeeded") == "True"
        assert leader["status"]["metrics"]["val/dice"]["best"] == pytest.approx(board[0]["value"], rel=1e-5)
        assert leader["status"]["attempts"][0]["gpuSeconds"] > 0

        table = user.kubectl("get", "sweeps,experiments", "-o", "wide")
        for column in ("STATE", "PROGRESS", "BEST", "REASON", "OBJECTIVE", "GPUS"):
            assert column in table, table

        for line in commands("kubectl", [page for page in PAGES if page != STORY]):
            done = user.type(line)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
            assert done.stdout.strip(), f"{line} prints nothing"


class TestOnThePhantom:
    @pytest.fixture
    def data(self, phantom: Path) -> Path:
        return phantom

    def test_a_random_search_is_drawn_and_ranked(self, user: User) -> None:
        user.apply_file(EXAMPLES / "random-search.yaml")
        status = user.wait_finished("sweep", "random-search", timeout_s=900)["status"]
        assert status["state"] == "Succeeded", json.dumps(status, indent=1)
        trials = user.list("experiments", "orkhaven.io/sweep=random-search")
        assert len(trials) == status["trials"]["total"]
        for trial in trials:
            loss = trial["spec"]["params"]["loss"]
            assert ("gamma" in loss) == (loss["name"] == "focal")
