"""Logging for operator and hub: one JSON object a line, or text for a terminal. A leaf; imports nothing of Orkhaven."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def about(kind: str, namespace: str, name: str, **more: Any) -> dict[str, Any]:
    """`extra=` of a line about one object. (`name` itself is taken: it is the logger's.)"""
    return {"about": {"kind": kind, "namespace": namespace, "name": name}, **more}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return {**fields.pop("about", {}), **fields}


class JsonFormatter(logging.Formatter):
    """time, level, logger, message, then kind, namespace, name and whatever `extra` has."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{key}={value}" for key, value in _fields(record).items())
        text = f"{when} {record.levelname:<7} {record.getMessage()}" + (f"  {fields}" if fields else "")
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(*, level: str, as_json: bool) -> None:
    """Take over the root logger. To standard error: standard output is for what a command prints."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
