"""The API reference as Markdown tables, out of a CustomResourceDefinition. Imports nothing of orkhaven."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def render(crd: dict[str, Any], *, note: str) -> str:
    """One page for one resource: its columns, then every object with its fields, bounds, defaults and rules."""
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    kind = names["kind"]
    lines = [
        f"<!-- {note} -->",
        f"# {kind}",
        "",
        schema["description"],
        "",
        f"`apiVersion: {crd['spec']['group']}/{version['name']}`, `kind: {kind}`; "
        f"`kubectl get {names['shortNames'][0]}`. In the terminal: `kubectl explain {kind.lower()}.spec --recursive`.",
        "",
        *_rules(schema),
    ]
    for path, node in _objects("spec", schema["properties"]["spec"]):
        lines += _section(path, node)
    for path, node in _objects("status", schema["properties"]["status"]):
        lines += _section(path, node)
    lines += ["## Columns", "", "| column | field | what |", "|---|---|---|"]
    for column in version["additionalPrinterColumns"]:
        wide = " (`-o wide`)" if column.get("priority") else ""
        lines.append(f"| {column['name'].upper()} | `{column['jsonPath']}` | {column['description']}{wide} |")
    fields = ", ".join(f"`{field['jsonPath'].lstrip('.')}`" for field in version["selectableFields"])
    lines += ["", f"Field selectors: {fields}.", ""]
    return "\n".join(lines)


def default_sentence(default: Any) -> str:
    """What a description says of a default, at its end. This page has a column for it."""
    return f" Default: {_json(default)}."


def _objects(path: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object with named fields, parents first."""
    if "items" in node:
        yield from _objects(f"{path}[]", node["items"])
    elif isinstance(node.get("additionalProperties"), dict):
        yield from _objects(f"{path}.*", node["additionalProperties"])
    elif "properties" in node:
        yield path, node
        for name, field in node["properties"].items():
            yield from _objects(f"{path}.{name}", field)


def _section(path: str, node: dict[str, Any]) -> list[str]:
    lines = [f"## {path}", "", "| field | type | default | what |", "|---|---|---|---|"]
    required = node.get("required", [])
    for name, field in node["properties"].items():
        default = "required" if name in required else f"`{_json(field['default'])}`" if "default" in field else ""
        words = field["description"].removesuffix(default_sentence(field.get("default")))
        what = " ".join([words, *_said(field), *(_said(field["items"]) if "items" in field else [])])
        lines.append(f"| `{name}` | {_type(field)} | {default} | {_cell(what)} |")
    return [*lines, "", *_rules(node)]


def _rules(node: dict[str, Any]) -> list[str]:
    rules = node.get("x-kubernetes-validations", [])
    if not rules:
        return []
    lines = ["Rules:", ""]
    for rule in rules:
        where = f"`{rule['fieldPath'].lstrip('.')}`: " if "fieldPath" in rule else ""
        lines.append(f"- {where}{rule['message']}")
    return [*lines, ""]


def _said(field: dict[str, Any]) -> list[str]:
    if "properties" in field:
        return []
    return [f"({rule['message']})" for rule in field.get("x-kubernetes-validations", [])]


def _json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in field:
        return f"list{_range(field, 'Items')} of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"map{_range(field, 'Properties')} of {_type(field['additionalProperties'])}"
    if "type" not in field:
        return "any JSON"
    if field["type"] == "object" and "properties" not in field:
        return "object of any JSON"
    return str(field.get("format") or field["type"]) + _range(field, "Length") + _range(field, "imum")


def _range(field: dict[str, Any], what: str) -> str:
    least, most = field.get(f"min{what}"), field.get(f"max{what}")
    if least is None and most is None:
        return ""
    unit = {"Items": " entries", "Properties": " entries", "Length": " characters", "imum": ""}[what]
    if most is None:
        return f" (at least {least:,}{unit})"
    return f" ({least:,} to {most:,}{unit})" if least is not None else f" (at most {most:,}{unit})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
