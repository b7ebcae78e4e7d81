"""Sends the manifest's lines to the hub, small files with them: at least once, in order, from a thread of its own, as
metrics are. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from orkrun import contract
from orkrun.artifacts import manifest_lines
from orkrun.files import write_atomic
from orkrun.reporter import Answer, Sender, Target

SENT = ".sent.json"


class Uploader(Sender):
    """One artifact a request: a large one does not hold up the metrics, which have a thread of their own."""

    what = "artifacts"
    content_type = contract.ARTIFACT_TYPE

    def __init__(self, output: Path, target: Target, *, rng: random.Random) -> None:
        self._output = output
        self._manifest = output / contract.ARTIFACTS / contract.MANIFEST
        self._mark = output / contract.ARTIFACTS / SENT
        super().__init__(output, target, rng=rng)

    def left(self) -> bool:
        return bool(self._next(self._offset()))

    def send(self) -> bool | None:
        offset = self._offset()
        raw = self._next(offset)
        if not raw:
            return None
        parsed = manifest_lines(raw)
        if parsed:
            answer = self.post(raw + self._content(parsed[0]))
            if answer is Answer.LATER:
                return False
            if answer is Answer.REFUSED:
                self.say(f"the hub refused artifact {parsed[0]['name']!r} for good; it stays on the output volume")
        write_atomic(self._mark, json.dumps({"offset": offset + len(raw)}).encode(), durable=False)
        return True

    def _next(self, offset: int) -> bytes:
        """The next whole line; empty: there is none."""
        try:
            with open(self._manifest, "rb") as file:
                file.seek(offset)
                line = file.readline(contract.MAX_ARTIFACT_LINE)
        except FileNotFoundError:
            return b""
        return line if line.endswith(b"\n") else b""

    def _offset(self) -> int:
        try:
            return int(json.loads(self._mark.read_bytes())["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0  # at worst everything is sent again: the hub knows artifacts by their seq

    def _content(self, line: contract.ArtifactLine) -> bytes:
        """Of a small file; nothing of one that was changed or removed since: the hub would refuse its digest."""
        if not isinstance(line["size"], int) or line["size"] > contract.MAX_UPLOAD:
            return b""
        try:
            with open(self._output / line["path"], "rb") as file:
                content = file.read(contract.MAX_UPLOAD + 1)
        except OSError:
            return b""
        return content if hashlib.sha256(content).hexdigest() == line["sha256"] else b""
