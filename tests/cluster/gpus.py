"""GPUs that only the API knows: the scheduler, the kubelet's admission and quotas count them as real ones."""

from __future__ import annotations

from tests.cluster.api import Api
from tests.cluster.say import wait_for
from tests.cluster.settings import Settings

RESOURCE = "nvidia.com/gpu"


def gpu_labels(settings: Settings) -> dict[str, str]:
    """The labels that NVIDIA's feature discovery would set."""
    return {"nvidia.com/gpu.product": settings.gpu_model, "nvidia.com/gpu.memory": str(settings.gpu_memory)}


def offer_gpus(api: Api, node: str, settings: Settings) -> None:
    """Labels the node and gives it the GPUs; returns when they can be allocated."""
    path = f"/api/v1/nodes/{node}"
    value = str(settings.gpus)
    api.patch(path, {"metadata": {"labels": gpu_labels(settings)}})
    key = RESOURCE.replace("/", "~1")
    # Both, so that nobody has to wait for the kubelet's next report, which derives the second from the first.
    api.patch(
        f"{path}/status",
        [{"op": "add", "path": f"/status/{field}/{key}", "value": value} for field in ("capacity", "allocatable")],
    )

    def offered() -> bool:
        found = api.get(path)
        return found is not None and found["status"]["allocatable"].get(RESOURCE) == value

    wait_for(f"{value} GPUs on {node}", offered, seconds=30)
