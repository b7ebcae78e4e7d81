"""`Orkhaven()` in a pod, as in a notebook server: no kubectl, no kubeconfig, the pod's own service account."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

from tests.e2e.clinic import SWEEP, Clinic
from tests.e2e.user import Body
from tools.deploy import RESULTS_CLAIM, wait_until

PROGRAM = f"""
import warnings
warnings.simplefilter("error")  # that the hub could not be asked, for one
from orkhaven.client import Orkhaven
lungs = Orkhaven().sweep("{SWEEP}")
for row in lungs.rows():
    print("row", row["experiment"], row["state"], row["val/dice"], sep=" ")
print("log", Orkhaven().experiment(lungs.rows()[0]["experiment"]).log().splitlines()[0])
try:
    Orkhaven("kube-system").sweep("none")
except Exception as error:
    print("elsewhere", error)
"""


def installed(packages: tuple[str, ...], folder: Path) -> None:
    """What `pip install` would put there: packages of nothing but Python, as this environment has them."""
    for package in packages:
        for file in metadata.files(package) or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), folder / file)


def pod(name: str, account: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "notebook",
                    "image": "localhost/orkhaven-operator:dev",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", PROGRAM],
                    "env": [{"name": "PYTHONPATH", "value": "/results/site"}],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "results", "mountPath": "/results", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": RESULTS_CLAIM}}],
        },
    }


def test_the_pod_s_service_account_reads_the_leaderboard_by_the_hub_s_service(clinic: Clinic) -> None:
    installed(("httpx", "httpcore"), clinic.user.deployment.cluster.shared / "results" / clinic.namespace / "site")
    clinic.user.apply(pod("notebook", "reader"))

    def ended() -> str:
        status = json.loads(clinic.user.kubectl("get", "pod", "notebook", "-o", "json"))["status"]
        return str(status["phase"]) if status.get("phase") in ("Succeeded", "Failed") else ""

    phase = wait_until("the notebook's pod", ended, timeout_s=180)
    told = clinic.user.kubectl("logs", "notebook")
    assert phase == "Succeeded", told
    rows = [line.split()[1:] for line in told.splitlines() if line.startswith("row ")]
    best, second = clinic.trials("Succeeded")
    (failed,) = clinic.trials("Failed")
    assert [row[:2] for row in rows] == [[best, "Succeeded"], [second, "Succeeded"], [failed, "Failed"]]
    assert "log " in told
    assert 'cannot get resource "sweeps"' in told.split("elsewhere ")[1]
