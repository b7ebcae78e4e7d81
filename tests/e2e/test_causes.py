"""Each way a real pod can fail comes back as its cause, with a sentence that names what was wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.e2e.user import Body, User, experiment


@dataclass(frozen=True, kw_only=True)
class Case:
    reason: str
    says: str
    exit_codes: tuple[int | None, ...]
    params: Body = field(default_factory=dict)
    spec: Body = field(default_factory=dict)


CASES = {
    "an unknown encoder": Case(
        reason="InvalidParams", says="model.encoder", exit_codes=(64,), params={"model": {"encoder": "mobilnet_v2"}}
    ),
    "a batch size of 0": Case(reason="InvalidParams", says="batch_size", exit_codes=(64,), params={"batch_size": 0}),
    "a missing data folder": Case(
        reason="DataError", says="/data/none", exit_codes=(65,), params={"data": {"root": "/data/none"}}
    ),
    "a memory limit too small": Case(
        reason="OutOfMemoryKilled", says="96Mi", exit_codes=(137,), spec={"resources": {"memory": "96Mi"}}
    ),
    "an image that does not exist": Case(
        reason="ImagePull",
        says="localhost/no-such-image:v0",
        exit_codes=(None,),
        spec={"image": "localhost/no-such-image:v0"},
    ),
    "a secret that does not exist": Case(
        reason="ConfigError",
        says="no-such-secret",
        exit_codes=(None,),
        spec={"env": [{"name": "KEY", "secretKeyRef": {"name": "no-such-secret", "key": "key"}}]},
    ),
    "longer than it may": Case(
        reason="Timeout", says="20s", exit_codes=(143, 137), spec={"maxRunTime": "20s"}, params={"epochs": 5000}
    ),
    "a command that knows nothing of the contract": Case(
        reason="UserException",
        says="no idea",
        exit_codes=(3,),
        spec={"command": ["sh", "-c", "echo no idea >&2; exit 3"]},
    ),
    "ended without the objective": Case(
        reason="MetricMissing", says="val/dice", exit_codes=(0,), spec={"command": ["true"]}
    ),
    "a module that is not there": Case(
        reason="ImportError",
        says="no_such_module",
        exit_codes=(1,),
        spec={"command": ["python3", "-c", "import no_such_module"]},
    ),
    "an exception that a hundred lines have pushed out of the termination message": Case(
        reason="ImportError",
        says="no_such_module",
        exit_codes=(1,),
        spec={
            "command": [
                "sh",
                "-c",
                "python3 -c 'import no_such_module'; for n in $(seq 200); do echo rank $n waits; done; exit 1",
            ]
        },
    ),
    "a disk that is full": Case(
        reason="DiskFull",
        says="No space left on device",
        exit_codes=(1,),
        spec={
            "command": ["python3", "-c", "open('/dev/shm/x', 'wb').write(bytes(32 << 20))"],
            "resources": {"sharedMemory": "8Mi"},
        },
    ),
}


def test_every_cause_is_seen_named_and_explained(user: User) -> None:
    names = {f"case-{number}": case for number, case in enumerate(CASES.values())}
    user.apply(*[experiment(name, params=case.params, **case.spec) for name, case in names.items()])
    problems: list[Any] = []
    for name, case in names.items():
        status = user.wait_finished("experiment", name, timeout_s=240)["status"]
        attempt = status["attempts"][-1]
        right = (
            status["state"] == "Failed"
            and status["reason"] == case.reason
            and attempt.get("exitCode") in case.exit_codes
            and case.says in status["failure"]["message"]
            and status["failure"]["suggestion"]
        )
        if not right:
            problems.append((name, case, status))
    assert not problems, problems


def test_a_run_that_no_node_fits_stays_queued_and_says_what_it_waits_for(user: User) -> None:
    user.apply(
        # Other seeds: of identical runs one would wait for the other.
        experiment("too-many", seed=1, resources={"gpus": 64}),
        experiment("too-new", seed=2, resources={"gpus": 1, "gpuModels": ["NVIDIA-B200"]}),
        experiment("too-large", seed=3, resources={"gpus": 1, "minGpuMemory": "900Gi"}),
        experiment("fits"),
    )
    user.wait_finished("experiment", "fits")
    for name, says in {"too-many": "64", "too-new": "NVIDIA-B200", "too-large": "900Gi"}.items():
        status = user.wait("experiment", name, lambda status: status.get("reason") == "NoFittingNode")["status"]
        assert status["state"] == "Queued"
        assert says in status["message"], status["message"]
        assert not user.list("pods", f"orkhaven.io/experiment={name}")
