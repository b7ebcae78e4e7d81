"""Which images there are, and what each is made of. Nothing but files of the checkout: no git, so a tarball will do."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tomllib
from dataclasses import dataclass
from pathlib import Path

from images.say import ImageError

ROOT = Path(__file__).resolve().parent.parent

# Fixed, so that the same files give the same layers: 2020-01-01, later than what zip files can hold.
_MTIME = 1577836800
_RECIPE = 1
"""Raise it when the builder makes something else of the same files."""


@dataclass(frozen=True, slots=True)
class Package:
    """A Python package of ours: its name, and the source root it lies in, relative to the checkout."""

    name: str
    root: str

    @property
    def folder(self) -> Path:
        return ROOT / self.root / self.name


ORKHAVEN = Package("orkhaven", "operator")
ORKRUN = Package("orkrun", "trainer")
CTSEG = Package("ctseg", "trainer")


@dataclass(frozen=True, slots=True)
class Image:
    """One image: `images/<name>/Dockerfile` over the context that `read` returns."""

    name: str
    packages: tuple[Package, ...]
    command: str
    """The package whose `__main__.main` is the image's command, under the package's name."""

    @property
    def tag(self) -> str:
        return f"localhost/orkhaven-{self.name}:dev"

    @property
    def dockerfile(self) -> Path:
        return ROOT / "images" / self.name / "Dockerfile"

    @property
    def requirements(self) -> Path:
        return ROOT / "requirements" / f"{self.name}.txt"

    def read(self) -> Context:
        """What the checkout holds now. Raises ImageError where a file that is needed is missing."""
        files = {"Dockerfile": _read(self.dockerfile), "requirements.txt": _read(self.requirements)}
        for package in self.packages:
            for path in _sources(package.folder):
                files[f"site/{package.name}/{path.relative_to(package.folder)}"] = _read(path)
        files[f"bin/{self.command}"] = _SCRIPT.format(package=self.command).encode()
        project = tomllib.loads(_read(ROOT / "pyproject.toml").decode())["project"]
        info = f"site/{project['name']}-{project['version']}.dist-info"
        files[f"{info}/METADATA"] = _METADATA.format(**project, python=project["requires-python"]).encode()
        files[f"{info}/entry_points.txt"] = (
            f"[console_scripts]\n{self.command} = {self.command}.__main__:main\n".encode()
        )
        files[f"{info}/INSTALLER"] = b"orkhaven-images\n"
        files[f"{info}/licenses/LICENSE"] = _read(ROOT / "LICENSE")
        return Context(files)


@dataclass(frozen=True, slots=True)
class Context:
    """What an image is built from: path -> content. Read once, so that what is named is what is built."""

    files: dict[str, bytes]

    def inputs(self, base: str) -> str:
        """Names the files, the base image and the architecture together. 16 hexadecimal digits."""
        digests = {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()}
        parts = [_RECIPE, base, platform.machine(), digests]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Lays the files out in an empty folder, with modes and times that depend on nothing."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if name.startswith("bin/") else 0o644)
            os.utime(path, (_MTIME, _MTIME))
        for parent, _, _ in os.walk(folder, topdown=False):
            Path(parent).chmod(0o755)
            os.utime(parent, (_MTIME, _MTIME))


IMAGES = {
    image.name: image
    for image in (
        Image("operator", packages=(ORKHAVEN, ORKRUN), command="orkhaven"),
        Image("trainer-cpu", packages=(CTSEG, ORKRUN), command="ctseg"),
        Image("trainer", packages=(CTSEG, ORKRUN), command="ctseg"),
    )
}


def find(name: str) -> Image:
    """Raises ImageError for an unknown name."""
    if name not in IMAGES:
        raise ImageError(f"there is no image {name!r}; there are: {', '.join(IMAGES)}")
    return IMAGES[name]


_SCRIPT = """\
#!/opt/orkhaven/bin/python
import sys

from {package}.__main__ import main

sys.exit(main())
"""

_METADATA = """\
Metadata-Version: 2.4
Name: {name}
Version: {version}
Summary: {description}
License-Expression: {license}
License-File: LICENSE
Requires-Python: {python}
"""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; an image cannot be built from an incomplete checkout") from error


def _sources(folder: Path) -> list[Path]:
    """Everything in a package that is not an editor's or an interpreter's left-over, sorted."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith((".", "#")) and not name.endswith((".pyc", ".orig", ".rej", "~"))
        ]
    if not found:
        raise ImageError(f"{folder}: no such package; an image cannot be built from an incomplete checkout")
    return sorted(found)
