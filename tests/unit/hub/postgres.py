"""A PostgreSQL server of the tests' own, from the system's programs, in a temporary folder, on a Unix socket only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

_LIB = Path("/usr/lib/postgresql")


def find_programs() -> Path | None:
    """The folder with initdb and pg_ctl of the newest version that is installed."""
    found = sorted(_LIB.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True)
    if found:
        return found[0].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path and shutil.which("pg_ctl") else None


class Server:
    """Started by the constructor, ended by `stop`, which removes everything."""

    def __init__(self, programs: Path, *, durable: bool = False) -> None:
        self._programs = programs
        self._durable = durable
        # Not pytest's own folder: a socket's path has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ork-pg-"))
        self._data = self.folder / "data"
        # PostgreSQL refuses to run as root.
        self._user = pwd.getpwnam("postgres" if _has_user("postgres") else "nobody") if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self._call("initdb", "-D", self._data, "-U", "orkhaven", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def start(self) -> None:
        # Durability is PostgreSQL's own affair; tests kill the hub, not the database's machine. A bench pays for it.
        fsync = "on" if self._durable else "off"
        options = f"-k {self.folder} -c listen_addresses= -c fsync={fsync} -c max_connections=40"
        self._call("pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", self.folder / "log", "-o", options, "start")

    def halt(self) -> None:
        """The server goes away as by a crash; `start` brings it back."""
        self._call("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def stop(self) -> None:
        try:
            self.halt()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"postgresql://orkhaven@/postgres?host={self.folder}"

    def database(self, name: str) -> str:
        """An empty place of that name; its SQLAlchemy URL. A schema: to make a whole database takes a hundred times
        longer.
        """
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"')
        return f"{self.url}&options=-csearch_path%3D{name}"

    def _call(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            cwd=self.folder,
            # pg_ctl's child keeps a pipe open for ever; a file it may keep.
            stdout=open(self.folder / f"{program}.out", "wb"),  # noqa: SIM115
            stderr=subprocess.STDOUT,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {(self.folder / f'{program}.out').read_text()}")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
