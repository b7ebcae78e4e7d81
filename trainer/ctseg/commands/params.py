"""Parameters from files and `--set`, for commands that take them on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orkrun
from ctseg import config


def add_arguments(parser: argparse._ActionsContainer) -> None:
    """`--config` and `--set`, whose values `read` takes."""
    parser.add_argument("--config", type=Path, help="parameters as YAML or JSON")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="one parameter: optimizer.lr=0.001 (repeatable)"
    )


def read(path: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """The parameters of a YAML or JSON file, changed by `a.b=value` each. Raises orkrun.InvalidParams."""
    params = _file(path) if path else {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise orkrun.InvalidParams("--set", f"{assignment!r} is not of the form a.b=value")
        config.set_dotted(params, name, _yaml(text, f"--set {name}"))
    return params


def _file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise orkrun.InvalidParams("--config", f"{path} cannot be read: {error}") from error
    params = _yaml(text, str(path))
    if not isinstance(params, dict):
        raise orkrun.InvalidParams("--config", f"{path} holds {type(params).__name__}, not a mapping of parameters")
    return params


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise orkrun.InvalidParams(where, f"is not YAML: {error}") from error
