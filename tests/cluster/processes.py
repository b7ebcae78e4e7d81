"""Long-running processes that outlive the tool: started with a log file, recorded, found again, stopped.

A record holds the process id together with the time the process started and the boot it belongs to, so that a
number that was given to a stranger since then is never taken for one of ours. Linux only (/proc).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster.say import ClusterError, tail

# PF_EXITING of the kernel, in the flags of /proc/<pid>/stat.
_EXITING = 0x4
# Children of this very interpreter: kept so that their exit is collected and they don't stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Record:
    """How a process was started, and as what it runs. `ticks`: its start in clock ticks since boot."""

    name: str
    pid: int
    ticks: int
    boot: str
    argv: list[str]
    env: dict[str, str]


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None where there is none (a zombie counts as none)."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
    fields = _stat(pid)
    if fields is None:
        return None
    if fields[0] in "ZX":
        # A zombie whose other threads are still on their way out still holds its ports and locks.
        with contextlib.suppress(OSError):
            if len(os.listdir(f"/proc/{pid}/task")) > 1:
                return int(fields[19])
        return None
    return int(fields[19])


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third on, the state."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the name in brackets and may hold blanks and brackets itself.
    return text[text.rindex(")") + 2 :].split()


def _is_dying(pid: int) -> bool:
    """Whether a process that is still there has been killed: a big one takes a moment to go."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX" or int(fields[6]) & _EXITING:
        return True
    try:
        pending = re.findall(
            r"^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
        )
    except OSError:
        return True
    return any(int(mask, 16) >> (signal.SIGKILL - 1) & 1 for mask in pending)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Processes:
    """The processes of one cluster, one record file each in `folder`, one log file each in `logs`."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder = folder
        self._logs = logs

    def names(self) -> list[str]:
        """Names of all processes ever started and not forgotten."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def record(self, name: str) -> Record | None:
        try:
            return Record(**json.loads((self._folder / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def pid(self, name: str) -> int | None:
        """Process id where the process lives, else None."""
        record = self.record(name)
        if record is None or record.boot != _boot() or start_ticks(record.pid) != record.ticks:
            return None
        return record.pid

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def start(
        self, name: str, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, enter: Sequence[str] = ()
    ) -> None:
        """Starts a process unless it runs already with this very command line; one with another is replaced.

        `enter`: a prefix that changes namespaces and then executes the rest.
        """
        full = [*enter, *map(str, argv)]
        extra = dict(env or {})
        record = self.record(name)
        if record is not None and self.pid(name) is not None:
            if (record.argv, record.env) == (full, extra):
                return
            self.stop(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with open(self.log(name), "ab") as sink:
            child = subprocess.Popen(
                full,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **extra},
                cwd="/",
                start_new_session=True,
            )
        _children[child.pid] = child
        ticks = start_ticks(child.pid)
        if ticks is None:
            raise ClusterError(f"{name} ended at once:\n{tail(self.log(name))}")
        record = Record(name=name, pid=child.pid, ticks=ticks, boot=_boot(), argv=full, env=extra)
        scratch = self._folder / f".{name}.tmp"
        scratch.write_text(json.dumps(asdict(record), indent=1))
        scratch.replace(self._folder / f"{name}.json")

    def restart(self, name: str) -> None:
        """Starts a process again as it was started last; nothing happens where it runs."""
        record = self.record(name)
        if record is None:
            raise ClusterError(f"no process {name!r} was ever started here; there are: {', '.join(self.names())}")
        self.start(name, record.argv, env=record.env)

    def send(self, name: str, number: int) -> bool:
        """Sends a signal where the process lives; says whether it did."""
        pid = self.pid(name)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def stop(self, name: str, *, grace: float = 5.0) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds; returns when the process is gone."""
        self.send(name, signal.SIGTERM)
        if not self._gone(name, grace):
            self.send(name, signal.SIGKILL)
            if not self._gone(name, 10):
                raise ClusterError(f"{name} (process {self.pid(name)}) does not end even by SIGKILL")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal and, where it is SIGKILL, waits until the process is gone."""
        if self.send(name, number) and number == signal.SIGKILL:
            self._gone(name, 10)

    def check(self) -> None:
        """Raises ClusterError with the end of the log of the first process that is recorded and does not run."""
        for name in self.names():
            if self.pid(name) is None:
                raise ClusterError(f"{name} has ended; the end of {self.log(name)}:\n{tail(self.log(name))}")

    def forget_dead(self) -> list[str]:
        """Drops the records of processes that have ended and returns their names; awaits those just killed."""
        for name in self.names():
            pid = self.pid(name)
            if pid is not None and _is_dying(pid):
                self._gone(name, 10)
        dead = [name for name in self.names() if self.pid(name) is None]
        for name in dead:
            (self._folder / f"{name}.json").unlink(missing_ok=True)
        return dead

    def _gone(self, name: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid(name) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
