"""The CustomResourceDefinitions, made from the models; crds/, the chart's copies and docs/reference are written here.

Owns how a pydantic JSON schema becomes a structural schema (apiextensions.k8s.io/v1), and the parts of a CRD that
are no schema: names, printer columns, selectable fields.

    python -m orkhaven.api.crd            prints both as YAML
    python -m orkhaven.api.crd --write    writes all generated files of the checkout
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orkhaven.api import reference
from orkhaven.api.experiment import Experiment
from orkhaven.api.meta import GROUP, VERSION, Model
from orkhaven.api.sweep import Sweep

GENERATED = "Generated from operator/orkhaven/api by `make generate`: change it there."

_KEPT = (
    *("type", "format", "description", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One printer column; `wide` ones show with `kubectl get -o wide` only."""

    name: str
    path: str
    type: str = "string"
    description: str
    wide: bool = False

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return out | {"description": self.description} | ({"priority": 1} if self.wide else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A resource and what its CRD says beside the schema."""

    model: type[Model]
    plural: str
    short: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.model.__name__

    @property
    def file(self) -> str:
        return f"{GROUP}_{self.plural}.yaml"


_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date", description="Time since it was made.")

SWEEP = Kind(
    model=Sweep,
    plural="sweeps",
    short="sw",
    columns=(
        Column(name="State", path=".status.state", description="One word for where it is."),
        Column(name="Progress", path=".status.progress", description="Ended / total trials."),
        Column(name="Running", path=".status.trials.running", type="integer", description="Trials that hold GPUs."),
        Column(name="Failed", path=".status.trials.failed", type="integer", description="Trials that failed."),
        Column(name="Best", path=".status.best.value", type="number", description="Best value of the objective."),
        Column(name="GPU-H", path=".status.gpuHours.total", type="number", description="GPU-hours used."),
        _AGE,
        Column(
            name="Pruned",
            path=".status.trials.pruned",
            type="integer",
            description="Trials that were stopped early.",
            wide=True,
        ),
        Column(name="Best-Experiment", path=".status.best.experiment", description="Who leads.", wide=True),
        Column(name="Algorithm", path=".spec.search.algorithm", description="How it searches.", wide=True),
    ),
    selectable=(".status.state",),
)

EXPERIMENT = Kind(
    model=Experiment,
    plural="experiments",
    short="xp",
    columns=(
        Column(name="State", path=".status.state", description="One word for where it is."),
        Column(name="Reason", path=".status.reason", description="Why it is in that state."),
        Column(name="Objective", path=".status.objective.value", type="number", description="Best value so far."),
        Column(name="Step", path=".status.progress.step", type="integer", description="Steps (epochs) done."),
        Column(name="Attempts", path=".status.attemptCount", type="integer", description="Jobs made for it."),
        Column(name="GPUs", path=".spec.resources.gpus", type="integer", description="GPUs it asks for."),
        _AGE,
        Column(name="Sweep", path=r".metadata.labels.orkhaven\.io/sweep", description="Its Sweep.", wide=True),
        Column(name="Node", path=".status.attempts[-1:].node", description="Node of the last attempt.", wide=True),
        Column(name="GPU", path=".status.attempts[-1:].gpuModel", description="GPU model there.", wide=True),
    ),
    selectable=(".status.state", ".status.reason"),
)

KINDS = (SWEEP, EXPERIMENT)


def structural_schema(model: type[Model]) -> dict[str, Any]:
    """The openAPIV3Schema of a resource: no $ref, no null type, nothing that apiextensions v1 refuses.

    A field that may be unset is one that may be absent. Defaults are those of scalars in the spec and of objects that
    hold such scalars; an empty list or text is left absent, and status has none, so that an apply owns what it wrote
    and no more. Raises ValueError for a field without a description or a list or text without a maximum.
    """
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    fields = {
        name: _convert(schema["properties"][name], definitions=definitions, path=name, defaults=name == "spec")
        for name in ("spec", "status")
    }
    return {
        "type": "object",
        "description": schema["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": model.__name__},
            # Named, so that a rule may blame metadata.name.
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            **fields,
        },
        "x-kubernetes-validations": [rule.to_validation() for rule in model.all_rules()],
    }


def _convert(node: dict[str, Any], *, definitions: dict[str, Any], path: str, defaults: bool) -> dict[str, Any]:
    node = _resolved(node, definitions)
    if not _is_typed(node):
        return {"x-kubernetes-preserve-unknown-fields": True, "nullable": True} | _description(node)
    if node.get("x-kubernetes-int-or-string"):
        # The two types of "anyOf" are implied.
        kept = {key: node[key] for key in ("maxLength", "x-kubernetes-validations") if key in node}
        return {"x-kubernetes-int-or-string": True} | _description(node) | kept
    out = {key: node[key] for key in _KEPT if key in node}
    if "const" in node:
        out["enum"] = [node["const"]]

    def child(schema: dict[str, Any], at: str) -> dict[str, Any]:
        return _convert(schema, definitions=definitions, path=at, defaults=defaults)

    if "properties" in node:
        out["properties"] = {name: child(field, f"{path}.{name}") for name, field in node["properties"].items()}
        for name, field in out["properties"].items():
            if "description" not in field:
                raise ValueError(f"{path}.{name} has no description")
            if defaults and (default := _default(node["properties"][name], field)) is not None:
                field["default"] = default
                if default != {}:
                    # kubectl explain shows no defaults of its own.
                    field["description"] += reference.default_sentence(default)
        if node.get("required"):
            out["required"] = node["required"]
    elif node["type"] == "object":
        values = node.get("additionalProperties", True)
        if values is True or not _is_typed(_resolved(values, definitions)):
            out["x-kubernetes-preserve-unknown-fields"] = True
        else:
            out["additionalProperties"] = child(values, f"{path}.*")
            _bounded(out, "maxProperties", path)
    elif node["type"] == "array":
        out["items"] = child(node["items"], f"{path}[]")
        out.setdefault("x-kubernetes-list-type", "atomic")
        _bounded(out, "maxItems", path)
    elif node["type"] == "string" and "enum" not in out and "format" not in out:
        _bounded(out, "maxLength", path)
    return out


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`node` with its $ref followed and its null alternative dropped; what stands beside these wins."""
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _resolved(target, definitions) | {key: value for key, value in node.items() if key != "$ref"}
    alternatives = [entry for entry in node.get("anyOf", []) if entry != {"type": "null"}]
    if len(alternatives) == 1:
        beside = {key: value for key, value in node.items() if key != "anyOf"}
        return _resolved(alternatives[0], definitions) | beside
    return node


def _is_typed(node: dict[str, Any]) -> bool:
    return any(key in node for key in ("type", "enum", "const", "anyOf"))


def _description(node: dict[str, Any]) -> dict[str, str]:
    return {"description": node["description"]} if "description" in node else {}


def _bounded(node: dict[str, Any], limit: str, path: str) -> None:
    # Without it the API server takes the worst case for the cost of a CEL rule, and a field may fill etcd.
    if limit not in node:
        raise ValueError(f"{path} has no {limit}")


def _default(field: dict[str, Any], converted: dict[str, Any]) -> Any:
    if converted.get("properties"):
        # An object whose fields all have defaults: the API server fills these in itself.
        return {} if "default" in field and not converted.get("required") and field["default"] is not None else None
    default = field.get("default")
    return default if isinstance(default, bool | int | float) or (isinstance(default, str) and default) else None


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition as an object."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "orkhaven", "app.kubernetes.io/part-of": "orkhaven"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["orkhaven"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.to_dict() for column in kind.columns],
                    "selectableFields": [{"jsonPath": path} for path in kind.selectable],
                    "schema": {"openAPIV3Schema": structural_schema(kind.model)},
                }
            ],
        },
    }


def render_crds() -> dict[str, str]:
    """File name -> YAML of both definitions."""
    return {kind.file: f"# {GENERATED}\n{_yaml(crd(kind))}" for kind in KINDS}


def render_chart_crds() -> dict[str, str]:
    """The same as templates of the chart: switched by crds.enabled, left behind on uninstall by crds.keep."""
    keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    files = {}
    for kind in KINDS:
        body = _yaml(crd(kind))
        head, metadata, rest = body.partition(f"metadata:\n  name: {kind.plural}.{GROUP}\n")
        if not metadata or "{{" in body:
            raise ValueError(f"{kind.file} cannot be made a template of the chart")
        note = f"{{{{- /* {GENERATED} */}}}}\n"
        files[kind.file] = f"{note}{{{{- if .Values.crds.enabled }}}}\n{head}{metadata}{keep}{rest}{{{{- end }}}}\n"
    return files


def generated_files() -> dict[str, str]:
    """Path in the checkout -> text, of everything that is generated from the models."""
    files = {f"crds/{name}": text for name, text in render_crds().items()}
    files |= {f"helm/orkhaven/templates/crds/{name}": text for name, text in render_chart_crds().items()}
    for kind in KINDS:
        files[f"docs/reference/{kind.name.lower()}.md"] = reference.render(crd(kind), note=GENERATED)
    return files


class _Dumper(yaml.SafeDumper):
    """Block lists indented, no aliases: as people write it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


# YAML 1.1, which kubectl and helm read, has more words for true and false than PyYAML. Unquoted, the property `n` of a
# schema would be one called `false`.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the definitions, or writes the generated files below the current folder. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="orkhaven crds", description="The CustomResourceDefinitions as YAML.")
    parser.add_argument("--write", action="store_true", help="write crds/, the chart's copies and docs/reference here")
    options = parser.parse_args(arguments)
    if not options.write:
        sys.stdout.write("---\n".join(render_crds().values()))
        return 0
    for name, text in generated_files().items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
