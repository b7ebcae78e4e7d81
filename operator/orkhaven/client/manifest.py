"""A user's file: read as kubectl reads it, changed by `--set`, checked by the models of the API before it is sent."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from orkhaven.client.errors import Invalid
from orkhaven.client.kube import API_VERSION, OURS, Body

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")


class Loader(yaml.SafeLoader):
    """PyYAML with kubectl's idea of a number (1e-3 is one, 1:30 and 2026-01-01 are texts) and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_OWN = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in (("int", _INTEGER), ("float", _NUMBER)):
    Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern.pattern})$"), list("-+.0123456789")
    )


def read(text: str, *, name: str) -> list[Body]:
    """The Sweeps and Experiments of a file (YAML or JSON). Raises Invalid with the line."""
    try:
        found = [body for body in yaml.load_all(text, Loader=Loader) if body is not None]
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Invalid(f"{name}{line}: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise Invalid(f"{name}: {error}") from error
    if not found:
        raise Invalid(f"{name}: there is no Sweep and no Experiment in it")
    for body in found:
        _check_kind(body, name)
    return found


def _check_kind(body: Any, name: str) -> None:
    if not isinstance(body, dict):
        raise Invalid(f"{name}: holds a {type(body).__name__}, not a Sweep or an Experiment")
    kind, version = body.get("kind"), body.get("apiVersion")
    if kind not in OURS:
        raise Invalid(f"{name}: kind is {kind!r}, not Sweep or Experiment; kubectl apply -f takes any")
    if version != API_VERSION:
        raise Invalid(f"{name}: apiVersion is {version!r}; it has to be {API_VERSION}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One `--set`: a dotted name and the values it is to take."""

    name: str
    values: Sequence[Any]

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Of "optimizer.lr=1e-3,1e-4": YAML values between commas. Raises Invalid."""
        name, equals, values = text.partition("=")
        if not equals or not name.strip():
            raise Invalid(f"--set {text}: write name=value or name=value,value, such as optimizer.lr=1e-3,1e-4")
        try:
            found = yaml.load(f"[{values}]", Loader=Loader)
        except yaml.YAMLError as error:
            raise Invalid(f"--set {text}: {values!r} are no values between commas") from error
        if not found:
            raise Invalid(f"--set {text}: there is no value after '='; an empty text is ''")
        return cls(name.strip(), found)


def changed(body: Body, settings: Iterable[Setting]) -> Body:
    """The body with each setting: several values are a parameter of the search, one is a fixed value.

    Raises Invalid.
    """
    body = copy.deepcopy(body)
    for setting in settings:
        spec = body.setdefault("spec", {})
        if body["kind"] == "Experiment":
            if len(setting.values) > 1:
                raise Invalid(f"--set {setting.name}: an Experiment has one value of each; several need a Sweep")
            _fix(spec.setdefault("params", {}), setting)
            continue
        parameters = [p for p in spec.get("parameters") or [] if p.get("name") != setting.name]
        known = next((p for p in spec.get("parameters") or [] if p.get("name") == setting.name), None)
        when = {"when": known["when"]} if known is not None and known.get("when") else {}
        if len(setting.values) > 1 or when:  # a fixed value would be there also where it does not belong
            searched = {"name": setting.name, "values": list(setting.values), **when}
            if known is None:
                parameters.append(searched)
            else:
                parameters = [searched if p is known else p for p in spec["parameters"]]
        else:
            _fix(spec.setdefault("template", {}).setdefault("params", {}), setting)
        spec["parameters"] = parameters
    return body


def _fix(params: Body, setting: Setting) -> None:
    *parents, last = setting.name.split(".")
    place = params
    for part in parents:
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Invalid(f"--set {setting.name}: {part} is {json.dumps(inner)}, it has no parts to set")
        place = inner
    place[last] = setting.values[0]


def problems(body: Body) -> list[str]:
    """What the API server would refuse, in its words, one line each; nothing where it is fine."""
    from pydantic import ValidationError

    from orkhaven.api import ExperimentSpec, SweepSpec
    from orkhaven.api.experiment import EXPERIMENT_NAME
    from orkhaven.api.meta import Model
    from orkhaven.api.rules import problems as told
    from orkhaven.api.sweep import SWEEP_NAME

    model: type[Model] = SweepSpec if body["kind"] == "Sweep" else ExperimentSpec
    rule = SWEEP_NAME if body["kind"] == "Sweep" else EXPERIMENT_NAME
    found = [
        f"{key}: no such field; a {body['kind']} has apiVersion, kind, metadata and spec"
        for key in body
        if key not in ("apiVersion", "kind", "metadata", "spec", "status")
    ]
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        found.append("metadata.name: is missing")
    elif problem := rule.problem(name):
        found.append(problem)
    if not isinstance(body.get("spec"), dict):
        found.append("spec: is missing")
        return found
    try:
        model.model_validate(body["spec"])
    except ValidationError as error:
        found += told(error, root="spec")
    return found
