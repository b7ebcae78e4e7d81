"""Archives out of an OCI layout (a folder of blobs), and the blobs that nothing refers to any more."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from images.say import ImageError


def pack(layout: Path, *, name: str, tag: str, target: Path) -> None:
    """Writes the image that the layout calls `name` as an OCI archive in which it is called `tag`.

    Complete or not there at all: it is renamed into place. Raises ImageError where the layout lacks the image.
    """
    entry = next((entry for entry in _index(layout)["manifests"] if _name(entry) == name), None)
    if entry is None:
        raise ImageError(f"{layout}: holds no image named {name}")
    # containerd takes the name from the first, Docker and others from the second.
    annotations = {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": annotations}]}
    scratch = target.with_name(f".{target.name}")
    with tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            _add_json(tar, member, content, scratch.parent)
        for digest in dict.fromkeys(_blobs(layout, entry)):
            tar.add(_blob(layout, digest), arcname=f"blobs/{digest.replace(':', '/')}", filter=_plain)
    scratch.replace(target)


def collect(layout: Path) -> int:
    """Removes the blobs that belong to no image of the layout's index; returns how many."""
    used = {digest for entry in _index(layout)["manifests"] for digest in _blobs(layout, entry)}
    unused = [path for path in (layout / "blobs" / "sha256").iterdir() if f"sha256:{path.name}" not in used]
    for path in unused:
        path.unlink()
    return len(unused)


def config(archive: Path) -> dict[str, Any]:
    """The configuration of the first image of an OCI or docker archive: environment, user, history."""
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        if "index.json" in names:
            entry = _load(tar, "index.json")["manifests"][0]
            manifest = _load(tar, "blobs/" + entry["digest"].replace(":", "/"))
            found: dict[str, Any] = _load(tar, "blobs/" + manifest["config"]["digest"].replace(":", "/"))
        else:
            found = _load(tar, _load(tar, "manifest.json")[0]["Config"])
        return found


def _load(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    if member is None:
        raise ImageError(f"{tar.name!r}: {name} is not a file")
    return json.load(member)


def _index(layout: Path) -> Any:
    try:
        return json.loads((layout / "index.json").read_text())
    except (OSError, ValueError) as error:
        raise ImageError(f"{layout}: no OCI layout: {error}") from error


def _name(entry: dict[str, Any]) -> str | None:
    name: str | None = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
    return name


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _blobs(layout: Path, entry: dict[str, Any]) -> Iterator[str]:
    yield entry["digest"]
    manifest = json.loads(_blob(layout, entry["digest"]).read_text())
    yield manifest["config"]["digest"]
    yield from (layer["digest"] for layer in manifest["layers"])


def _add_json(tar: tarfile.TarFile, name: str, content: Any, scratch: Path) -> None:
    path = scratch / f".{name}.{os.getpid()}"
    path.write_text(json.dumps(content))
    tar.add(path, arcname=name, filter=_plain)
    path.unlink()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
