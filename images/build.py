"""Builds what changed. The archive of an image is named by its inputs, so whether it is there is the whole question."""

from __future__ import annotations

import os
import tempfile
import time
import tomllib
from pathlib import Path

from images import base, cache, catalogue, engines
from images.machine import write_secrets
from images.say import ImageError, Say, timed, to_stderr


def archive_of(name: str) -> Path:
    """The archive of an image, built from what the checkout holds now; it holds `localhost/orkhaven-<name>:dev`.

    Raises ImageError where it has not been built.
    """
    path = _expected(name, catalogue.find(name).read())
    if path is None or not path.exists():
        raise ImageError(f"the image {name} is not built from these files: run `python3 -m images build {name}`")
    return path


def up_to_date(name: str) -> bool:
    """Whether the image that the checkout stands for is built."""
    path = _expected(name, catalogue.find(name).read())
    return path is not None and path.exists()


def build(name: str, *, force: bool = False, say: Say = to_stderr) -> Path:
    """Builds an image where its inputs changed (`force`: anyway, from an updated base) and returns its archive."""
    image = catalogue.find(name)
    started = time.monotonic()
    with cache.lock(say):
        context = image.read()
        target = _expected(name, context)
        if target and target.exists() and not force:
            os.utime(target)
            say(f"{name}: up to date")
            return target
        engine = engines.find(say)
        ground = base.ensure(engine, fresh=force, say=say)
        target = cache.archive_path(name, context.inputs(ground.digest))
        _build(engine, image, context, force=force, say=say)
        with timed(say, f"{name}: archive"):
            engine.save(image.tag, target)
        cache.drop_old(name)
    say(f"{name}: built by {engine.name} in {time.monotonic() - started:.0f} s, {target.stat().st_size / 1e6:.0f} MB")
    return target


def _build(
    engine: engines.Engine, image: catalogue.Image, context: catalogue.Context, *, force: bool, say: Say
) -> None:
    log = cache.folder() / f"{image.name}.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="orkhaven-image-") as scratch, timed(say, f"{image.name}: layers"):
        folder = Path(scratch) / "context"
        folder.mkdir()
        context.write(folder)
        engine.build(
            engines.Build(
                context=folder,
                tag=image.tag,
                base=engines.BASE_TAG,
                secrets=write_secrets(Path(scratch) / "secrets"),
                labels=_labels(),
                fresh=force,
                log=log,
            ),
            say,
        )


def _labels() -> dict[str, str]:
    project = tomllib.loads((catalogue.ROOT / "pyproject.toml").read_text())["project"]
    labels = {"org.opencontainers.image.version": project["version"]}
    if source := project.get("urls", {}).get("Source"):
        labels["org.opencontainers.image.source"] = source
    return labels


def _expected(name: str, context: catalogue.Context) -> Path | None:
    ground = base.known()
    return cache.archive_path(name, context.inputs(ground.digest)) if ground else None
