"""The chart's policies about who made what: that they are there, of which version, and for whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.unit.helm.chart import CHART, KUBERNETES, Helm, Render, names, one

GROUP = "admissionregistration.k8s.io"
NAME = "orkhaven-created-by"


def _served(helm: Helm, *versions: str) -> list[dict[str, Any]]:
    """The objects where the API server serves MutatingAdmissionPolicies of these versions."""
    served = [flag for one in versions for flag in ("--api-versions", f"{GROUP}/{one}/MutatingAdmissionPolicy")]
    done = helm("template", "orkhaven", str(CHART), "-n", "system", "--kube-version", KUBERNETES, *served)
    assert done.returncode == 0, done.stderr
    return [body for body in yaml.safe_load_all(done.stdout) if body]


@pytest.mark.parametrize(
    ("served", "version"),
    [(["v1beta1"], "v1beta1"), (["v1"], "v1"), (["v1beta1", "v1"], "v1"), (["v1alpha1"], None), ([], None)],
    ids=["beta", "stable", "both", "alpha", "none"],
)
def test_the_name_is_written_by_the_newest_policy_that_is_served(
    helm: Helm, served: list[str], version: str | None
) -> None:
    mutating = [body for body in _served(helm, *served) if body["kind"].startswith("Mutating")]
    assert [body["apiVersion"] for body in mutating] == ([f"{GROUP}/{version}"] * 2 if version else [])
    for body in mutating:
        if body["kind"] == "MutatingAdmissionPolicy":
            assert body["spec"]["failurePolicy"] == "Ignore", "a run without a name is better than none"
            (rule,) = body["spec"]["matchConstraints"]["resourceRules"]
            assert rule["operations"] == ["CREATE"]
        else:
            assert body["spec"]["policyName"] == NAME


def test_nobody_writes_anothers_name_but_the_operator_and_whom_the_values_trust(render: Render) -> None:
    objects = render({"createdBy": {"trusted": ["velero: 'it'"]}})
    policy = one(objects, "ValidatingAdmissionPolicy", NAME)["spec"]
    variables = {entry["name"]: entry["expression"] for entry in policy["variables"]}
    assert "'system:serviceaccount:system:orkhaven-operator'" in variables["trusted"]
    assert """in ["velero: 'it'"]""" in variables["trusted"]
    for rule in policy["validations"]:
        assert rule["expression"].endswith("|| variables.trusted")
    assert one(objects, "ValidatingAdmissionPolicyBinding", NAME)["spec"]["validationActions"] == ["Deny"]


def test_the_policies_are_about_what_is_looked_after(render: Render) -> None:
    policy = one(render({"namespaces": ["a", "b"]}), "ValidatingAdmissionPolicy", NAME)["spec"]
    (selected,) = policy["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert selected["values"] == ["a", "b"]
    everywhere = one(render(), "ValidatingAdmissionPolicy", NAME)["spec"]["matchConstraints"]
    assert "namespaceSelector" not in everywhere
    (rule,) = everywhere["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["sweeps", "experiments"], ["CREATE", "UPDATE"])


def test_the_policies_may_be_left_out(render: Render, refusal: Callable[[dict[str, Any]], str]) -> None:
    assert not names(render({"createdBy": {"enabled": False}}), "ValidatingAdmissionPolicy")
    assert "trusted" in refusal({"createdBy": {"trusted": [""]}})
