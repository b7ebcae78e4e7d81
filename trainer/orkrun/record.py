"""The termination record: the final word of a container, at most TERMINATION_LIMIT bytes. Standard library only."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orkrun import contract
from orkrun.contract import TerminationRecord

_MESSAGE = 1000
_EXCERPT = 1200


def encode(
    record: TerminationRecord, *, objective: str | None = None, limit: int = contract.TERMINATION_LIMIT
) -> bytes:
    """The record as JSON of at most `limit` bytes.

    Given up in this order until it fits: the older part of the excerpt, the end of the message, metrics from the last
    one reported on (the objective's own stays), the excerpt, the rest of the message. Outcome, objective, step, failure
    type and fingerprint always stay.
    """
    short: Any = copy.deepcopy(record)
    failure = short.get("failure", {})
    if len(_dump(short)) <= limit:
        return _dump(short)
    if "excerpt" in failure:
        failure["excerpt"] = failure["excerpt"][-_EXCERPT:]
    if "message" in failure:
        failure["message"] = _cut(failure["message"], _MESSAGE)
    metrics = short.get("metrics", {})
    for name in [name for name in reversed(metrics) if name != objective]:
        if len(_dump(short)) <= limit:
            break
        del metrics[name]
    while failure.get("excerpt") and len(_dump(short)) > limit:
        failure["excerpt"] = failure["excerpt"][len(failure["excerpt"]) // 2 + 1 :]
    while len(failure.get("message", "")) > 1 and len(_dump(short)) > limit:
        failure["message"] = _cut(failure["message"], len(failure["message"]) // 2)
    for key in ("note", "checkpoint", "metrics"):
        if len(_dump(short)) > limit:
            short.pop(key, None)
    for key in ("location", "type"):  # absurdly long names; a record that parses is worth more
        if len(_dump(short)) > limit and key in failure:
            failure[key] = failure[key][:200]
    return _dump(short)


def _dump(record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - 1, 0)] + "…"


def termination_log(environ: Mapping[str, str], *, in_cluster: bool) -> Path | None:
    """Where the record goes. Without a cluster only where the environment names a file: /dev is no place for it."""
    named = environ.get(contract.ENV_TERMINATION_LOG)
    if named:
        return Path(named)
    default = Path(contract.DEFAULT_TERMINATION_LOG)
    return default if in_cluster and default.exists() else None


def write_termination(path: Path, content: bytes) -> None:
    """Writes the record in place: the file is a mount of the kubelet's and cannot be replaced, but one small write is
    whole.

    A record that cannot be written is said on stderr and never fails the run.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
    except OSError as error:
        print(f"orkrun: termination record {path} cannot be written: {error.strerror}", file=sys.stderr)
