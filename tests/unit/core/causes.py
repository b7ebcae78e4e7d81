"""What a pod, its container, its Job or its record can show, each with the cause that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.unit.core.world import World, record


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pod that ended somehow -> the reason, and a word that the message has to have."""

    reason: str
    says: str
    happens: Callable[[World], object]
    spec: dict[str, object] = field(default_factory=dict)


def failed(kind: str, message: str, *, code: int = 70, **more: str) -> Callable[[World], object]:
    return lambda world: world.exit(code, record("Failed", failure={"type": kind, "message": message, **more}))


def logged(*lines: str, code: int = 1) -> Callable[[World], object]:
    return lambda world: world.exit(code, "\n".join(lines))


def as_unknown(world: World) -> None:
    world.pod["status"]["containerStatuses"][0]["state"]["terminated"] |= {"exitCode": 255, "reason": "Unknown"}


def rejected(reason: str, message: str) -> Callable[[World], object]:
    def happens(world: World) -> None:
        world.pod["status"] = {"phase": "Failed", "reason": reason, "message": message}
        world.end_job("Failed", "BackoffLimitExceeded")

    return happens


def job_only(message: str) -> Callable[[World], object]:
    """The pod is gone; the Job's condition is all there is."""

    def happens(world: World) -> None:
        world.pods.clear()
        world.end_job("Failed", "PodFailurePolicy", message).wait(60)

    return happens


CASES = {
    # --- the cluster
    "preempted by the scheduler": Case(
        reason="Preempted", says="higher priority", happens=lambda w: w.disrupt("PreemptionByScheduler").exit(143)
    ),
    "evicted through the API": Case(
        reason="Drained", says="node n1", happens=lambda w: w.disrupt("EvictionByEvictionAPI").exit(143)
    ),
    "evicted by the kubelet": Case(
        reason="Drained", says="TerminationByKubelet", happens=lambda w: w.disrupt("TerminationByKubelet").exit(137)
    ),
    "a taint on a node that answers": Case(
        reason="Drained", says="node n1", happens=lambda w: w.disrupt("DeletionByTaintManager").exit(143)
    ),
    "collected with its node": Case(
        reason="NodeLost", says="node n1", happens=lambda w: w.disrupt("DeletionByPodGC").exit(137)
    ),
    "a disruption, even where the log tells of memory": Case(
        reason="Preempted",
        says="priority",
        happens=lambda w: w.disrupt("PreemptionByScheduler").exit(1, "CUDA out of memory"),
    ),
    "a container that the runtime has lost": Case(
        reason="NodeLost", says="lost the container", happens=lambda w: w.exit(255, reason="Unknown")
    ),
    "a container that the kubelet does not find, with a memory limit": Case(
        reason="NodeLost",
        says="lost the container",
        spec={"resources": {"memory": "96Mi"}},
        happens=lambda w: w.exit(
            137, "The container could not be located when the pod was terminated", reason="ContainerStatusUnknown"
        ),
    ),
    "a container that the runtime has lost, and that had said how it failed": Case(
        reason="ShapeMismatch",
        says="size of tensor",
        happens=lambda w: (
            failed("RuntimeError", "The size of tensor a (4) must match the size of tensor b (7)")(w),
            as_unknown(w),
        ),
    ),
    "a node that is shut down": Case(
        reason="NodeLost",
        says="shut down",
        happens=rejected("Terminated", "Pod was terminated in response to shutdown"),
    ),
    "a kubelet without room": Case(
        reason="Preempted", says="no room", happens=rejected("OutOfnvidia.com/gpu", "Node didn't have enough resource")
    ),
    "evicted for the node's disk": Case(
        reason="Drained", says="low on resource", happens=rejected("Evicted", "The node was low on resource: memory.")
    ),
    "evicted for its own writing": Case(
        reason="DiskFull",
        says="2Gi",
        happens=rejected("Evicted", 'Usage of EmptyDir volume "shm" exceeds the limit "2Gi".'),
    ),
    "a pod deleted by hand": Case(
        reason="Drained", says="deleted", happens=lambda w: w.delete_pod().wait(2).exit(143, record("Interrupted"))
    ),
    "a pod deleted by hand that did not listen": Case(
        reason="Drained", says="deleted", happens=lambda w: w.delete_pod().wait(60).exit(137, reason="Error")
    ),
    "a pod deleted after it failed": Case(
        reason="UserException", says="no", happens=lambda w: w.exit(1, "ValueError: no").wait(5).delete_pod(grace=0)
    ),
    "a Job deleted with its pod": Case(
        reason="Drained", says="Job", happens=lambda w: (w.jobs.clear(), w.pods.clear())
    ),
    "a failed Job whose pod is gone without a trace": Case(reason="NodeLost", says="gone", happens=job_only("")),
    "a failed Job that remembers the disruption": Case(
        reason="Drained",
        says="evicted from node n1",
        happens=job_only("Pod ns/x-1-a has condition DisruptionTarget matching FailJob rule"),
    ),
    "a failed Job that remembers the exit code": Case(
        reason="InvalidParams",
        says="64",
        happens=job_only(
            "Container trainer for pod ns/x-1-a failed with exit code 64 matching FailJob rule at index 1"
        ),
    ),
    "a failed Job that remembers SIGTERM": Case(
        reason="Drained", says="143", happens=job_only("Container trainer for pod ns/x-1-a failed with exit code 143")
    ),
    # --- what kept it from starting
    "a name that is no image": Case(
        reason="ImagePull", says="my image", happens=lambda w: w.waits("InvalidImageName", "couldn't parse my image")
    ),
    "an image that cannot be had": Case(
        reason="ImagePull",
        says="trainer:1",
        happens=lambda w: w.waits("ImagePullBackOff", "not found").wait(400),
    ),
    "a secret that is not there": Case(
        reason="ConfigError",
        says="no-such",
        happens=lambda w: w.waits("CreateContainerConfigError", 'secret "no-such"'),
    ),
    "a command that is not there": Case(
        reason="ConfigError",
        says="no such file",
        happens=lambda w: w.exit(128, "exec: no such file", reason="StartError"),
    ),
    # --- time
    "too long, by the Job": Case(
        reason="Timeout",
        says="4s",
        spec={"maxRunTime": "4s"},
        happens=lambda w: (
            w.end_job("Failed", "DeadlineExceeded").delete_pod().exit(143, record("Interrupted"), job=False)
        ),
    ),
    "too long, before the Job says so": Case(
        reason="Timeout",
        says="60s",
        spec={"maxRunTime": "60s"},
        happens=lambda w: w.delete_pod().wait(1).exit(143, record("Interrupted"), job=False),
    ),
    # --- memory
    "the kernel's OOM killer": Case(
        reason="OutOfMemoryKilled",
        says="96Mi",
        spec={"resources": {"memory": "96Mi"}},
        happens=lambda w: w.exit(137, reason="OOMKilled"),
    ),
    "137 with a limit": Case(
        reason="OutOfMemoryKilled",
        says="1Gi",
        spec={"resources": {"memory": "1Gi"}},
        happens=lambda w: w.exit(137, reason="Error"),
    ),
    "137 without a limit": Case(reason="Infrastructure", says="137", happens=lambda w: w.exit(137, reason="Error")),
    "a data loader's worker that was killed": Case(
        reason="OutOfMemoryKilled",
        says="worker",
        happens=failed("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed. "),
    ),
    "the GPU's memory, recorded": Case(
        reason="CudaOutOfMemory",
        says="20.00 MiB",
        happens=failed("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 20.00 MiB."),
    ),
    "the GPU's memory, logged": Case(
        reason="CudaOutOfMemory",
        says="CUDA out of memory",
        happens=logged("Traceback", "torch.cuda.OutOfMemoryError: CUDA out of memory.", "bye"),
    ),
    # --- the machine
    "Xid": Case(reason="GpuHardware", says="Xid", happens=logged("NVRM: Xid (PCI:0000:3b:00): 79")),
    "ECC": Case(
        reason="GpuHardware",
        says="ECC",
        happens=failed("torch.AcceleratorError", "CUDA error: uncorrectable ECC error encountered"),
    ),
    "off the bus": Case(reason="GpuHardware", says="fallen", happens=logged("GPU has fallen off the bus")),
    "a device that cannot be handed out": Case(
        reason="GpuHardware",
        says="device",
        happens=rejected("UnexpectedAdmissionError", "Allocate failed: no healthy devices"),
    ),
    "NCCL": Case(
        reason="Infrastructure",
        says="NCCL",
        happens=failed("torch.distributed.DistBackendError", "NCCL watchdog timeout after 600 s"),
    ),
    "connection reset": Case(
        reason="Infrastructure",
        says="reset",
        happens=failed("ConnectionResetError", "[Errno 104] Connection reset by peer"),
    ),
    "stale file handle": Case(
        reason="Infrastructure", says="Stale", happens=logged("OSError: [Errno 116] Stale file handle: '/data/x'")
    ),
    "503 of the storage": Case(
        reason="Infrastructure", says="503", happens=logged("requests.HTTPError: 503 Server Error: Service Unavailable")
    ),
    "try again": Case(
        reason="Infrastructure",
        says="holds",
        happens=failed("orkrun.TryAgain", "another process holds the output folder", code=75),
    ),
    # --- disk
    "no space": Case(
        reason="DiskFull", says="No space", happens=logged("OSError: [Errno 28] No space left on device: '/output/x'")
    ),
    "no space, by the contract": Case(
        reason="DiskFull",
        says="No space",
        happens=failed("orkrun.OutputError", "/output: No space left on device", code=73),
    ),
    "an output volume that has turned read-only, by the contract": Case(
        reason="Infrastructure",
        says="Read-only",
        happens=failed(
            "orkrun.OutputError", "output folder /output/ab12 cannot be written: Read-only file system; user 0", code=73
        ),
    ),
    "an output volume that has turned read-only": Case(
        reason="Infrastructure",
        says="Read-only",
        happens=logged("OSError: [Errno 30] Read-only file system: '/output/ab12/metrics.csv'"),
    ),
    "the image's own files are read-only": Case(
        reason="ConfigError", says="Read-only", happens=logged("OSError: [Errno 30] Read-only file system: '/app/out'")
    ),
    "a bus error": Case(
        reason="SharedMemory",
        says="shared memory",
        happens=failed(
            "RuntimeError",
            "DataLoader worker (pid 9) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory.",
        ),
    ),
    "SIGBUS": Case(reason="SharedMemory", says="135", happens=lambda w: w.exit(135)),
    "torch's own segment": Case(
        reason="SharedMemory",
        says="torch_",
        happens=logged("RuntimeError: unable to write to file </torch_1_2_3>: No space left on device (28)"),
    ),
    # --- data and parameters
    "bad data, by the contract": Case(
        reason="DataError",
        says="/data/ct/7.png",
        happens=failed("orkrun.DataError", "/data/ct/7.png: truncated", code=65),
    ),
    "a data file that is not there": Case(
        reason="DataError",
        says="/data/none",
        spec={"data": [{"name": "ct", "claim": "c"}]},
        happens=logged("FileNotFoundError: [Errno 2] No such file or directory: '/data/none/7.png'"),
    ),
    "another file that is not there": Case(
        reason="UserException",
        says="/etc/none",
        spec={"data": [{"name": "ct", "claim": "c"}]},
        happens=logged("FileNotFoundError: [Errno 2] No such file or directory: '/etc/none'"),
    ),
    "a module that is not there": Case(
        reason="ImportError",
        says="no_such_module",
        happens=logged("Traceback (most recent call last):", "ModuleNotFoundError: No module named 'no_such_module'"),
    ),
    "bad parameters, by the contract": Case(
        reason="InvalidParams",
        says="loss.gamma",
        happens=failed("orkrun.InvalidParams", "loss.gamma: may not be negative", code=64),
    ),
    "bad arguments, by argparse": Case(
        reason="InvalidParams",
        says="--lr",
        happens=logged("usage: train.py [-h]", "train.py: error: argument --lr: invalid float value: 'x'", code=2),
    ),
    "a config that cannot be read": Case(
        reason="ConfigError", says="newer", happens=failed("orkrun.ConfigError", "config is newer", code=78)
    ),
    "a checkpoint of another model": Case(
        reason="CheckpointError",
        says="UNet",
        happens=failed(
            "RuntimeError", "Error(s) in loading state_dict for UNet:\n\tsize mismatch for head.weight: copying a param"
        ),
    ),
    "an image for another driver": Case(
        reason="GpuSetup",
        says="too old",
        happens=failed("RuntimeError", "The NVIDIA driver on your system is too old (found version 11040)."),
    ),
    "a label out of range": Case(
        reason="CudaError", says="assert", happens=failed("RuntimeError", "CUDA error: device-side assert triggered")
    ),
    "a segmentation fault": Case(
        reason="Crashed", says="Segmentation", happens=logged("Fatal Python error: Segmentation fault", code=139)
    ),
    "a crash without a word": Case(reason="Crashed", says="139", happens=lambda w: w.exit(139)),
    # --- the training
    "shapes that do not fit": Case(
        reason="ShapeMismatch",
        says="(4x512 and 256x2)",
        happens=failed("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (4x512 and 256x2)"),
    ),
    "not finite, by the contract": Case(
        reason="Diverged", says="loss is nan", happens=failed("orkrun.Diverged", "loss is nan at step 3")
    ),
    "not finite, by its words": Case(
        reason="Diverged", says="step 12", happens=logged("ValueError: loss became NaN at step 12")
    ),
    "the objective is NaN at the end": Case(
        reason="Diverged",
        says="val/dice",
        happens=lambda w: w.exit(0, record(metrics={"val/dice": {"last": "NaN"}})),
    ),
    "ended without the objective": Case(
        reason="MetricMissing",
        says="val/dice",
        happens=lambda w: w.exit(0, record(metrics={"val/loss": {"last": 1.0}})),
    ),
    "any other exception": Case(
        reason="UserException",
        says="KeyError: 'x'",
        happens=failed("KeyError", "'x'", location="train.py:3 in main"),
    ),
    "nothing but an exit code": Case(reason="UserException", says="exit code 3", happens=lambda w: w.exit(3)),
    "143 out of nowhere": Case(reason="Infrastructure", says="143", happens=lambda w: w.exit(143)),
    "a record that is cut": Case(
        reason="UserException", says="{", happens=lambda w: w.exit(1, '{"version":1,"outcome":"Failed","fail')
    ),
    "a record of a later version": Case(
        reason="UserException", says="outcome", happens=lambda w: w.exit(1, '{"version":2,"outcome":"Failed"}')
    ),
}
