"""The generated files: up to date, and what apiextensions v1 and server-side apply need of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from orkhaven.api import crd as crds
from orkhaven.api.meta import Model

ROOT = Path(__file__).resolve().parents[3]
FILES = crds.generated_files()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_generated_file_is_that_of_the_models(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == FILES[name], "run `make generate`"


@pytest.mark.parametrize("folder", ["crds", "helm/orkhaven/templates/crds"])
def test_nothing_else_lies_among_the_generated_files(folder: str) -> None:
    assert {f"{folder}/{path.name}" for path in (ROOT / folder).iterdir()} <= set(FILES)


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if name.endswith(".yaml")])
def test_no_key_is_a_truth_value_to_those_who_read_yaml_1_1(name: str) -> None:
    """kubectl and helm do: to them a property `n:` is called `false`."""
    text = "\n".join(line for line in FILES[name].splitlines() if not line.lstrip().startswith("{{"))
    keys = [key for document in yaml.compose_all(text) for key in _keys(document)]
    words = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"}
    assert keys
    assert not [key.start_mark for key in keys if key.style is None and key.value.lower() in words]


def _keys(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """The keys as they are written, before anybody reads them as anything."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield from _keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _keys(value)


def _nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from _nodes(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _nodes(schema[key], f"{path}[]")


NODES = [
    pytest.param(path, node, id=f"{kind.name}{path}")
    for kind in crds.KINDS
    for path, node in _nodes(crds.structural_schema(kind.model))
]


@pytest.mark.parametrize(("path", "node"), NODES)
def test_a_node_is_structural(path: str, node: dict[str, Any]) -> None:
    assert not {"$ref", "$defs", "anyOf", "allOf", "oneOf", "title", "const"} & set(node)
    untyped = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
    assert node.get("type") in (
        {None, "object"} if untyped else {"object", "array", "string", "integer", "number", "boolean"}
    )
    assert not (path.startswith(".status") and "default" in node)
    if node.get("type") == "array":
        assert node["x-kubernetes-list-type"] in ("atomic", "map")
        assert "maxItems" in node
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"]


def test_a_server_fills_in_scalars_and_the_objects_that_hold_them() -> None:
    spec = crds.structural_schema(crds.SWEEP.model)["properties"]["spec"]["properties"]
    assert spec["search"]["default"] == {}
    assert spec["search"]["properties"]["algorithm"]["default"] == "Grid"
    assert spec["search"]["properties"]["algorithm"]["description"].endswith(" Default: Grid.")
    assert spec["suspend"]["default"] is False
    assert "default" not in spec["parameters"]
    assert "default" not in spec["template"]["properties"]["params"]
    assert "default" not in spec["template"]["properties"]["output"]
    assert "default" not in spec["template"]["properties"]["data"]["items"]["properties"]["subPath"]


def _resource(field: Any) -> type[Model]:
    class Inner(Model):
        """Inner."""

        value: field

    class Outer(Model):
        """Outer."""

        spec: Annotated[Inner, Field(description="Fine.")]
        status: Annotated[Inner | None, Field(description="Fine.")] = None

    return Outer


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (int, r"spec\.value has no description"),
        (Annotated[str, Field(description="Text.")], r"spec\.value has no maxLength"),
        (Annotated[list[int], Field(description="List.")], r"spec\.value has no maxItems"),
        (Annotated[dict[str, int], Field(description="Map.")], r"spec\.value has no maxProperties"),
    ],
    ids=["no description", "an unbounded text", "an unbounded list", "an unbounded map"],
)
def test_a_model_that_makes_no_good_crd_is_refused(field: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crds.structural_schema(_resource(field))


def test_the_command_prints_both_definitions(capsys: pytest.CaptureFixture[str]) -> None:
    assert crds.main([]) == 0
    kinds = [entry["spec"]["names"]["kind"] for entry in yaml.safe_load_all(capsys.readouterr().out)]
    assert kinds == ["Sweep", "Experiment"]


def test_write_makes_every_generated_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert crds.main(["--write"]) == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == set(FILES)
