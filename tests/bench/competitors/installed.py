"""Competitors in environments of their own, under the cache folder: pinned and hashed by the files beside this one,
never among our requirements. `NAME.in` says what, `NAME.txt` is made of it by `compile`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orkhaven" / "competitors"
INSTALL_SECONDS = 600


def environment(name: str) -> Path:
    """The folder of the competitor's programs; installed at the first call. Raises InstallError."""
    folder, wanted = CACHE / name, HERE / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    stamp = folder / ".orkhaven"
    if not stamp.exists() or stamp.read_text() != digest:
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        folder.mkdir(parents=True, exist_ok=True)
        _run(uv, "venv", "-q", "--allow-existing", "--python", sys.executable, str(folder))
        _run(uv, "pip", "sync", "-q", "--require-hashes", "--python", str(folder / "bin" / "python"), str(wanted))
        stamp.write_text(digest)
    return folder / "bin"


class InstallError(Exception):
    """It cannot be installed here; the message says why."""


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(str(error)) from None
    if done.returncode != 0:
        raise InstallError(done.stderr.strip()[-500:])
