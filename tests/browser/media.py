"""What the clinic's runs said and drew: logs, pictures and a small volume, straight into the store."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orkhaven.hub.artifacts.entry import Entry
from orkhaven.hub.artifacts.store import Limits as ArtifactLimits
from orkhaven.hub.artifacts.store import Place
from orkhaven.hub.logs.pieces import Limits, Pieces
from orkhaven.hub.logs.stamps import Cursor
from orkhaven.hub.logs.store import LogIdentity
from orkhaven.hub.storage.ingest import RunIdentity
from orkhaven.hub.storage.store import Store
from tests.browser.demo import NOW
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

SIDE = 160
Plane = NDArray[np.uint8]


def add_media(cluster: FakeCluster, store: Store, names: Sequence[str]) -> None:
    """Logs and pictures of these runs of the clinic."""
    for number, name in enumerate(names):
        body = cluster.objects["Experiment", NAMESPACE, name]
        add_log(store, body, training_log(body), ended=True)
        for shown in pictures(number):
            add_artifact(store, body, **shown)


def add_events(cluster: FakeCluster, names: Sequence[str], *, warning: str = "Back-off pulling image") -> None:
    """What the cluster says of these runs and their last pods."""
    for name in names:
        attempts = cluster.objects["Experiment", NAMESPACE, name]["status"].get("attempts") or []
        about = [("Experiment", name, "Normal", "Queued", "waits for 1 GPU with 24Gi or more")]
        if attempts:
            pod = attempts[-1]["pod"]
            about += [
                ("Pod", pod, "Normal", "Pulling", "Pulling image registry.example/ctseg:0.1.0"),
                ("Pod", pod, "Warning", "BackOff", warning),
            ]
        for number, (kind, of, level, reason, message) in enumerate(about):
            cluster.put(
                "Event",
                f"{of}.{number}",
                type=level,
                reason=reason,
                message=message,
                count=1 + 3 * number,
                involvedObject={"kind": kind, "name": of},
                lastTimestamp=(NOW - timedelta(minutes=10 - number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                source={"component": "kubelet" if kind == "Pod" else "orkhaven-operator"},
            )


def add_attempts(cluster: FakeCluster, name: str) -> None:
    """Before its last attempt this run had two others: one out of memory, one preempted."""
    body = cluster.objects["Experiment", NAMESPACE, name]
    (last,) = body["status"]["attempts"]
    began = datetime.fromisoformat(last["startTime"])
    earlier = []
    for number, (start, stop, code, reason) in enumerate(
        ((-300, -240, 137, "OutOfMemoryKilled"), (-200, -30, 143, "Preempted")), 1
    ):
        earlier.append(
            {
                **last, "number": number, "startTime": (began + timedelta(minutes=start)).isoformat(),
                "endTime": (began + timedelta(minutes=stop)).isoformat(), "exitCode": code, "reason": reason,
                "message": "",
            }
        )  # fmt: skip
    body["metadata"]["creationTimestamp"] = (began - timedelta(minutes=420)).isoformat()
    body["status"]["attempts"] = [*earlier, {**last, "number": 3}]
    body["status"]["attemptCount"] = 3


def add_log(
    store: Store, body: dict[str, Any], text: bytes, *, attempt: int = 1, ended: bool, head: int = 4 << 20
) -> None:
    meta = body["metadata"]
    who = LogIdentity(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        attempt=attempt,
        pod="pod",
        pod_uid=f"u{attempt}",
    )
    now = NOW.timestamp()
    state = store.logs.open(who, now=now)
    limits = Limits(head=head, tail=12 << 20)
    pieces = Pieces(state.id, who.pod_uid, size=state.size, last=state.last, time=state.last_time, limits=limits)
    for start in range(0, len(text), 1 << 20):
        part = text[start : start + (1 << 20)]
        store.logs.append([pieces.add(part, cursor=Cursor(time=start + 1), time=now)], now=now)
    if ended:
        store.logs.end(state.id, pod_uid=who.pod_uid, note="the container ended, exit code 0", now=now)


def training_log(body: dict[str, Any]) -> bytes:
    """As a training prints it: colours, a progress bar that writes over itself, and what it died of."""
    status = body["status"]
    lines = [f"ctseg 0.1.0  {key} = {value}" for key, value in body["spec"]["params"].items()]
    for epoch in range(1, status["progress"]["step"] + 1):
        bar = "".join(f"\rtrain {share:3d}%|{'█' * (share // 5):20}| {share * 4}/400" for share in range(0, 101, 4))
        lines += [
            bar,
            f"\x1b[36mepoch {epoch:3d}\x1b[0m  train/loss {1 / (epoch + 1):.4f}  "
            f"\x1b[1mval/dice_case {0.8 - 0.5 / epoch:.4f}\x1b[0m",
        ]
        if epoch % 7 == 0:
            lines.append("\x1b[33mWARNING\x1b[0m case_0117: spacing 0.7 x 0.7 x 5.0 mm, resampled")
    if "failure" in status:
        lines += [
            "Traceback (most recent call last):",
            *status["failure"]["excerpt"].splitlines(),
            f"\x1b[31m{status['failure']['message']}\x1b[0m",
            "[rank0] closing the data loaders",
        ]
    return "".join(f"{line}\n" for line in lines).encode()


def add_artifact(store: Store, body: dict[str, Any], *, content: bytes, stored: bool = True, **fields: Any) -> int:
    """Returns its id."""
    meta = body["metadata"]
    run = RunIdentity(
        uid=meta["uid"], namespace=meta["namespace"], name=meta["name"], sweep=None, objective=None, minimize=None
    )
    entry: dict[str, Any] = {
        "attempt": 1, "seq": next(_numbers), "kind": "image", "media_type": "image/png", "step": None,
        "time": NOW.timestamp(), "caption": "", "group": "", "role": "",
        "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **fields,
    }  # fmt: skip
    entry.setdefault("path", f"artifacts/{entry['seq']}.png")
    taken = store.artifacts.add(
        run,
        Entry(**entry),
        content if stored else b"",
        place=Place(claim="results", folder="a" * 64),
        limits=ArtifactLimits(count=2000, run_bytes=64 << 20),
        now=NOW.timestamp(),
    )
    return taken.id


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield (number := number + 1)


_numbers = _count()


def pictures(seed: int) -> Iterator[dict[str, Any]]:
    """What ctseg reports of a run: layers of three cases at three steps, composed pages, a card."""
    for number, what in enumerate(("worst", "median", "best")):
        body, lesion = slice_of(number)
        for step in (10, 20, 40):
            layers = {"image": body, "mask": lesion, "prediction": guess(lesion, off=seed + (40 - step) // 5)}
            for role, plane in layers.items():
                yield {
                    "name": f"report/{what}/{role}", "group": f"{what} case", "role": role, "step": step,
                    "content": png(plane), "caption": f"{what} case after epoch {step}",
                }  # fmt: skip
    for step in (10, 40):
        page = np.concatenate([slice_of(number)[0] for number in range(3)], axis=1)
        yield {
            "name": "report/overlays", "group": "report", "step": step, "content": png(page),
            "caption": "Worst, median and best case of the held-out slices.",
        }  # fmt: skip
    yield {"name": "report/curves", "group": "report", "step": 40, "content": png(curve()), "caption": "Losses."}
    yield {
        "name": "report/model-card.md", "kind": "file", "media_type": "text/markdown", "content": b"# A model\n",
        "path": "report/model-card.md", "group": "report", "step": 40,
    }  # fmt: skip
    yield {
        "name": "best.pt", "kind": "file", "media_type": "application/octet-stream", "content": b"weights" * 999,
        "path": "best.pt", "stored": False,
    }  # fmt: skip
    for role, volume in volumes(seed).items():
        yield {
            "name": f"case-07/{role}", "kind": "volume", "media_type": "application/gzip", "group": "case-07",
            "role": role, "content": nifti(volume), "path": f"volumes/case-07-{role}.nii.gz", "step": 40,
        }  # fmt: skip


def slice_of(number: int) -> tuple[Plane, Plane]:
    """A chest, more or less, with a lesion in it."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    rng = np.random.default_rng(number)
    image = np.where((x / 0.9) ** 2 + (y / 0.7) ** 2 < 1, 130.0, 8.0)
    for side in (-0.4, 0.4):
        image = np.where(((x - side) / 0.28) ** 2 + (y / 0.5) ** 2 < 1, 40.0, image)
    lesion = ((x - 0.35) / (0.1 + 0.04 * number)) ** 2 + ((y - 0.12 * number) / 0.16) ** 2 < 1
    image = np.where(lesion, 150.0, image) + rng.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), (lesion * 255).astype(np.uint8)


def guess(lesion: Plane, *, off: int) -> Plane:
    return np.roll(lesion, (off, off // 2), axis=(0, 1))


def curve() -> Plane:
    plane = np.full((SIDE, 2 * SIDE), 250, np.uint8)
    for x in range(2 * SIDE):
        plane[int((SIDE - 8) * (1 - np.exp(-x / 60)) / 1.0) if x else 0, x] = 30
    return plane


def png(plane: Plane) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(plane).save(packed, "PNG")
    return packed.getvalue()


def volumes(seed: int) -> dict[str, NDArray[np.int16]]:
    z, y, x = np.mgrid[-1:1:24j, -1:1:40j, -1:1:40j]
    inside = x**2 + y**2 < 0.8
    lesion = (x - 0.3) ** 2 + y**2 + z**2 < 0.08
    image = np.where(inside, -800, -1000) + 850 * lesion + 900 * ((x**2 + y**2 > 0.65) & inside)
    return {
        "image": image.astype(np.int16),
        "mask": lesion.astype(np.int16),
        "prediction": np.roll(lesion, 1 + seed, axis=2).astype(np.int16),
    }


def nifti(volume: NDArray[np.int16]) -> bytes:
    """NIfTI-1, gzipped: a header of 348 bytes, four of padding, the voxels with x first."""
    depth, height, width = volume.shape
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, width, height, depth, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16
    struct.pack_into("<8f", header, 76, 1, 1, 1, 2, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<2h", header, 252, 0, 1)
    for row, values in enumerate(((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 2, 0))):
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + bytes(4) + volume.astype("<i2").tobytes(), mtime=0)
