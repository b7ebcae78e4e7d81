"""A namespace where a sweep has ended, and people around it, each with a kubeconfig, a token and rights of their own.

What they type is typed: the real kubectl, which finds `kubectl-ork` on PATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.user import Body, User, sweep
from tools.deploy import SYSTEM_NAMESPACE, Deployment

Done = subprocess.CompletedProcess[str]

SWEEP = "lungs"
BODY = sweep(
    SWEEP,
    [
        {"name": "loss.name", "values": ["dice_ce", "focal"]},
        {"name": "loss.gamma", "values": [2.0, -2.0], "when": {"loss.name": ["focal"]}},
    ],
    search={"algorithm": "Grid"},
)
"""Three trials, of which the trainer refuses one."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody at a shell: a kubeconfig with a token and a namespace in it."""

    name: str
    kubeconfig: Path
    user: User

    @property
    def env(self) -> dict[str, str]:
        cluster = self.user.deployment.cluster.env()
        programs = Path(sys.executable).parent  # kubectl-ork, kubectl_complete-ork
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("ORKHAVEN_")},
            **cluster,
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{cluster['PATH']}:{programs}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "COLUMNS": "160",
        }

    def run(self, *command: str, code: int = 0, given: str = "", **env: str) -> Done:
        done = subprocess.run(
            command, env={**self.env, **env}, input=given, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback (most" not in done.stderr, done.stderr
        return done

    def type(self, line: str, *, code: int = 0, given: str = "") -> str:
        """What a line prints that is typed at a shell."""
        return self.run("bash", "-c", line, code=code, given=given).stdout

    def ork(self, *arguments: str, code: int = 0, given: str = "", **env: str) -> str:
        """What `kubectl ork` prints."""
        return self.run("kubectl", "ork", *arguments, code=code, given=given, **env).stdout

    def refused(self, *arguments: str, code: int = 1, **env: str) -> str:
        """What it says where it does not do it."""
        return self.run("kubectl", "ork", *arguments, code=code, **env).stderr

    def token(self) -> str:
        """A new one, as `kubectl create token` prints it."""
        return self.user.kubectl("create", "token", self.name).strip()


@dataclass(frozen=True, kw_only=True)
class Clinic:
    user: User
    admin: Person
    """Logs in with a client certificate, which is no token."""
    editor: Person
    reader: Person
    stranger: Person
    """Reaches the hub, and may read nothing here."""
    submitted: str
    """What `kubectl ork submit --watch` printed."""

    @property
    def namespace(self) -> str:
        return self.user.namespace

    def trials(self, state: str) -> list[str]:
        """Names, best first."""
        bodies = [
            body
            for body in self.user.list("experiments", f"orkhaven.io/sweep={SWEEP}")
            if body["status"]["state"] == state
        ]
        bodies.sort(key=lambda body: -(body["status"].get("objective") or {"value": 0})["value"])
        return [body["metadata"]["name"] for body in bodies]


ROLES = {"editor": "edit", "reader": "view", "stranger": None}


def opened(deployment: Deployment, folder: Path) -> Clinic:
    """The one that was made before with this hub, as the folder tells; else a new one."""
    folder.mkdir(exist_ok=True)
    note = folder / "clinic.json"
    hub = _hub_of(deployment)
    told = json.loads(note.read_text()) if note.exists() else {}
    if told.get("hub") != hub:
        told = {"hub": hub, "namespace": f"e2e-{uuid.uuid4().hex[:8]}"}
        user = User(deployment=deployment, namespace=told["namespace"])
        results = deployment.cluster.shared / "results" / user.namespace
        deployment.namespace(user.namespace, data=None, results=results)
        for name, role in ROLES.items():
            person(user, name, folder, role=role)
        _kubeconfig(user, "admin", folder, token=None)
        editor = Person(name="editor", kubeconfig=folder / "editor.kubeconfig", user=user)
        told["submitted"] = editor.ork("submit", "-", "--no-check", "--watch", given=json.dumps(BODY), code=3)
        note.write_text(json.dumps(told))
    user = User(deployment=deployment, namespace=told["namespace"])
    people = {
        name: Person(name=name, kubeconfig=folder / f"{name}.kubeconfig", user=user) for name in ("admin", *ROLES)
    }
    return Clinic(user=user, submitted=told["submitted"], **people)


def _hub_of(deployment: Deployment) -> str:
    """What tells it from the next one: its store goes with its pod."""
    found = deployment.get("pods", "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/component=hub")["items"]
    return ",".join(sorted(pod["metadata"]["uid"] for pod in found if "deletionTimestamp" not in pod["metadata"]))


def person(user: User, name: str, folder: Path, *, role: str | None) -> Person:
    """A new one, with a ClusterRole in the user's namespace, who reaches the hub."""
    account = f"--serviceaccount={user.namespace}:{name}"
    user.kubectl("create", "serviceaccount", name)
    if role:
        user.kubectl("create", "rolebinding", name, f"--clusterrole={role}", account)
    # What an administrator types, as `kubectl ork` says to somebody who does not get through.
    user.deployment.cluster.kubectl(
        "create",
        "rolebinding",
        f"{user.namespace}-{name}",
        "-n",
        SYSTEM_NAMESPACE,
        "--role=orkhaven-hub-forward",
        account,
    )
    token = user.kubectl("create", "token", name).strip()
    return Person(name=name, kubeconfig=_kubeconfig(user, name, folder, token=token), user=user)


def _kubeconfig(user: User, name: str, folder: Path, *, token: str | None) -> Path:
    config: Body = json.loads(user.deployment.cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["contexts"][0]["context"]["namespace"] = user.namespace
    if token is not None:
        config["users"][0]["user"] = {"token": token}
    file = folder / f"{name}.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))
    return file
