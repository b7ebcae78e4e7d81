"""Haven's savedir: its pickles are read without running anything of them."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orkhaven.cli import pickles
from orkhaven.cli.haven import experiment, import_haven, read, summary
from orkhaven.client.errors import Forbidden, Invalid
from orkhaven.client.manifest import problems
from tests.unit.cli.test_verbs import TestSession
from tests.unit.client.fake_api import FakeApi, refusal


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/orkhaven-was-here",)


PLAIN = [{"epoch": 0, "val_dice": 0.5, "name": "a"}, {"epoch": 1, "val_dice": 0.75}]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_numbers_of_numpy_come_out_as_python_s(protocol: int) -> None:
    held = [
        {
            "f": np.float32(0.5),
            "d": np.float64(0.25),
            "i": np.int64(-3),
            "b": np.bool_(True),
            "a": np.arange(4.0),
            "t": (1, 2),
        }
    ]
    (found,) = pickles.load(pickle.dumps(held, protocol))
    assert found == {"f": 0.5, "d": 0.25, "i": -3, "b": True, "a": [0, 1, 2, 3], "t": [1, 2]}
    assert type(found["f"]) is float


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pickle.dumps(_Evil()), "system"),
        (pickle.dumps(Path("x")), "pathlib"),
        (pickle.dumps(np.array(["a"], dtype=object)), "dtype 'O8'"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"c_codecs\nencode\n(VYQ==\nVbase64\ntR.", "encoding 'base64'"),
        (b"not a pickle", "no pickle that can be read"),
        (b"", "no pickle that can be read"),
        (b"\x80\x04\x95" + b"\xff" * 8, "no pickle that can be read"),
        (pickle.dumps(np.zeros(3))[:-20] + b".", "pickle"),
    ],
)
def test_everything_else_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(pickles.Refused) as error:
        pickles.load(data)
    assert said in str(error.value)
    assert not Path("/tmp/orkhaven-was-here").exists()


@pytest.fixture
def savedir(tmp_path: Path) -> Path:
    for name, scores in (("0f1e2d3c4b5a69788796a5b4c3d2e1f0", PLAIN), ("ffee", _Evil()), ("silent", None)):
        place = tmp_path / name
        place.mkdir()
        (place / "exp_dict.json").write_text(json.dumps({"model": {"name": "unet"}, "lr": 0.001}))
        if scores is not None:
            (place / "score_list.pkl").write_bytes(pickle.dumps(scores))
    (tmp_path / "deleted").mkdir()
    return tmp_path


def test_a_savedir_is_read_with_what_is_wrong_in_it(savedir: Path) -> None:
    found = {one.id[:6]: one.problem for one in read(savedir)}
    assert found["0f1e2d"] == ""
    assert found["ffee"].startswith("score_list.pkl is refused: it holds ")
    assert found["silent"] == "no score_list.pkl: it never reported"


def test_it_becomes_a_finished_experiment(savedir: Path) -> None:
    body = experiment(next(iter(read(savedir))), {"metric": "val_dice", "direction": "Maximize"}, prefix="haven")
    assert body["metadata"]["name"] == "haven-0f1e2d3c4b"
    assert body["status"]["objective"] == {"value": 0.75, "step": 1}
    assert body["status"]["metrics"] == {"val_dice": {"last": 0.75, "best": 0.75, "bestStep": 1}}
    assert body["spec"]["suspend"], "nothing may start it before it has its status"
    assert problems(body) == []


def test_what_is_better_is_the_objective_s_word_or_the_name_s() -> None:
    scores = [{"loss": 2.0, "dice": 0.5}, {"loss": 1.0, "dice": 0.75}, {"loss": 3.0, "dice": float("nan")}]
    assert summary(scores, None) == {
        "dice": {"last": 0.75, "best": 0.75, "bestStep": 2},
        "loss": {"last": 3.0, "best": 1.0, "bestStep": 2},
    }


def _import(session: TestSession, folder: Path, **options: Any) -> int:
    return import_haven(
        session, folder, **{"metric": "val_dice", "minimize": False, "prefix": "haven", "apply": False, **options}
    )


def test_import_shows_first_makes_then_and_repeats_nothing(savedir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi()
    session = TestSession(api)
    assert _import(session, savedir) == 0
    assert not api.requests
    assert _import(session, savedir, apply=True) == 0
    assert api.objects["Experiment", "haven-0f1e2d3c4b"]["status"]["state"] == "Succeeded"
    assert _import(session, savedir, apply=True) == 0
    assert "there already" in capsys.readouterr().out
    with pytest.raises(Invalid, match="there are: epoch, name, val_dice"):
        _import(session, savedir, metric="dice")


def test_who_may_not_end_a_run_leaves_none_behind(savedir: Path) -> None:
    api = FakeApi()
    answer = api.answer

    def refuse_status(request: Any) -> Any:
        return (
            refusal(403, "Forbidden", "cannot patch status")
            if request.url.path.endswith("/status")
            else answer(request)
        )

    api.answer = refuse_status  # type: ignore[method-assign]
    with pytest.raises(Forbidden) as error:
        _import(TestSession(api), savedir, apply=True)
    assert "experiments/status" in error.value.hint
    assert not api.objects
