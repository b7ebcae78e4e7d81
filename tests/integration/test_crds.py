"""The CRDs in a real API server: what is refused and how it is told, what is taken, what kubectl says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orkhaven.api.crd import KINDS, Kind, structural_schema
from orkhaven.api.meta import GROUP
from tests.cluster import Cluster
from tests.integration.resources import assert_refused, create, path_of, put
from tests.unit.api.cases import (
    ABSENT,
    API_VERSION,
    NAMES,
    RIGHT,
    Right,
    Wrong,
    changed,
    sweep,
)
from tests.unit.api.wrong_experiments import WRONG_EXPERIMENTS
from tests.unit.api.wrong_sweeps import WRONG_SWEEPS

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]

Kubectl = Callable[..., str]


@pytest.mark.parametrize(
    "wrong", [*WRONG_SWEEPS, *WRONG_EXPERIMENTS, *NAMES], ids=lambda wrong: f"{wrong.kind}: {wrong.id}"
)
def test_a_wrong_resource_is_refused_with_its_path_and_what_would_be_right(
    cluster: Cluster, namespace: str, wrong: Wrong
) -> None:
    assert_refused(*create(cluster, namespace, wrong.body()), wrong.path, wrong.message)


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: f"{right.kind}: {right.id}")
def test_a_right_resource_is_taken(cluster: Cluster, namespace: str, right: Right) -> None:
    status, answer = create(cluster, namespace, right.body())
    assert status == 201, answer


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_server_has_every_field_of_the_models(cluster: Cluster, kind: Kind) -> None:
    """They come by kubectl, which reads YAML in a way of its own: a key `n` is `false` to it."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.{GROUP}"
    (version,) = cluster.api.call("GET", path)["spec"]["versions"]
    assert set(_fields(version["schema"]["openAPIV3Schema"])) == set(_fields(structural_schema(kind.model)))


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    yield path
    for name, field in schema.get("properties", {}).items():
        yield from _fields(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _fields(schema[key], f"{path}[]")


def test_defaults_are_filled_in_by_the_server_and_any_json_is_kept_as_written(cluster: Cluster, namespace: str) -> None:
    values = [None, True, 1, 2.5, "x", [1, None], {"b": None}]
    body = sweep(
        {"spec.parameters": [{"name": "a", "values": values}], "spec.template.params": {"encoder": None, "n": 1.0}}
    )
    status, stored = create(cluster, namespace, body)
    assert status == 201, stored
    spec = stored["spec"]
    assert spec["objective"] == {"metric": "val/dice_case", "direction": "Maximize"}
    assert spec["search"] == {"algorithm": "Grid", "seed": 0, "repeats": 1}
    assert (spec["parallelism"], spec["suspend"]) == (4, False)
    assert spec["template"]["resources"] == {"gpus": 1}
    assert spec["template"]["retry"] == {"limit": 2}
    assert spec["template"]["data"] == [{"name": "ct", "claim": "ct-data", "mountPath": "/data", "readOnly": True}]
    assert spec["parameters"][0]["values"] == values
    assert spec["template"]["params"] == {"encoder": None, "n": 1.0}
    assert "status" not in stored


def test_a_large_sweep_is_within_the_cost_of_the_rules(cluster: Cluster, namespace: str) -> None:
    parameters = [
        {
            "name": f"p{i:02}." + "x" * 100,
            "values": list(range(500)),
            "when": {f"p{i - 1:02}." + "x" * 100: [1]} if i else {},
        }
        for i in range(64)
    ]
    point = {parameter["name"]: {"a": list(range(20))} for parameter in parameters}
    body = sweep(
        {
            "spec.parameters": parameters,
            "spec.constraints": ["p00 == 1 and " * 35 + "p00 == 1"] * 32,
            "spec.initialPoints": [point] * 50,
        }
    )
    status, stored = create(cluster, namespace, body)
    assert status == 201, stored
    status, stored = put(cluster, namespace, changed(stored, {"spec.parallelism": 9}))
    assert status == 200, stored


def test_a_long_list_of_trials_is_within_the_cost_of_the_rules(cluster: Cluster, namespace: str) -> None:
    trials = [{"lr": i / 1e6, "model": {"architecture": "Unet", "encoder": None}} for i in range(10_000)]
    body = sweep({"spec.search.algorithm": "List", "spec.parameters": ABSENT, "spec.trials": trials})
    status, stored = create(cluster, namespace, body)
    assert status == 201, stored
    status, stored = put(cluster, namespace, changed(stored, {"spec.parallelism": 9}))
    assert status == 200, stored
    trials[-1]["lr"] = 1
    assert_refused(
        *put(cluster, namespace, changed(stored, {"spec.trials": trials})), "spec.trials", "make a new Sweep"
    )


def test_kubectl_says_what_is_wrong_and_where(kubectl: Kubectl, namespace: str) -> None:
    said = kubectl(
        "apply",
        "-n",
        namespace,
        "-f",
        "-",
        input=yaml.safe_dump(sweep({"spec.search.algorithm": "Random"})),
        check=False,
    )
    assert "spec.search" in said
    assert "every algorithm but Grid and List needs search.maxTrials" in said


PARAMS = {"encoder": {"weights": None, "name": "resnet34"}, "norm": None}


@pytest.mark.parametrize(
    ("flags", "kept"),
    # Plain apply strips nulls out of objects (not out of lists) before it sends: no server can keep them.
    [((), {"encoder": {"name": "resnet34"}}), (("--server-side",), PARAMS)],
    ids=["by the client", "by the server"],
)
def test_applying_the_same_file_again_changes_nothing(
    cluster: Cluster, kubectl: Kubectl, namespace: str, flags: tuple[str, ...], kept: dict[str, Any]
) -> None:
    values = [None, 1.0]
    body = sweep({"spec.template.params": PARAMS, "spec.parameters": [{"name": "a", "values": values}]})
    for live in ({}, {}, {"spec.parallelism": 2}):
        kubectl("apply", *flags, "-n", namespace, "-f", "-", input=yaml.safe_dump(changed(body, live)))
    stored = cluster.api.call("GET", path_of(namespace, "Sweep", "lungs"))
    assert stored["spec"]["template"]["params"] == kept
    assert stored["spec"]["parameters"][0]["values"] == values
    assert stored["metadata"]["generation"] == 2


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_taken_as_it_is(kubectl: Kubectl, namespace: str, path: Path) -> None:
    for body in yaml.safe_load_all(path.read_text()):
        if body["apiVersion"] == API_VERSION:
            kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", input=yaml.safe_dump(body))


def test_kubectl_explain_is_the_manual(kubectl: Kubectl) -> None:
    said = kubectl("explain", "sweep.spec", "--recursive")
    for line in (
        "objective\t<Object> -required-",
        "enum: Grid, Random, Sobol, TPE",
        "maxTrials\t<integer>",
    ):
        assert line in said, said
    said = " ".join(kubectl("explain", "sw.spec.parameters.range.scale").split())
    assert "Linear, Log (both ends above 0) or Integer (whole numbers, evenly). Default: Linear." in said
    said = " ".join(kubectl("explain", "xp.spec.resources.memory").split())
    assert "A run that takes more is killed: reason OutOfMemoryKilled." in said
    said = " ".join(kubectl("explain", "xp.metadata.labels").split())
    assert "Map of string keys and values" in said


def test_every_field_that_kubectl_explains_has_words(cluster: Cluster) -> None:
    definitions = cluster.api.call("GET", "/openapi/v3/apis/orkhaven.io/v1alpha1")["components"]["schemas"]
    for kind in ("Sweep", "Experiment"):
        for part in ("spec", "status"):
            schema = definitions[f"io.orkhaven.v1alpha1.{kind}"]["properties"][part]
            assert not list(_silent(part, schema))


def _silent(path: str, schema: dict[str, Any]) -> Any:
    if not schema.get("description"):
        yield path
    for name, field in schema.get("properties", {}).items():
        yield from _silent(f"{path}.{name}", field)
    for name, field in schema.get("items", {}).get("properties", {}).items():
        yield from _silent(f"{path}[].{name}", field)
