"""Image archives: what an archive holds, and images of one more layer written without any image tool."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.say import ClusterError

TESTBOX_IMAGE = "orkhaven.local/testbox:1"


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an archive. `config`: digest of its configuration, which the node knows it by (its image id)."""

    name: str
    config: str


def images_in(archive: Path) -> list[Image]:
    """Names and configuration digests of all images of an OCI or docker archive.

    Raises ClusterError where the file is not there or is neither.
    """
    if not archive.is_file():
        raise ClusterError(f"{archive}: no such image archive; make one with `make images`")
    try:
        with tarfile.open(archive) as tar:
            names = set(tar.getnames())
            if "index.json" in names:
                found = _oci(tar)
            elif "manifest.json" in names:
                found = _docker(tar)
            else:
                raise ClusterError(f"{archive}: neither an OCI archive (index.json) nor a docker one (manifest.json)")
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise ClusterError(f"{archive}: a broken image archive: {error}") from error
    if not found:
        raise ClusterError(f"{archive}: holds no image with a name; give it one when it is written (name:tag)")
    return found


def _json(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    return json.load(member)


def _oci(tar: tarfile.TarFile) -> list[Image]:
    found = []
    for entry in _json(tar, "index.json")["manifests"]:
        annotations = entry.get("annotations", {})
        name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
        manifest = _json(tar, "blobs/" + entry["digest"].replace(":", "/"))
        if name and "config" in manifest:
            found.append(Image(name, manifest["config"]["digest"]))
    return found


def _docker(tar: tarfile.TarFile) -> list[Image]:
    found = []
    for entry in _json(tar, "manifest.json"):
        member = tar.extractfile(entry["Config"])
        digest = "sha256:" + hashlib.sha256(member.read() if member else b"").hexdigest()
        found += [Image(name, digest) for name in entry.get("RepoTags") or []]
    return found


def write_image(target: Path, *, name: str, files: Mapping[str, bytes], entrypoint: list[str]) -> Path:
    """Writes an OCI archive with one layer of executable files; the same input gives the same bytes."""
    layer = _tar(files, mode=0o755)
    config = _dump(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": entrypoint, "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _dump(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("config.v1+json", config),
            "layers": [_descriptor("layer.v1.tar", layer)],
        }
    )
    return _write(target, name=name, manifest=manifest, blobs=(layer, config))


def derive_image(base: Path, target: Path, *, name: str, without: str) -> Path:
    """Writes an OCI archive of the image in `base` under another name, from which a Python package is taken out again.

    One more layer that hides the package's folders; the layers below are not in the archive, the node has to have them.
    Raises ClusterError where the image has no such package.
    """
    with tarfile.open(base) as tar:
        blob = lambda entry: "blobs/" + entry["digest"].replace(":", "/")  # noqa: E731
        manifest = _json(tar, blob(_json(tar, "index.json")["manifests"][0]))
        config = _json(tar, blob(manifest["config"]))
        folders = [folder for layer in manifest["layers"] for folder in _packages(tar, blob(layer), without)]
    if not folders:
        raise ClusterError(f"{base}: the image has no Python package {without!r}")
    layer = _tar({f"{folder}/.wh.{without}": b"" for folder in folders})
    config["rootfs"]["diff_ids"].append(_digest(layer))
    config.setdefault("history", []).append({"created_by": f"without {without}"})
    raw = _dump(config)
    manifest["config"] = _descriptor("config.v1+json", raw)
    manifest["layers"].append(_descriptor("layer.v1.tar", layer))
    return _write(target, name=name, manifest=_dump(manifest), blobs=(layer, raw))


def _packages(tar: tarfile.TarFile, layer: str, package: str) -> list[str]:
    """The folders in which one layer has the package."""
    inside = re.compile(rf"(.*/(?:site|dist)-packages)/{re.escape(package)}/")
    with tarfile.open(fileobj=tar.extractfile(layer), mode="r:*") as files:
        return sorted({found[1] for entry in files if (found := inside.match(entry.name))})


def _write(target: Path, *, name: str, manifest: bytes, blobs: Sequence[bytes]) -> Path:
    entry = {
        **_descriptor("manifest.v1+json", manifest),
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
    }
    files = {"blobs/" + _digest(blob).replace(":", "/"): blob for blob in (*blobs, manifest)}
    index = _dump({"schemaVersion": 2, "manifests": [entry]})
    target.write_bytes(_tar({"oci-layout": _dump({"imageLayoutVersion": "1.0.0"}), "index.json": index, **files}))
    return target


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": _digest(blob), "size": len(blob)}


def _tar(files: Mapping[str, bytes], *, mode: int = 0o644) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, 0
            tar.addfile(entry, io.BytesIO(content))
    return sink.getvalue()
