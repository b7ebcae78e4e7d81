"""Several processes of one training: the sum of their gradients is that of one, and they end together.

Two processes on the CPU, by gloo. They come from a server that has imported torch once.
"""

from __future__ import annotations

import copy
import json
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import orkrun
from ctseg import checkpoint, config, launch
from ctseg.data.load import load
from ctseg.device import set_up
from ctseg.ranks import ALONE, Ranks, Several
from ctseg.training import memory
from ctseg.training.loop import Training
from tests.unit.ctseg.conftest import Pod
from tests.unit.ctseg.test_train import OBJECTIVE, series, state, tiny
from tests.unit.ctseg.test_training import gradient, holding, one_step

Work = Callable[[Ranks, Path], None]


def started(works: list[Work], rank: int, count: int, folder: Path) -> None:
    """One process: does everything in its turn, each time as one of a new group, and keeps what each ended by."""
    torch.set_num_threads(1)
    for work in works:
        place = folder / work.__name__
        place.mkdir(exist_ok=True)
        ranks = Several(rank, count, torch.device("cpu"), url=f"file://{place / 'store'}")
        code: Any = 0
        try:
            work(ranks, place)
        except SystemExit as ended:
            code = ended.code
        (place / f"{rank}.code").write_text(str(code))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have done all that this module is about."""
    folder = tmp_path_factory.mktemp("together")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["ctseg.training.loop"])
    works = [steps, short_of_memory_and_sees_sigterm, is_not_finite, fails, dies]
    processes = [server.Process(target=started, args=(works, rank, 2, folder)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 9]
    return folder


def codes(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(folder.glob("*.code"))]


# --- one step ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "micro", "ranks", "sizes"),
    [
        (8, 8, 2, [4, 4]),
        (8, 3, 2, [2, 2, 2, 2]),
        (5, 8, 4, [2, 1, 1, 1]),
        (2, 8, 4, [1, 1, 0, 0]),
        (7, 2, 1, [2] * 3 + [1]),
    ],
    ids=str,
)
def test_all_processes_have_as_many_parts(count: int, micro: int, ranks: int, sizes: list[int]) -> None:
    parts = memory.parts(count, micro, ranks=ranks)
    assert [part.stop - part.start for part in parts] == sizes
    assert [i for part in parts for i in range(count)[part]] == list(range(count))


CASES = {"whole": {"micro": 8}, "in parts": {"micro": 2}, "fp16": {"micro": 8, "precision": "fp16"}}
CASES |= {"fewer slices than processes": {"micro": 1, "count": 1}, "out of memory": {"micro": 8, "holds": 2}}


def steps(ranks: Ranks, folder: Path) -> None:
    found = {}
    with ranks:
        for name, case in CASES.items():
            case = dict(case)
            if ranks.rank == 0:
                case.pop("holds", None)  # the other one alone is short of memory
            model, progress, loss, _ = one_step(case.pop("micro"), ranks=ranks, **case)
            found[name] = {"gradient": gradient(model), "loss": loss, "micro": progress.micro_batch}
    torch.save(found, folder / f"{ranks.rank}.pt")


def test_the_sum_of_the_processes_gradients_is_that_of_one(done: Path) -> None:
    first, second = (torch.load(done / "steps" / f"{rank}.pt") for rank in range(2))
    for name, case in CASES.items():
        case = {key: value for key, value in case.items() if key != "holds"}
        model, _, loss, _ = one_step(case.pop("micro"), **case)
        assert torch.equal(first[name]["gradient"], second[name]["gradient"]), name
        assert first[name]["loss"] == second[name]["loss"] == pytest.approx(loss, rel=1e-3 if name == "fp16" else 1e-6)
        tolerance = {"rtol": 0.02, "atol": 1e-3} if name == "fp16" else {"rtol": 1e-5, "atol": 1e-7}
        torch.testing.assert_close(first[name]["gradient"], gradient(model), **tolerance, msg=name)
    assert first["out of memory"]["micro"] == second["out of memory"]["micro"] == 2


# --- a whole training -------------------------------------------------------------------------------------------------

PARAMS = tiny(
    epochs=2,
    device="cpu",
    loss={"name": "dice_ce", "over": "slice"},
    optimizer={"name": "sgd", "lr": 0.01},
    ema={"decay": 0.5, "warmup": False},
)
"""The loss of each slice: a fraction over the batch is one over each part instead."""


def without_luck(training: Training) -> None:
    """Batch normalisation by its running statistics and no dropout: what differs by which slices come together."""
    for module in training.model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0


def trained(
    ranks: Ranks,
    folder: Path,
    *,
    prepare: Callable[[Training], None] = lambda _: None,
    at: dict[int, Any] | None = None,
) -> None:
    """As `ctseg train` does it. `at`: what happens in this process after so many steps."""
    samples = load(config.parse(PARAMS).data, mount=None, workers=1)
    local = orkrun.local_config(PARAMS, output=folder / "run", objective=OBJECTIVE)
    with orkrun.run(local, environ={}, reports=ranks.first) as run, ranks:
        training = Training(run, config.parse(run.params), samples, ranks=ranks)
        without_luck(training)
        prepare(training)
        original = training.train_step

        def step() -> None:
            original()
            (at or {}).get(training.progress.step, lambda _: None)(training)

        training.train_step = step  # type: ignore[method-assign]
        training.run()


def interrupt(training: Training) -> None:
    training.run_.interrupted = True


def short_of_memory_and_sees_sigterm(ranks: Ranks, folder: Path) -> None:
    second = ranks.rank == 1
    prepare = (lambda training: holding(training, 1)) if second else (lambda _: None)
    trained(ranks, folder, prepare=prepare, at={5: interrupt} if second else {})


def is_not_finite(ranks: Ranks, folder: Path) -> None:
    def poison(training: Training) -> None:
        if ranks.rank == 1:
            next(training.model.parameters()).register_hook(lambda grad: grad * float("nan"))

    trained(ranks, folder, prepare=poison)


def fails(ranks: Ranks, folder: Path) -> None:
    def fail(_: Training) -> None:
        raise ValueError("a broken GPU")

    trained(ranks, folder, at={2: fail} if ranks.rank == 1 else {})


def dies(ranks: Ranks, folder: Path) -> None:
    trained(ranks, folder, at={2: lambda _: os._exit(9)} if ranks.rank == 1 else {})


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run/result.json").read_text())["record"]
    return found


def test_two_processes_learn_what_one_does_and_stop_together_and_one_goes_on(tmp_path: Path, done: Path) -> None:
    """Without memory in the first step and with SIGTERM after the fifth of six, in the second process only."""
    start: dict[str, torch.Tensor] = {}
    trained(ALONE, tmp_path, prepare=lambda training: start.update(copy.deepcopy(training.model.state_dict())))
    folder = done / "short_of_memory_and_sees_sigterm"
    assert codes(folder) == [143, 143]
    assert record(folder)["outcome"] == "Interrupted"
    progress = state(folder / "run")["progress"]
    assert (progress["step"], progress["micro_batch"], progress["out_of_memory"]) == (5, 1, 1)
    assert list(series(folder / "run")) == [1], "only the first reports"
    trained(ALONE, folder)
    for part in ("model", "ema"):
        mine, theirs = state(folder / "run")[part], state(tmp_path / "run")[part]
        # What was learnt, all of it: a rounding that turns a ReLU over is large in few numbers.
        apart, learnt = (
            math.sqrt(sum(float((one[name] - other[name]).float().square().sum()) for name in one))
            for one, other in ((mine, theirs), (theirs, start))
        )
        assert apart < 1e-3 * learnt, part
    mine, theirs = series(folder / "run"), series(tmp_path / "run")
    for step in (1, 2):
        assert mine[step].pop("micro_batch_size") == 1
        assert mine[step] == pytest.approx(theirs[step], rel=1e-3)


@pytest.mark.parametrize(
    ("work", "ended", "kind", "says"),
    [
        (is_not_finite, [70, 70], "orkrun.Diverged", "the gradient's norm is nan at step 0"),
        (fails, [70, 70], "ctseg.RankLost", "process 1 of 2 ended by ValueError: a broken GPU"),
        (dies, [75], "ctseg.RankLost", "one of the 2 processes of this training has ended without a word"),
    ],
    ids=["not finite", "an error", "killed"],
)
def test_what_ends_one_ends_both_and_the_record_says_it(
    done: Path, work: Work, ended: list[int], kind: str, says: str
) -> None:
    assert codes(done / work.__name__) == ended
    failure = record(done / work.__name__)["failure"]
    assert failure["type"] == kind
    assert failure["message"].startswith(says)


# --- the launcher -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 64", 64),
        ("[ $RANK = 1 ] && exit 5; exec sleep 60", 5),
        ("[ $RANK = 1 ] && kill -KILL $$; trap 'exit 70' TERM; while :; do sleep 0.1; done", 70),
        ("[ $RANK = 1 ] && kill -KILL $$; trap '' TERM; while :; do sleep 0.1; done", 137),
        ("[ $RANK = 0 ] && exit 143; sleep 0.3; exit 143", 143),
        ("[ $RANK = 0 ] && exit 0; exec sleep 60", 0),
    ],
    ids=["all well", "all refuse", "one fails", "one is killed", "the other hangs", "interrupted", "one stays"],
)
def test_the_exit_code_is_the_first_processs_or_what_killed_it(
    script: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "GRACE", 1.0)
    assert launch.run(2, ["sh", "-c", script]) == code


def test_sigterm_reaches_every_process(tmp_path: Path) -> None:
    script = f"trap 'exit 143' TERM; touch {tmp_path}/$RANK.$WORLD_SIZE; while :; do sleep 0.1; done"

    def kill() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            threading.Event().wait(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=kill).start()
    assert launch.run(2, ["sh", "-c", script]) == 143
    assert {path.name for path in tmp_path.iterdir()} == {"0.2", "1.2"}


@pytest.mark.parametrize(
    ("params", "environ", "count"),
    [({}, {}, 1), ({"devices": 3}, {}, 3), ({"devices": 3}, {"RANK": "0", "WORLD_SIZE": "2"}, 1)],
    ids=["no GPUs here", "asked for", "started by torchrun"],
)
def test_how_many_are_started(params: dict[str, Any], environ: dict[str, str], count: int) -> None:
    assert launch.processes(config.parse({"device": "cpu", **params}), environ) == count


@pytest.mark.parametrize(("files", "seen", "count"), [(0, 0, 1), (1, 1, 1), (4, 4, 4), (4, 1, 1), (4, 0, 1)], ids=str)
def test_auto_is_a_process_for_each_gpu_that_is_visible(
    monkeypatch: pytest.MonkeyPatch, files: int, seen: int, count: int
) -> None:
    """`files`: devices of the pod; `seen`: what torch makes of them, CUDA_VISIBLE_DEVICES and the driver considered."""
    monkeypatch.setattr(launch.glob, "glob", lambda _: [f"/dev/nvidia{i}" for i in range(files)])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    assert launch.processes(config.parse({}), {}) == count
    assert launch.processes(config.parse({"device": "cpu"}), {}) == 1
    assert launch.processes(config.parse({"devices": 1}), {}) == 1


def test_several_machines_are_refused() -> None:
    with pytest.raises(orkrun.InvalidParams, match="one machine"):
        launch.place({"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"})


def test_a_pod_with_several_processes_is_interrupted_as_one(pod: Pod) -> None:
    pod.config["params"] = tiny(devices=2, device="cpu", epochs=1000)
    process = pod.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert pod.record()["outcome"] == "Interrupted"
    assert checkpoint.load(pod.output / checkpoint.LATEST)


def test_gpus_that_are_not_there_are_refused_by_name() -> None:
    with pytest.raises(orkrun.InvalidParams, match="devices: 2 processes need as many GPUs, torch sees 0 here"):
        set_up(config.parse({"devices": 2, "threads": 1}), launch.Place(0, 2))
