"""A terminal in which a program runs, as a person has it who types and reads."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

ROWS, COLUMNS = 40, 200


class Terminal:
    """What was printed is in `screen`, escape sequences taken out."""

    def __init__(self, program: subprocess.Popen[bytes], master: int) -> None:
        self.screen = ""
        self._program = program
        self._master = master
        self._read_to = 0

    def type(self, line: str) -> None:
        os.write(self._master, f"{line}\n".encode())

    def until(self, pattern: str, *, timeout_s: float = 90) -> str:
        """What was printed since the last call, up to the pattern. Raises AssertionError with it where that does not
        come.
        """
        deadline = time.monotonic() + timeout_s
        while (found := re.compile(pattern).search(self.screen, self._read_to)) is None:
            assert time.monotonic() < deadline, f"no {pattern!r} within {timeout_s:.0f} s in\n{self.screen}"
            assert self._read(), f"it ended without {pattern!r}:\n{self.screen}"
        said = self.screen[self._read_to : found.end()]
        self._read_to = found.end()
        return said

    def ended(self, *, timeout_s: float = 90) -> int:
        """The exit code, once the program has ended."""
        deadline = time.monotonic() + timeout_s
        while self._read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.screen}"
        return self._program.wait(timeout_s)

    def _read(self) -> bool:
        """Waits a moment for more. False: there is no more."""
        if not select.select([self._master], [], [], 0.5)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # the last program that held the other end is gone
            return False
        self.screen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", piece.decode(errors="replace"))
        return bool(piece)


@contextmanager
def terminal(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (ROWS, COLUMNS))
    program = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        yield Terminal(program, master)
    finally:
        program.kill()
        program.wait()
        os.close(master)
