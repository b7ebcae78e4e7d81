"""A kubectl that serves in the background: `kubectl proxy`, `kubectl port-forward`.

It never outlives this process, however that ends: a shell holds the other end of a pipe and ends it when the pipe
closes. It is in a session of its own, so that Ctrl-C at the terminal ends the reader before the source.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence

# `read` fails when the pipe closes. The shell lets go of the outputs, so that they end with the child.
_GUARD = """
"$@" </dev/null &
child=$!
exec >/dev/null 2>&1
trap 'kill $child 2>/dev/null; exit' TERM
while read -r _; do :; done
kill $child 2>/dev/null
"""

_KLOG = re.compile(r"[IWEF]\d{4} ")
"""Lines of kubectl's own log: kept for the error, not shown."""


class ChildFailed(Exception):
    """It ended, or said nothing, before it was ready. The text is what it said last."""


class Child:
    """One background process that says when it is ready."""

    def __init__(self, process: subprocess.Popen[str], said: deque[str]) -> None:
        self._process = process
        self._said = said
        self._reader = threading.Thread(target=lambda: None)
        self.ready: re.Match[str] | None = None
        """The line that said so."""

    @classmethod
    def start(
        cls, command: Sequence[str], *, ready: str, seconds: float = 30, env: Mapping[str, str] | None = None
    ) -> Child:
        """Returns once a line of its output matches `ready`. Raises ChildFailed."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        )
        said: deque[str] = deque(maxlen=20)
        found: list[re.Match[str]] = []
        settled = threading.Event()

        def read_output() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                match = re.search(ready, line)
                if match and not found:
                    found.append(match)
                    settled.set()
            settled.set()  # its end of the pipe is closed: it is gone

        def read_errors() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line.rstrip())
                if not _KLOG.match(line) and found:
                    # A credential plugin's question ("open this page and enter ...") is for the person.
                    sys.stderr.write(line)

        threads = [threading.Thread(target=target, daemon=True) for target in (read_output, read_errors)]
        for thread in threads:
            thread.start()
        child = cls(process, said)
        child._reader = threads[0]
        if not settled.wait(seconds) or not found:
            ended = settled.is_set()
            child.stop()
            threads[1].join(1)
            raise ChildFailed("\n".join(said) or ("it ended at once" if ended else f"not ready within {seconds:g} s"))
        child.ready = found[0]
        return child

    def last_words(self) -> str:
        """What it wrote to standard error last."""
        return "\n".join(self._said)

    def stop(self) -> None:
        """Ends it. Safe to repeat."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Returns when it has ended by itself."""
        self._reader.join()
