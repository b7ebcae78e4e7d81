"""Images, volumes and other files that a run reports: one line each in a manifest under the output folder.

A file that is given as bytes, or lies elsewhere, is put into the folder `artifacts`; one that is in the output folder
already stays where it is. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import cast

from orkrun import contract
from orkrun.contract import ArtifactKind, ArtifactLine, ArtifactRole
from orkrun.files import write_atomic

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": ("image/png", ".png"),
    b"\xff\xd8\xff": ("image/jpeg", ".jpg"),
    b"GIF87a": ("image/gif", ".gif"),
    b"GIF89a": ("image/gif", ".gif"),
}
_MEDIA_TYPES = {
    ".nii": "application/x-nifti",
    ".gz": "application/gzip",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".npy": "application/x-npy",
    ".npz": "application/zip",
    ".zip": "application/zip",
    ".pdf": "application/pdf",
}
_LONGEST = {"name": 200, "caption": 1000, "group": 200, "path": 512}


def media_type(path: Path) -> str:
    """By the name alone: what a browser may show inline is decided by the hub, and by the first bytes of an image."""
    return _MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")


def image_type(content: bytes) -> tuple[str, str] | None:
    """(media type, suffix) by the first bytes; None: no image that a browser shows without running anything."""
    for magic, found in _IMAGES.items():
        if content.startswith(magic):
            return found
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp", ".webp"
    return None


class Manifest:
    """Of one run's folder, over all its attempts. One process at a time writes it: the one that holds the folder."""

    def __init__(self, output: Path, attempt: int) -> None:
        """Opens nothing before something is reported."""
        self._output = output
        self._folder = output / contract.ARTIFACTS
        self._attempt = attempt
        self._size = -1
        self._count = 0
        self._seq = 0

    def image(self, name: str, image: bytes | str | os.PathLike[str], **about: object) -> ArtifactLine:
        """A PNG, JPEG, GIF or WebP. Raises ValueError, OSError."""
        content = bytes(image) if isinstance(image, bytes | bytearray | memoryview) else Path(image).read_bytes()
        found = image_type(content)
        if found is None:
            raise ValueError("it is no PNG, JPEG, GIF or WebP image")
        kind, suffix = found
        if isinstance(image, bytes | bytearray | memoryview):
            path = self._place(name, suffix, about, hashlib.sha256(content).hexdigest())
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content, durable=False)
        else:
            path = self._inside(name, Path(image), about)
        return self._add(name, ArtifactKind.IMAGE, path, kind, about)

    def file(self, name: str, path: Path, *, kind: ArtifactKind, **about: object) -> ArtifactLine:
        """Any file. Raises ValueError, OSError."""
        if not path.is_file():
            raise ValueError(f"{path} is no file")
        path = self._inside(name, path, about)
        return self._add(name, kind, path, media_type(path), about)

    def lines(self) -> list[ArtifactLine]:
        """All of the folder's, as far as they can be read."""
        try:
            return manifest_lines((self._folder / contract.MANIFEST).read_bytes())
        except OSError:
            return []

    def _inside(self, name: str, path: Path, about: dict[str, object]) -> Path:
        """The file itself where it is in the output folder, else a copy."""
        real = path.resolve()
        if real.is_relative_to(self._output.resolve()):
            return real
        sha256, _ = digest(real)
        target = self._place(name, "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix, about, sha256)
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(real, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def _place(self, name: str, suffix: str, about: dict[str, object], sha256: str) -> Path:
        """A file name that says what it is; the digest keeps two of the same name apart."""
        word = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:80] or "artifact"
        step = about.get("step")
        tail = re.sub(r"[^A-Za-z0-9.]", "", suffix)[:16]
        return self._folder / f"{word}{'' if step is None else f'-{step}'}-{sha256[:8]}{tail}"

    def _add(self, name: str, kind: ArtifactKind, path: Path, media: str, about: dict[str, object]) -> ArtifactLine:
        self._open()
        if self._count >= contract.MAX_ARTIFACTS:
            raise ValueError(f"a run has at most {contract.MAX_ARTIFACTS} artifacts")
        role = str(about.get("role") or "")
        if role not in set(ArtifactRole):
            raise ValueError(f"role is image, mask or prediction, not {role!r}")
        sha256, size = digest(path)
        line = {
            "attempt": self._attempt,
            "seq": self._seq + 1,
            "time": time.time(),
            "name": name,
            "kind": kind.value,
            "path": path.resolve().relative_to(self._output.resolve()).as_posix(),
            "sha256": sha256,
            "size": size,
            "mediaType": media,
            **{key: about[key] for key in ("step", "caption", "group") if about.get(key) not in (None, "")},
            **({"role": role} if role else {}),
        }
        for key, longest in _LONGEST.items():
            value = line.get(key, "")
            optional = key in ("caption", "group")
            if not isinstance(value, str) or len(value) > longest or not value.isprintable() or not (value or optional):
                raise ValueError(f"{key} is a text of 1 to {longest} printable characters, not {str(value)[:60]!r}")
        self._write(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        self._count += 1
        self._seq += 1
        return cast(ArtifactLine, line)

    def _open(self) -> None:
        if self._size >= 0:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            content = (self._folder / contract.MANIFEST).read_bytes()
        except FileNotFoundError:
            content = b""
        self._size = content.rfind(b"\n") + 1  # half a line of a process that was killed is written over
        lines = manifest_lines(content[: self._size])
        self._count = len(lines)
        self._seq = max((line["seq"] for line in lines if line["attempt"] == self._attempt), default=0)

    def _write(self, content: bytes) -> None:
        fd = os.open(self._folder / contract.MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            os.ftruncate(fd, self._size)
            if os.pwrite(fd, content, self._size) != len(content):
                os.ftruncate(fd, self._size)
                raise OSError(28, "No space left on device", str(self._folder / contract.MANIFEST))
        finally:
            os.close(fd)
        self._size += len(content)


def manifest_lines(content: bytes) -> list[ArtifactLine]:
    """The lines that can be read; damaged ones are left out."""
    found: list[ArtifactLine] = []
    for raw in content.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("seq"), int) and isinstance(line.get("path"), str):
            found.append(cast(ArtifactLine, line))
    return found


def digest(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file. Raises OSError."""
    with open(path, "rb") as file:
        made = hashlib.file_digest(file, "sha256")
        return made.hexdigest(), file.tell()
