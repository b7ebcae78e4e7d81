"""The Debian base of all images: pulled from a registry, or made by debootstrap where none can be reached."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from images import cache
from images.engines import BASE_TAG, Build, Engine, install
from images.machine import PUBLIC_MIRRORS, SUITE, apt_conf, ca_bundle, mirrors
from images.say import ImageError, Say, run, timed

REGISTRY_IMAGE = f"docker.io/library/debian:{SUITE}-slim"


@dataclass(frozen=True, slots=True)
class Base:
    """`digest`: of the content; images are built anew when it changes. `origin`: debootstrap, or a reference."""

    origin: str
    digest: str


def known() -> Base | None:
    """The base that images were last built on; None: there is none yet."""
    try:
        return Base(**json.loads(_state().read_text()))
    except (OSError, ValueError, TypeError):
        return None


def ensure(engine: Engine, *, fresh: bool, say: Say) -> Base:
    """Makes the base known to the engine as `BASE_TAG`. `fresh`: pulled or made anew, with today's updates.

    Raises ImageError where there is neither a registry nor a way to run debootstrap.
    """
    last = None if fresh else known()
    present = engine.image_id(BASE_TAG)
    if last and last.origin == "debootstrap":
        if _tarball().exists():
            if present is None or present != _imported(engine):
                _import(engine, say)
            return last
    elif last and present == last.digest:
        return last
    try:
        with timed(say, f"base: {REGISTRY_IMAGE}"):
            engine.pull(REGISTRY_IMAGE, BASE_TAG)
        base = Base(REGISTRY_IMAGE, engine.image_id(BASE_TAG) or "")
    except ImageError as error:
        why = str(error).strip().splitlines()[-1].strip()
        say(f"it cannot be pulled ({why}): the base is made by debootstrap")
        if fresh or not _tarball().exists():
            _debootstrap(say)
        with open(_tarball(), "rb") as handle:
            base = Base("debootstrap", "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest())
        _import(engine, say)
    _state().write_text(json.dumps(asdict(base)))
    return base


def _state() -> Path:
    return cache.folder() / "base.json"


def _tarball() -> Path:
    return cache.folder() / "base" / f"{SUITE}-{platform.machine()}.tar"


def _imported(engine: Engine) -> str | None:
    """The engine's digest of the image that the tarball was imported as."""
    path = _tarball().with_suffix(f".{engine.name}")
    return path.read_text() if path.exists() and path.stat().st_mtime >= _tarball().stat().st_mtime else None


def _import(engine: Engine, say: Say) -> None:
    with timed(say, "base: into the store"), tempfile.TemporaryDirectory(dir=_tarball().parent) as scratch:
        context = Path(scratch)
        (context / "rootfs.tar").hardlink_to(_tarball())
        (context / "Dockerfile").write_text('FROM scratch\nADD rootfs.tar /\nCMD ["bash"]\n')
        log = cache.folder() / "base" / "import.log"
        engine.build(
            Build(context=context, tag=BASE_TAG, base="", secrets={}, labels={}, fresh=True, log=log), lambda line: None
        )
    _tarball().with_suffix(f".{engine.name}").write_text(engine.image_id(BASE_TAG) or "")


def _debootstrap(say: Say) -> None:
    install("debootstrap", "debian-archive-keyring", say=say)
    mirror = mirrors()
    target = _tarball()
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.with_name("debootstrap.log")
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="rootfs-") as scratch:
        root = Path(scratch) / "rootfs"
        with timed(say, f"base: debootstrap {SUITE}"):
            run(["debootstrap", "--variant=minbase", SUITE, root, mirror.debian], log=log)
        with timed(say, "base: updates"):
            _slim(root)
            _upgrade(root, mirror.sources(), log=log)
            _neutral(root)
        made = target.with_name(f".{target.name}")
        run(["tar", "--create", "--file", made, "--directory", root, "--numeric-owner", "--sort=name", "."])
        made.replace(target)


def _slim(root: Path) -> None:
    """As Debian's own slim images: no manuals and translations, the copyright files stay."""
    for folder in ("man", "info", "locale", "groff", "lintian", "linda"):
        shutil.rmtree(root / "usr/share" / folder, ignore_errors=True)
    for path in (root / "usr/share/doc").rglob("*"):
        if (path.is_file() or path.is_symlink()) and path.name != "copyright":
            path.unlink()
    excluded = ["man", "info", "locale", "groff", "lintian", "linda", "doc"]
    lines = [f"path-exclude /usr/share/{folder}/*" for folder in excluded]
    lines += ["path-include /usr/share/doc/*/copyright", "path-include /usr/share/locale/locale.alias"]
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text("\n".join(lines) + "\nforce-unsafe-io\n")


def _upgrade(root: Path, sources: str, *, log: Path) -> None:
    secrets = root / "run/secrets"
    secrets.mkdir(parents=True)
    (secrets / "apt.conf").write_text(apt_conf())
    (secrets / "sources.list").write_text(sources)
    (secrets / "ca.crt").write_bytes(ca_bundle())
    script = "apt-get update -q && apt-get upgrade -qy"
    run(
        ["chroot", root, "/bin/sh", "-c", script],
        log=log,
        env={
            "APT_CONFIG": "/run/secrets/apt.conf",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        },
    )
    shutil.rmtree(secrets)


def _neutral(root: Path) -> None:
    """Nothing of this machine: its mirror, name, resolver and identity, and no caches."""
    (root / "etc/apt/sources.list").write_text(PUBLIC_MIRRORS.sources())
    for name in ("hostname", "resolv.conf", "machine-id"):
        (root / "etc" / name).write_text("")
    for folder in ("var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log", "tmp"):
        for path in (root / folder).iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
