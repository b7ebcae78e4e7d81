"""Sends the spooled metric lines to the hub from a thread of its own: the training neither waits for it nor fails by
it. `Sender` is what `uploader` has in common with it.

At least once, in order, oldest attempt first. The token is read anew for every request, because the kubelet rotates it.
Standard library only.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from orkrun.spool import Backlog

BATCH_BYTES = 256 * 1024
REQUEST_TIMEOUT = 10.0  # seconds
BACKOFF_BASE = 0.5  # seconds, doubled after each failure in a row
BACKOFF_MAX = 60.0  # seconds
CLOSING_RETRY = 0.25  # seconds between tries while the process waits to end

_REFUSED = {400, 413, 422}
"""The lines themselves are refused: sending them again cannot help."""


class Answer(Enum):
    TAKEN = "taken"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send to. `url` is whole; an empty one means that nothing is sent and everything stays in the spool."""

    url: str
    token_file: Path


class Sender(ABC):
    """One daemon thread. `notify` after something was written; `close` gives it a bounded time to finish."""

    what = "metrics"
    """What is sent, for messages."""
    content_type = "application/x-ndjson"

    def __init__(self, folder: Path, target: Target, *, rng: random.Random) -> None:
        self._folder = folder
        self._target = target
        self._rng = rng
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")  # time.monotonic()
        self._said: str | None = None
        # The hub is a service of the cluster: a proxy that the image's environment names is for the world outside.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._thread = threading.Thread(target=self._run, name=f"orkrun-{self.what}", daemon=True)
        if target.url:
            self._thread.start()

    @abstractmethod
    def left(self) -> bool:
        """Whether anything is not sent. Raises OSError."""

    @abstractmethod
    def send(self) -> bool | None:
        """Sends the next part. True: go on; False: later; None: all is sent. Raises OSError. In the thread alone."""

    def notify(self) -> None:
        self._wake.set()

    def closing(self, deadline: float) -> None:
        """From now on it ends once all is sent, and at `deadline` (time.monotonic()) in any case."""
        self._deadline = deadline
        self._closing.set()
        self._wake.set()

    def close(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds until all is sent. False: something is left, a later attempt sends it."""
        if not self._target.url:
            return True
        deadline = min(self._deadline, time.monotonic() + timeout)
        self.closing(deadline)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        try:
            return not self._thread.is_alive() and not self.left()
        except OSError:
            return False

    def _run(self) -> None:
        failures = 0
        while time.monotonic() < self._deadline:
            try:
                done = self.send()
                if done:
                    failures = 0
                    continue
                if done is None:
                    if self._closing.is_set():
                        return
                    self._wake.wait()
                    self._wake.clear()
                    continue
            except OSError as error:
                self.say(f"spooled {self.what} cannot be read or marked as sent: {error}")
            failures += 1
            self._pause(failures)

    def _pause(self, failures: int) -> None:
        if self._closing.is_set():
            time.sleep(max(0.0, min(CLOSING_RETRY, self._deadline - time.monotonic())))
        else:
            ceiling = min(BACKOFF_MAX, BACKOFF_BASE * 2 ** min(failures - 1, 10))
            self._closing.wait(self._rng.uniform(ceiling / 2, ceiling))

    def post(self, body: bytes) -> Answer:
        request = urllib.request.Request(self._target.url, data=body, method="POST")
        request.add_header("Content-Type", self.content_type)
        with contextlib.suppress(OSError):  # without a token the hub says 401, which says more than we could
            request.add_header("Authorization", f"Bearer {self._target.token_file.read_text().strip()}")
        timeout = max(0.1, min(REQUEST_TIMEOUT, self._deadline - time.monotonic()))
        later = f"{self.what} are spooled and sent later"
        try:
            with self._opener.open(request, timeout=timeout) as response:
                response.read()
        except urllib.error.HTTPError as error:
            detail = ""
            with contextlib.suppress(OSError):
                detail = error.read(300).decode(errors="replace")
            error.close()
            if error.code in _REFUSED:
                self.say(f"the hub answered {error.code}: {detail}")
                return Answer.REFUSED
            token = (
                f"; the token in {self._target.token_file} is read again each time" if error.code in (401, 403) else ""
            )
            self.say(f"the hub answered {error.code}: {detail}{token}; {later}")
            return Answer.LATER
        except (OSError, ValueError, EOFError) as error:
            self.say(f"the hub cannot be reached ({error}); {later}")
            return Answer.LATER
        except Exception as error:  # noqa: BLE001 - http.client raises its own; no answer may end the thread
            self.say(f"the hub's answer cannot be understood ({error!r}); {later}")
            return Answer.LATER
        if self._said is not None:
            self.say(None)
        return Answer.TAKEN

    def say(self, message: str | None) -> None:
        """Once per change: a hub that is down for an hour is one line in the log, and so is its return."""
        if message != self._said:
            print(f"orkrun: {message or f'the hub takes {self.what} again'}", file=sys.stderr, flush=True)
            self._said = message


class Reporter(Sender):
    """The metric lines."""

    def __init__(self, folder: Path, target: Target, *, rng: random.Random) -> None:
        self._backlog: Backlog | None = None
        self._limit = BATCH_BYTES
        super().__init__(folder, target, rng=rng)

    def left(self) -> bool:
        return bool(Backlog(self._folder).peek(1))

    def send(self) -> bool | None:
        backlog = self._backlog = self._backlog or Backlog(self._folder)
        lines = backlog.peek(self._limit)
        if not lines:
            return None
        answer = self.post(b"".join(lines))
        if answer is Answer.TAKEN:
            self._limit = BATCH_BYTES
            backlog.advance(sum(map(len, lines)))
        elif answer is Answer.REFUSED:
            # One bad line must not hold up the others: halve the batch until it stands alone.
            if len(lines) == 1:
                self.say(f"the hub refused this line for good, it is dropped: {lines[0][:300]!r}")
                backlog.advance(len(lines[0]))
                self._limit = BATCH_BYTES
            else:
                self._limit = sum(map(len, lines[: len(lines) // 2]))
        return answer is not Answer.LATER
