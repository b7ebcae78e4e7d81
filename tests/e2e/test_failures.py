"""Why Orkhaven is there: a sweep with four mistakes in it, read, mended one after the other, and brought to its end.

docs/failures.md tells the same: its sweep is the one that is applied, its lines are those that are typed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from images import archive_of
from orkhaven.api import ExperimentSpec
from orkhaven.client.manifest import Loader
from tests.cluster.archive import derive_image
from tests.documents import STORY, blocks
from tests.e2e.clinic import Person, person
from tests.e2e.terminal import terminal
from tests.e2e.user import Body, User
from tools.deploy import Deployment, wait_until

IMAGE = "registry.example/ctseg:1.4"
MENDED = "registry.example/ctseg:1.5"
HERE = {IMAGE: "localhost/orkhaven-trainer-cpu:without-scipy", MENDED: "localhost/orkhaven-trainer-cpu:dev"}
"""What the page's images are in this cluster."""
SWEEP = "lesions"


@pytest.fixture
def editor(user: User, deployment: Deployment, tmp_path: Path) -> Person:
    """Somebody with the ClusterRole `edit`, on a cluster that has the image in which something is missing."""
    archive = derive_image(archive_of("trainer-cpu"), tmp_path / "without-scipy.tar", name=HERE[IMAGE], without="scipy")
    deployment.cluster.load(archive)
    return person(user, "editor", tmp_path, role="edit")


def here(text: str) -> str:
    for image, name in HERE.items():
        text = text.replace(image, name)
    return text


def trials(user: User) -> dict[str, Body]:
    """All Experiments of the sweep, by name."""
    return {body["metadata"]["name"]: body for body in user.list("experiments", f"orkhaven.io/sweep={SWEEP}")}


def named(found: dict[str, Body], reason: str) -> set[str]:
    return {name for name, body in found.items() if body["status"].get("reason") == reason}


def test_a_sweep_with_four_mistakes_is_read_and_mended(user: User, editor: Person) -> None:
    (manifest,) = blocks("yaml", STORY)
    look, shell, memory, parameter, image, wait, again, board, log = here("".join(blocks("sh", STORY))).splitlines()

    user.apply(yaml.load(here(manifest), Loader=Loader))
    status = user.wait_finished("sweep", SWEEP)["status"]
    before = trials(user)
    failed = {
        reason: named(before, reason) for reason in ("OutOfMemoryKilled", "ImportError", "InvalidParams", "DataError")
    }
    assert [len(names) for names in failed.values()] == [3, 2, 1, 1], user.report()
    assert status["trials"]["succeeded"] == 7

    # Read: four causes, each with what was said, what it has in common, and what a person would do.
    told = sections(editor.type(look))
    assert "7 of 14 ended trials failed, of 4 causes" in told.pop("")
    assert {reason: told[reason].split(" x ")[0] for reason in told} == {
        "OutOfMemoryKilled": "3",
        "ImportError": "2",
        "InvalidParams": "1",
        "DataError": "1",
    }
    for reason, words in WORDS.items():
        for word in (*words, *sorted(failed[reason])[:3]):
            assert word in told[reason], told[reason]
    assert memory in told["OutOfMemoryKilled"], "the line to type is the one that is shown"
    for cluster in status["failureClusters"]:
        assert cluster["id"] in told[cluster["reason"]]

    # Look: a shell where it failed, and one from which commands are read and which is left to its time-out.
    old = before[shell.split()[-1]]
    assert old["metadata"]["name"] in failed["ImportError"]
    look_around(shell, old, editor)
    (left,) = failed["DataError"]
    asked = f"kubectl ork debug {left} --keep --timeout 1m"
    said = editor.type(asked, given="ls /data/lyon || echo so it is; exit 4\n", code=4)
    for earlier, later in (("there is no such folder", f"pod {left}-debug-"), (f"pod {left}-debug-", "so it is")):
        assert said.index(earlier) < said.index(later)
    assert debug_pods(user) == [left], "it is kept"

    # Mend: each line runs just the trials of its cause again.
    for line, reason in ((memory, "OutOfMemoryKilled"), (parameter, "InvalidParams"), (image, "ImportError")):
        said = editor.type(line)
        assert all(name in said for name in failed[reason]), said
    assert f"{SWEEP}: Succeeded 14/14, 0 running, 1 failed" in editor.type(wait, code=3)
    after = trials(user)
    rerun = {body["metadata"]["labels"].get("orkhaven.io/rerun-of"): body for body in after.values()}
    rerun.pop(None)
    mended = failed["OutOfMemoryKilled"] | failed["InvalidParams"] | failed["ImportError"]
    assert set(rerun) == mended
    assert len(after) == len(before) + len(mended)
    for reason, change in CHANGES.items():
        for name in failed[reason]:
            assert rerun[name]["status"]["state"] == "Succeeded", rerun[name]["status"]
            assert differences(before[name]["spec"], rerun[name]["spec"]) == change

    # What was there is there: nothing else ran, and the old attempts are what they were, with their logs.
    for name, body in before.items():
        assert after[name]["status"]["attempts"] == body["status"]["attempts"]
    assert log.split()[-1] in failed["ImportError"]
    assert "ModuleNotFoundError: No module named 'scipy'" in editor.type(log)

    # The end: every trial has its place, and the one that is left is the only one that failed.
    status = user.status("sweep", SWEEP)
    counted = {key: status["trials"][key] for key in ("total", "succeeded", "failed", "replaced")}
    assert counted == {"total": 14, "succeeded": 13, "failed": 1, "replaced": 6}
    assert [(one["selected"], one["succeeded"], one["failed"]) for one in status["reruns"]] == [
        (3, 3, 0),
        (1, 1, 0),
        (2, 2, 0),
    ]
    told = sections(editor.type(again))
    assert "1 of 14 ended trials failed, of one cause" in told[""]
    assert left in told["DataError"]
    rows = json.loads(editor.type(f"{board} -o json"))
    assert {row["experiment"] for row in rows} == after.keys() - mended
    assert [row["experiment"] for row in rows if row["value"] is None] == [left]
    values = [row["value"] for row in rows if row["value"] is not None]
    assert (len(values), values) == (13, sorted(values, reverse=True))

    wait_until("the pod that was kept goes at its time", lambda: not debug_pods(user), timeout_s=120)
    # Its Job goes a moment later: its time to live counts from then.
    wait_until("its Job goes too", lambda: not user.list("jobs", "orkhaven.io/debug"), timeout_s=120)


WORDS = {
    "OutOfMemoryKilled": (
        "memory limit of 1Gi",
        "data.image_size=192 in 3/3, 0/7 of the successful",
        "Raise resources.memory above 1Gi",
        "All 3 have data.image_size=192",
    ),
    "ImportError": (
        "No module named 'scipy'",
        "The image lacks the module scipy: add scipy to the image",
        "--image",
    ),
    "InvalidParams": (
        "loss.name: 'dice_cee' is unknown; did you mean dice_ce",
        "Correct the parameter that the message names",
        "--set '<parameter>=<value>'",
    ),
    "DataError": ("/data/lyon: there is no such folder", "Check the file that the message names"),
}
"""What a person reads of each cause."""

CHANGES = {
    "OutOfMemoryKilled": {"resources.memory": ("1Gi", "2Gi")},
    "ImportError": {"image": (HERE[IMAGE], HERE[MENDED])},
    "InvalidParams": {"params.loss.name": ("dice_cee", "dice_ce")},
}


def sections(text: str) -> dict[str, str]:
    """By reason what `kubectl ork failures` says of it; under "" what comes before."""
    head, *rest = text.split("\n\n")
    found = {"": head}
    for section in rest:
        count, times, words = section.partition(" x ")
        if times and count.isdecimal():
            found[words.split()[0]] = section
    return found


def look_around(line: str, old: Body, editor: Person) -> None:
    """At a terminal: the last words first, then a shell with the run's image, node and parameters."""
    user, name = editor.user, old["metadata"]["name"]
    with terminal(["bash", "-c", line], editor.env) as screen:
        said = screen.until(r"\$ $")
        assert said.index("No module named 'scipy'") < said.index(f"pod {name}-debug-"), said
        (pod,) = user.list("pods", f"orkhaven.io/debug={name}")
        (container,) = pod["spec"]["containers"]
        (attempt,) = old["status"]["attempts"]
        assert (container["image"], pod["spec"]["nodeName"]) == (HERE[IMAGE], attempt["node"])
        screen.type("python3 -c 'import scipy'")
        screen.until("ModuleNotFoundError: No module named 'scipy'")
        screen.type("cat $ORKHAVEN_CONFIG; echo")
        screen.until(r'"points":\s*{\s*"enabled":\s*true')
        screen.type("exit 5")
        assert screen.ended() == 5
    wait_until("the pod goes with its shell", lambda: name not in debug_pods(user), timeout_s=60)


def debug_pods(user: User) -> list[str]:
    """The Experiments for which there is one that runs."""
    pods = user.list("pods", "orkhaven.io/debug")
    return [pod["metadata"]["labels"]["orkhaven.io/debug"] for pod in pods if pod["status"]["phase"] == "Running"]


def differences(old: Body, new: Body) -> dict[str, tuple[object, object]]:
    """Dotted name -> (before, now), defaults filled in; without what only says where the run comes from."""
    before, now = (
        flat(ExperimentSpec.model_validate(spec).model_dump(by_alias=True, mode="json")) for spec in (old, new)
    )
    return {
        name: (before.get(name), now.get(name))
        for name in before.keys() | now.keys()
        if before.get(name) != now.get(name) and not name.startswith(("resumeFrom", "debug"))
    }


def flat(body: Body, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in body.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found
