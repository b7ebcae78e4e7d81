"""Each verb of `kubectl ork` on a real sweep, typed by people with and without rights; read as they read it."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import pytest
import yaml

from tests.e2e.clinic import BODY, SWEEP, Clinic
from tests.e2e.user import experiment, sweep

VERBS = [
    "submit",
    "status",
    "top",
    "failures",
    "logs",
    "describe",
    "diff",
    "why",
    "queue",
    "gpus",
    "wait",
    "cancel",
    "suspend",
    "resume",
    "rerun",
    "debug",
    "export",
    "dashboard",
    "usage",
    "lint",
    "import-haven",
    "version",
]


def rows(text: str) -> list[list[str]]:
    """Cells of a table for people; columns are three spaces apart."""
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in text.splitlines()]


def test_help_and_completion_know_every_verb_and_name(clinic: Clinic) -> None:
    told = clinic.reader.ork("--help")
    assert [line.split()[0] for line in told.split("Commands:\n")[1].split("\n\n")[0].splitlines()] == VERBS

    def complete(*words: str) -> list[str]:
        # What the shell's script of `kubectl completion` asks.
        return clinic.reader.run("kubectl", "__complete", "ork", *words).stdout.splitlines()

    assert [line.split("\t")[0] for line in complete("su")] == ["submit", "suspend", ":4"]
    assert SWEEP in complete("top", "")
    assert set(clinic.trials("Succeeded")) < set(complete("describe", ""))


def test_lint_and_submit_ask_the_trainer_before_a_pod_does(clinic: Clinic, tmp_path: Path) -> None:
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump({**BODY, "metadata": {"name": "again"}}))
    says = "sweep/again: params.loss.gamma: -2.0 is not valid: Input should be greater than or equal to 0"
    assert says in clinic.editor.ork("lint", str(file), code=1)
    refused = clinic.editor.refused("submit", str(file))
    assert f"{says} (1 of 3 trials, the first is number 1)" in refused
    assert "--no-check" in refused
    dry = clinic.editor.ork("submit", str(file), "--set", "loss.gamma=2", "--set", "epochs=3", "--dry-run")
    assert "the API server would take it (dry run: nothing was kept)" in dry
    # All of it was trained before, under another name.
    counted = clinic.editor.ork("submit", str(file), "--no-check", "--dry-run")
    assert "3 trials: 2 identical to a run that has succeeded, 1 identical to a run that has failed" in counted
    assert "again" not in {body["metadata"]["name"] for body in clinic.user.list("sweeps")}
    forbidden = clinic.reader.refused("submit", str(file), "--no-check")
    assert 'cannot patch resource "sweeps"' in forbidden
    assert "ClusterRole" in forbidden


def test_submit_told_how_it_went_on(clinic: Clinic) -> None:
    lines = clinic.submitted.splitlines()
    assert lines[:2] == [f"sweep/{SWEEP}: 3 trials: 3 new", f"sweep/{SWEEP}: applied"]
    assert lines[-1].startswith(f"{SWEEP}: Succeeded 3/3, 0 running, 1 failed, best ")


def test_progress_is_read_as_a_table_and_by_programs(clinic: Clinic) -> None:
    reader = clinic.reader
    head, *others = rows(reader.ork("status"))
    row = next(row for row in others if row[0] == SWEEP)
    assert head == ["NAME", "STATE", "PROGRESS", "RUNNING", "FAILED", "BEST", "OBJECTIVE", "GPU-H", "AGE"]
    assert row[:5] == [SWEEP, "Succeeded", "3/3", "0", "1"]
    told = reader.ork("status", SWEEP)
    for part in ("2 succeeded, 1 failed", "1 x InvalidParams: loss.gamma: -2", f"kubectl ork top {SWEEP}"):
        assert part in told
    assert json.loads(reader.ork("status", SWEEP, "-o", "json"))["status"]["progress"] == "3/3"
    assert SWEEP in reader.ork("status", SWEEP, "-w", code=3)
    assert reader.ork("wait", SWEEP, code=3).startswith(f"{SWEEP}: Succeeded 3/3")
    assert reader.ork("wait", f"xp/{clinic.trials('Succeeded')[0]}").startswith(clinic.trials("Succeeded")[0])
    assert clinic.namespace in clinic.admin.ork("status", "-A")


def test_the_leaderboard_is_the_same_from_the_status_and_from_the_hub(clinic: Clinic) -> None:
    reader = clinic.reader
    best, second = clinic.trials("Succeeded")
    (failed,) = clinic.trials("Failed")
    assert [row[1] for row in rows(reader.ork("top", SWEEP))] == ["EXPERIMENT", best, second]
    by_hub = json.loads(reader.ork("top", SWEEP, "-k", "50", "-o", "json"))
    assert [row["experiment"] for row in by_hub] == [best, second, failed]
    focal = reader.ork("top", SWEEP, "--filter", 'params.loss.name == "focal"', "--sort", "-params.loss.gamma")
    assert [row[2] for row in rows(focal)] == ["STATE", "Succeeded", "Failed"]
    losses = yaml.safe_load(reader.ork("top", SWEEP, "--metric", "val/loss", "-o", "yaml"))
    values = [row["value"] for row in losses if row["value"] is not None]
    assert values == sorted(values)
    assert best in reader.ork("top", SWEEP, "-w", code=3)
    wrong = reader.refused("top", SWEEP, "--filter", "objectiv > 1")
    assert "objective" in wrong

    exported = list(csv.DictReader(io.StringIO(reader.ork("export", SWEEP, "-o", "csv"))))
    assert [row["experiment"] for row in exported] == [best, second, failed]
    assert float(exported[0]["metrics.val/dice"]) == pytest.approx(by_hub[0]["value"], rel=1e-5)
    points = list(csv.DictReader(io.StringIO(reader.ork("export", SWEEP, "--curves", "val/dice", "-o", "csv"))))
    assert sorted((point["experiment"], point["step"]) for point in points) == sorted(
        (name, step) for name in (best, second) for step in "12"
    )
    assert reader.ork("export", SWEEP, "-o", "latex").count(r"\\") == 4


def test_a_failure_is_explained(clinic: Clinic) -> None:
    (failed,) = clinic.trials("Failed")
    best, second = clinic.trials("Succeeded")
    told = clinic.reader.ork("failures", SWEEP)
    assert "1 of 3 ended trials failed, of one cause" in told
    assert "Correct the parameter" in told
    assert f"kubectl ork why {failed}" in told
    why = clinic.reader.ork("why", failed)
    for part in ("is Failed: InvalidParams", "loss.gamma: -2", "Attempts"):
        assert part in why
    described = clinic.reader.ork("describe", best)
    for part in ("Succeeded", "val/dice: ", "Parameters", "Metrics", "Attempts", "model.encoder"):
        assert part in described
    assert yaml.safe_load(clinic.reader.ork("describe", best, "-o", "yaml"))["metadata"]["name"] == best
    differ = rows(clinic.reader.ork("diff", best, second))
    assert differ[0] == ["WHAT", best, second, "B - A"]
    assert "params.loss.name" in [row[0] for row in differ]


def test_a_log_is_read_from_the_pod_and_when_that_is_gone_from_the_hub(clinic: Clinic) -> None:
    _, second = clinic.trials("Succeeded")
    best = "just-ended"  # its pod goes a minute later
    clinic.user.apply(experiment(best, params={"epochs": 1}))
    clinic.user.wait_finished("experiment", best)
    of_pod = clinic.reader.ork("logs", best)
    assert of_pod.strip()
    assert clinic.reader.ork("logs", best, "--tail", "1") == of_pod.splitlines(keepends=True)[-1]
    clinic.user.kubectl("delete", "jobs", "-l", f"orkhaven.io/experiment={best}", "--wait=true")
    clinic.user.kubectl("delete", "pods", "-l", f"orkhaven.io/experiment={best}", "--wait=true")
    kept = clinic.reader.ork("logs", best, "--attempt", "1")
    assert of_pod.splitlines() == kept.splitlines()[:-1], "the hub has kept it, and says how it ended"
    word = of_pod.split()[0]
    assert clinic.reader.ork("logs", best, "--grep", word)
    clinic.reader.run("kubectl", "ork", "logs", second, "--grep", "no such line in it", code=1)


def test_versions_of_all_parts(clinic: Clinic) -> None:
    told = json.loads(clinic.admin.ork("version", "-o", "json"))
    assert all(told[part] for part in ("client", "kubernetes", "operator", "hub")), told
    assert "operator" not in clinic.reader.ork("version", "--client")


def test_what_goes_wrong_is_a_sentence_that_says_what_to_do(clinic: Clinic) -> None:
    reader, stranger = clinic.reader, clinic.stranger
    assert f"did you mean {SWEEP}" in reader.refused("status", "lung")
    assert "is a Sweep" in reader.refused("why", SWEEP)
    assert "cannot list resource" in stranger.refused("status")
    assert "-n says one namespace" in reader.refused("status", "-A")
    refused = reader.refused("top", SWEEP, "-k", "50", ORKHAVEN_TOKEN=stranger.token())
    assert "may not get experiments in namespace" in refused
    away = reader.refused("top", SWEEP, "--filter", "state == 1", ORKHAVEN_HUB="orkhaven-system/none")
    assert "the hub orkhaven-system/none cannot be reached" in away
    unbound = reader.refused("top", SWEEP, "--filter", "state == 1", ORKHAVEN_HUB="default/kubernetes")
    assert "--role=kubernetes-forward" in unbound
    assert "from the resources' status" in reader.run("kubectl", "ork", "top", SWEEP, "-k", "50", "--hub", "a/b").stderr
    certificate = clinic.admin.refused("top", SWEEP, "--filter", "state == 1")
    assert "client certificate" in certificate
    assert "ORKHAVEN_SERVICE_ACCOUNT" in certificate
    assert SWEEP not in clinic.admin.ork("top", SWEEP, "-k", "50", ORKHAVEN_SERVICE_ACCOUNT="reader").splitlines()[0]
    assert "No such option" in reader.refused("top", SWEEP, "--nope", code=2)


def test_a_run_is_repeated_with_a_change_held_and_ended(clinic: Clinic) -> None:
    """On a sweep of its own: the clinic's stays as it is."""
    editor, user = clinic.editor, clinic.user
    long = sweep(
        "long", [{"name": "optimizer.lr", "values": [1e-3]}], params={"epochs": 400}, search={"algorithm": "Grid"}
    )
    editor.ork("submit", "-", given=json.dumps(long))
    user.wait("sweep", "long", lambda status: (status.get("trials") or {}).get("running") == 1)
    assert "cannot patch" in clinic.reader.refused("suspend", "long")
    assert editor.ork("suspend", "long") == "sweep/long suspended\n"
    editor.ork("wait", "long", "--for", "Suspended", "--timeout", "2m")
    (trial,) = user.list("experiments", "orkhaven.io/sweep=long")
    user.wait("experiment", trial["metadata"]["name"], lambda status: status.get("state") == "Suspended")
    assert "resume" in editor.ork("why", trial["metadata"]["name"])
    assert editor.ork("resume", "sweep/long") == "sweep/long resumed\n"
    user.wait("sweep", "long", lambda status: (status.get("trials") or {}).get("running") == 1)
    assert "--yes" in editor.refused("cancel", "long")
    assert "cancelled" in editor.ork("cancel", "long", "--yes")
    assert "there is no Sweep and no Experiment 'long'" in editor.refused("wait", "long")

    (failed,) = clinic.trials("Failed")
    printed = yaml.safe_load(editor.ork("rerun", failed, "--set", "loss.gamma=1.0", "--dry-run"))
    assert printed["spec"]["params"]["loss"]["gamma"] == 1.0
    assert "applied" in editor.ork("rerun", failed, "--set", "loss.gamma=1.0")
    assert "Succeeded" in editor.ork("wait", f"{failed}-r1", "--timeout", "5m")
    assert "cancelled" in editor.ork("cancel", f"xp/{failed}-r1", "-y")


def test_haven_s_results_are_taken_over_by_who_may(clinic: Clinic, tmp_path: Path) -> None:
    place = tmp_path / "savedir" / "abc"
    place.mkdir(parents=True)
    (place / "exp_dict.json").write_text('{"lr": 0.1}')
    (place / "score_list.pkl").write_bytes(pickle.dumps([{"epoch": 1, "dice": 0.5}]))
    shown = clinic.editor.ork("import-haven", str(place.parent), "--metric", "dice")
    assert rows(shown)[1][:4] == ["haven-abc", "abc", "1", "0.5"]
    refused = clinic.editor.refused("import-haven", str(place.parent), "--metric", "dice", "--apply")
    assert "patch experiments/status" in refused
    assert "haven-abc" not in clinic.editor.run("kubectl", "get", "experiments", "-o", "name").stdout
    clinic.admin.ork("import-haven", str(place.parent), "--metric", "dice", "--apply")
    assert "imported from Haven" in clinic.reader.ork("describe", "haven-abc", "-o", "yaml")
    clinic.admin.ork("cancel", "haven-abc", "--yes")
