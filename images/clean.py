"""Removes everything that the builder keeps: archives, layers, the base, and its own image store."""

from __future__ import annotations

import shutil
from pathlib import Path

from images import cache, catalogue, engines
from images.say import Say, timed


def clean(*, say: Say) -> None:
    """Nothing happens where there is nothing. Of a Docker engine only the images of this project's tags are removed."""
    folder = cache.folder()
    if not folder.exists():
        return
    size = sum(path.stat().st_size for path in folder.glob("*.tar"))
    with cache.lock(say), timed(say, f"removing {folder}, {size / 1e9:.1f} GB of archives and their layers"):
        if (folder / "storage").exists():
            # By buildah, since the store has mounts and, for its overlays, files that are more than files.
            engines.Buildah().clean()
        _clean_docker()
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
        shutil.rmtree(Path("/run/orkhaven-images") / cache.fingerprint(), ignore_errors=True)


def _clean_docker() -> None:
    engine = engines.find_docker()
    for tag in [*(image.tag for image in catalogue.IMAGES.values()), engines.BASE_TAG]:
        if engine and engine.image_id(tag):
            engine.remove(tag)
