"""A run as the kubelet sees it: exit codes, the termination record, resume, signals."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from tests.unit.orkrun.conftest import Hub, Pod, wait_for

REPORT = """
with orkrun.run() as run:
    for step in (1, 2, 3):
        run.report(step, {"val/dice": [0.5, 0.7, 0.6][step - 1], "train/loss": 1 / step}, total_steps=3)
"""


def test_a_finished_run_leaves_its_result_in_the_termination_record(pod: Pod) -> None:
    code, errors = pod.run(REPORT)
    assert (code, errors) == (0, "")
    assert pod.record() == {
        "version": 1,
        "outcome": "Succeeded",
        "objective": {"value": 0.7, "step": 2},
        "metrics": {
            "val/dice": {"last": 0.6, "best": 0.7, "bestStep": 2},
            "train/loss": {"last": 1 / 3, "best": 1 / 3, "bestStep": 3},
        },
        "step": 3,
        "totalSteps": 3,
    }


def test_the_run_sees_what_the_operator_wrote(pod: Pod) -> None:
    code, errors = pod.run(
        """
with orkrun.run() as run:
    assert run.params == {"lr": 0.1} and run.seed == 3 and run.attempt == 1
    assert run.data[0]["mountPath"] == "/data" and run.objective["metric"] == "val/dice"
    assert run.output.is_dir() and not run.interrupted
"""
    )
    assert code == 0, errors


@pytest.mark.parametrize(
    ("raised", "code", "kind", "message"),
    [
        ('orkrun.InvalidParams("optimizer.lr", "is NaN")', 64, "orkrun.InvalidParams", "optimizer.lr: is NaN"),
        ('orkrun.DataError("/data/a.png", "is truncated")', 65, "orkrun.DataError", "/data/a.png: is truncated"),
        ('orkrun.Diverged("the loss is nan")', 70, "orkrun.Diverged", "the loss is nan"),
        ('orkrun.TryAgain("later")', 75, "orkrun.TryAgain", "later"),
        ('OSError(28, "No space left on device")', 73, "OSError", "[Errno 28] No space left on device"),
        ('OSError(30, "Read-only file system")', 73, "OSError", "[Errno 30] Read-only file system"),
        ('PermissionError(13, "Permission denied", str(run.output / "x"))', 73, "PermissionError", None),
        ('PermissionError(13, "Permission denied", "/data/x")', 70, "PermissionError", None),
        ("ModuleNotFoundError(\"No module named 'monai'\")", 70, "ModuleNotFoundError", "No module named 'monai'"),
        ("KeyError('x')", 70, "KeyError", "'x'"),
        ("RuntimeError()", 70, "RuntimeError", "RuntimeError"),
        ("SystemExit(9)", 9, "SystemExit", "9"),
        ("SystemExit('text')", 70, "SystemExit", "text"),
    ],
)
def test_a_failure_has_its_exit_code_and_its_qualified_name(
    pod: Pod, raised: str, code: int, kind: str, message: str | None
) -> None:
    returned, errors = pod.run(
        f"with orkrun.run() as run:\n    run.report(1, {{'val/dice': 0.4}})\n    raise {raised}\n"
    )
    record = pod.record()
    assert returned == code
    assert record["outcome"] == "Failed"
    assert record["objective"] == {"value": 0.4, "step": 1}
    assert record["failure"]["type"] == kind
    assert record["failure"]["location"] == "script.py:5 in <module>"
    if message is not None:
        assert record["failure"]["message"] == message
        assert message in errors


def test_what_a_user_did_wrong_is_said_without_a_traceback(pod: Pod) -> None:
    _, errors = pod.run('with orkrun.run():\n    raise orkrun.InvalidParams("epochs", "0 is too few")\n')
    assert errors == "orkrun.InvalidParams: epochs: 0 is too few\n"
    assert "excerpt" not in pod.record()["failure"]


def test_an_unexpected_failure_keeps_the_end_of_its_traceback(pod: Pod) -> None:
    _, errors = pod.run("def inner():\n    return {}['missing']\nwith orkrun.run():\n    inner()\n")
    failure = pod.record()["failure"]
    assert failure["location"] == "script.py:4 in inner"
    assert failure["excerpt"].endswith("KeyError: 'missing'")
    assert "Traceback" in errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not JSON"),
        ("[]", "is a JSON list"),
        ('{"version": 99}', "understands up to 1"),
        ('{"version": 1, "output": "/tmp/x", "attempt": 1, "seed": 1}', "lacks 'params'"),
        ('{"version": 1, "output": "/tmp/x", "attempt": true, "seed": 1, "params": {}}', "'attempt' is True"),
    ],
    ids=["missing", "broken", "list", "newer", "no params", "wrong type"],
)
def test_a_config_that_cannot_be_used_is_exit_78(pod: Pod, content: str | None, message: str) -> None:
    path = pod.folder / "other.json"
    if content is not None:
        path.write_text(content)
    pod.environ["ORKHAVEN_CONFIG"] = str(path)
    code, errors = pod.run(REPORT)
    assert code == 78
    assert str(path) in errors
    assert message in errors
    assert pod.record()["failure"]["type"] == "orkrun.ConfigError"


def test_an_output_that_cannot_be_written_is_exit_73(pod: Pod) -> None:
    (pod.folder / "file").write_text("")
    pod.config["output"] = str(pod.folder / "file" / "below")
    code, errors = pod.run(REPORT)
    assert code == 73
    assert "cannot be written" in errors
    assert pod.record()["failure"]["type"] == "orkrun.OutputError"


def test_the_environment_decides_about_the_output(pod: Pod) -> None:
    pod.environ["ORKHAVEN_OUTPUT"] = str(pod.folder / "elsewhere")
    assert pod.run(REPORT)[0] == 0
    assert (pod.folder / "elsewhere" / "result.json").is_file()
    assert not pod.output.exists()


def test_a_finished_run_started_again_repeats_its_record_and_trains_nothing(pod: Pod) -> None:
    pod.run(REPORT)
    first = pod.record()
    code, errors = pod.run("with orkrun.run() as run:\n    raise RuntimeError('trained again')\n")
    assert code == 0, errors
    assert pod.record() == first


def test_a_failed_run_started_again_trains(pod: Pod) -> None:
    pod.run("with orkrun.run() as run:\n    raise RuntimeError('first')\n")
    pod.config["attempt"] = 2
    assert pod.run(REPORT)[0] == 0
    assert pod.record()["objective"]["value"] == 0.7


def test_a_folder_of_another_run_is_refused(pod: Pod) -> None:
    pod.run(REPORT)
    pod.config["runHash"] = "another"
    code, errors = pod.run(REPORT)
    assert code == 78
    assert "holds another run" in errors


SHORT = "import orkrun.lifecycle\norkrun.lifecycle.FLUSH_SECONDS = 0.5\n"
WAIT = """
import time
with orkrun.run() as run:
    run.report(1, {"val/dice": 0.5}, total_steps=9)
    (run.output / "started").touch()
    while not run.interrupted:
        time.sleep(0.01)
    run.checkpointed(1, run.output / "checkpoint.pt")
    raise orkrun.Interrupted
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_flag_and_the_run_ends_as_interrupted(pod: Pod, number: signal.Signals) -> None:
    process = pod.start(WAIT)
    wait_for((pod.output / "started").exists, "the script")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert pod.record() == {
        "version": 1,
        "outcome": "Interrupted",
        "objective": {"value": 0.5, "step": 1},
        "metrics": {"val/dice": {"last": 0.5, "best": 0.5, "bestStep": 1}},
        "step": 1,
        "totalSteps": 9,
        "checkpoint": {"step": 1, "path": str(pod.output / "checkpoint.pt")},
    }


def test_a_second_live_process_in_the_folder_is_told_to_try_again(pod: Pod) -> None:
    process = pod.start(WAIT)
    wait_for((pod.output / "started").exists, "the script")
    other = Pod(pod.folder / "other", pod.config, dict(pod.environ))
    other.folder.mkdir()
    other.environ |= {
        "ORKHAVEN_CONFIG": str(other.folder / "config.json"),
        "ORKHAVEN_TERMINATION_LOG": str(other.log),
    }
    code, errors = other.run(REPORT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert code == 75
    assert f"pid {process.pid}" in errors
    assert other.record()["failure"]["type"] == "orkrun.TryAgain"
    assert process.returncode == 143, "the first one was not disturbed"


def test_a_killed_process_leaves_no_lock(pod: Pod) -> None:
    process = pod.start(WAIT)
    wait_for((pod.output / "started").exists, "the script")
    process.kill()
    process.communicate(timeout=30)
    assert pod.run(REPORT)[0] == 0


def test_bests_from_before_an_interruption_go_on_from_the_checkpoint(pod: Pod) -> None:
    script = """
import json
with orkrun.run() as run:
    state = run.output / "state.json"
    if state.exists():
        run.load_state_dict(json.loads(state.read_text()))
        run.report(2, {"val/dice": 0.3})
    else:
        run.report(1, {"val/dice": 0.8}, total_steps=2)
        state.write_text(json.dumps(run.state_dict()))
        raise orkrun.Interrupted
"""
    assert pod.run(script)[0] == 143
    pod.config["attempt"] = 2
    assert pod.run(script)[0] == 0
    record = pod.record()
    assert record["objective"] == {"value": 0.8, "step": 1}
    assert (record["step"], record["totalSteps"]) == (2, 2)


def test_metrics_reach_the_hub_with_the_pods_token(pod: Pod, hub: Hub) -> None:
    pod.environ["ORKHAVEN_URL"] = hub.url
    pod.environ["HTTP_PROXY"] = "http://127.0.0.1:1"
    assert pod.run(REPORT)[0] == 0
    assert hub.seqs() == [1, 2, 3]
    assert set(hub.tokens) == {"Bearer secret-1"}
    assert set(hub.paths) == {"/api/v1/namespaces/radiology/experiments/covid-1f0c/metrics"}
    assert hub.lines[1]["metrics"] == {"val/dice": 0.7, "train/loss": 0.5}
    assert hub.lines[1]["totalSteps"] == 3


def test_a_hub_that_is_down_changes_neither_exit_code_nor_record_and_gets_all_of_it_later(pod: Pod, hub: Hub) -> None:
    pod.environ["ORKHAVEN_URL"] = "http://127.0.0.1:1"
    code, errors = pod.run(SHORT + REPORT)
    assert code == 0
    assert "cannot be reached" in errors
    assert pod.record()["objective"]["value"] == 0.7
    pod.environ["ORKHAVEN_URL"] = hub.url
    assert pod.run("with orkrun.run():\n    raise RuntimeError\n")[0] == 0
    assert hub.seqs() == [1, 2, 3]


def test_a_hub_that_never_answers_holds_up_the_end_for_a_few_seconds_only(pod: Pod, hub: Hub) -> None:
    release = threading.Event()
    hub.answer = lambda token, lines: 200 if release.wait(60) else 500
    pod.environ["ORKHAVEN_URL"] = hub.url
    code, errors = pod.run(SHORT + REPORT)  # waits for the process to end, the hub answers after that only
    release.set()
    assert code == 0
    assert "some metrics are not sent" in errors


def test_values_that_json_cannot_say_and_values_that_are_none_do_not_stop_a_training(pod: Pod) -> None:
    code, errors = pod.run(
        """
with orkrun.run() as run:
    run.report(1, {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": "text", "e": None, "val/dice": 0.5})
    run.report(2, {"val/dice": float("nan")})
"""
    )
    assert code == 0
    assert "metric d at step 1 is no number" in errors
    line = json.loads((pod.output / "metrics-1.jsonl").read_text().splitlines()[0])
    assert line["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "val/dice": 0.5}
    record = pod.record()
    assert record["metrics"]["a"] == {"last": "NaN"}
    assert record["metrics"]["val/dice"] == {"last": "NaN", "best": 0.5, "bestStep": 1}
    assert record["objective"] == {"value": 0.5, "step": 1}


def test_without_a_cluster_everything_stays_in_the_output_folder(pod: Pod, tmp_path: Path) -> None:
    for name in ("ORKHAVEN_CONFIG", "ORKHAVEN_TERMINATION_LOG"):
        del pod.environ[name]
    pod.environ["ORKHAVEN_URL"] = "http://127.0.0.1:1"
    code, errors = pod.run(
        f"""
with orkrun.run(orkrun.local_config({{"a": 1}}, output={str(tmp_path / "local")!r})) as run:
    run.report(1, {{"loss": 0.1}})
"""
    )
    assert (code, errors) == (0, "")
    result = json.loads((tmp_path / "local" / "result.json").read_text())
    assert result["record"]["metrics"]["loss"]["best"] == 0.1
    assert pod.log.read_text() == ""
