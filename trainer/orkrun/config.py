"""Reads the run's config: the file the operator projects into the pod, or one made by the caller for a run without a
cluster.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from orkrun import contract
from orkrun.contract import Config, Objective
from orkrun.errors import ConfigError

_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "version": int,
    "params": dict,
    "output": str,
    "attempt": int,
    "seed": int,
}


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the config is: ORKHAVEN_CONFIG, else the default place."""
    return Path(environ.get(contract.ENV_CONFIG) or contract.DEFAULT_CONFIG)


def read_config(environ: Mapping[str, str]) -> Config:
    """The config of this container. Raises ConfigError, with the file and what is wrong with it."""
    path = config_path(environ)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"config {path} cannot be read: {error.strerror or error}. In a cluster the operator provides it; "
            f"elsewhere set {contract.ENV_CONFIG}, or start the run with parameters of its own"
        ) from error
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"config {path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"config {path} is a JSON {type(raw).__name__}, not an object")
    version = raw.get("version")
    if isinstance(version, int) and version > contract.VERSION:
        raise ConfigError(
            f"config {path} has version {version}, this image understands up to {contract.VERSION}: "
            "use a newer trainer image"
        )
    if environ.get(contract.ENV_OUTPUT):
        raw["output"] = environ[contract.ENV_OUTPUT]
    for key, kind in _REQUIRED.items():
        if key not in raw:
            raise ConfigError(f"config {path} lacks {key!r}")
        if not isinstance(raw[key], kind) or isinstance(raw[key], bool):
            raise ConfigError(f"config {path}: {key!r} is {raw[key]!r}")
    defaults: dict[str, Any] = {
        "namespace": "",
        "experiment": "",
        "uid": "",
        "paramHash": "",
        "runHash": "",
        "data": [],
    }
    return cast(Config, defaults | raw)


def local_config(
    params: Mapping[str, Any], *, output: str | Path, seed: int = 0, objective: Objective | None = None
) -> Config:
    """A config for a run without a cluster: no experiment, nothing is sent anywhere, all of it stays under `output`."""
    config: Config = {
        "version": contract.VERSION,
        "namespace": "",
        "experiment": "",
        "uid": "",
        "paramHash": "",
        "runHash": "",
        "params": dict(params),
        "data": [],
        "seed": seed,
        "attempt": 1,
        "output": str(output),
    }
    if objective is not None:
        config["objective"] = objective
    return config


def identity(config: Config) -> str:
    """What makes two runs the same: the run hash where the operator gave one, else a hash of parameters, seed and
    data.
    """
    if config["runHash"]:
        return config["runHash"]
    question = {"params": _plain(config["params"]), "seed": config["seed"], "data": config["data"]}
    return hashlib.sha256(json.dumps(question, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 8 and 8.0 are the same parameter, as in RFC 8785
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
