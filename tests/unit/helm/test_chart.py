"""The chart as helm renders it: what it grants, how its pods run, which settings it passes, what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from orkhaven.config import LogSettings, OperatorSettings
from orkhaven.core.devices import GpuResource
from orkhaven.hub.settings import HubSettings
from orkhaven.operator_main import defaults, settings_rules
from tests.unit.helm.chart import CHART, KUBERNETES, Helm, Render, env_of, names, one, pod_of


def test_helm_lint_finds_nothing(helm: Helm) -> None:
    done = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_installed_by_default(render: Render) -> None:
    made = sorted((o["kind"], o["metadata"]["name"]) for o in render())
    assert made == [
        ("ClusterRole", "orkhaven-edit"),
        ("ClusterRole", "orkhaven-hub"),
        ("ClusterRole", "orkhaven-operator"),
        ("ClusterRole", "orkhaven-view"),
        ("ClusterRoleBinding", "orkhaven-hub"),
        ("ClusterRoleBinding", "orkhaven-operator"),
        ("ConfigMap", "orkhaven-usage"),
        ("CustomResourceDefinition", "experiments.orkhaven.io"),
        ("CustomResourceDefinition", "sweeps.orkhaven.io"),
        ("Deployment", "orkhaven-hub"),
        ("Deployment", "orkhaven-operator"),
        ("Role", "orkhaven-hub-forward"),
        ("Role", "orkhaven-operator-lease"),
        ("RoleBinding", "orkhaven-operator-lease"),
        ("Service", "orkhaven-hub"),
        ("Service", "orkhaven-operator"),
        ("ServiceAccount", "orkhaven-hub"),
        ("ServiceAccount", "orkhaven-operator"),
        ("ValidatingAdmissionPolicy", "orkhaven-created-by"),
        ("ValidatingAdmissionPolicyBinding", "orkhaven-created-by"),
    ]


def test_every_namespaced_object_is_in_the_releases_namespace_and_labelled(render: Render) -> None:
    for entry in render():
        if not re.match("Cluster|CustomResource|ValidatingAdmission", entry["kind"]):
            assert entry["metadata"]["namespace"] == "system", entry["metadata"]["name"]
        assert entry["metadata"]["labels"]["app.kubernetes.io/part-of"] == "orkhaven"


def test_another_release_name_is_in_all_names(render: Render) -> None:
    for entry in render({"crds": {"enabled": False}}, release="gpu"):
        assert entry["metadata"]["name"].startswith("gpu-orkhaven-")


# --- CRDs ---


def test_crds_are_those_of_the_models_and_are_kept(render: Render) -> None:
    for entry in (o for o in render() if o["kind"] == "CustomResourceDefinition"):
        assert entry["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        (path,) = (CHART.parents[1] / "crds").glob(f"*_{entry['spec']['names']['plural']}.yaml")
        assert entry == yaml.safe_load(path.read_text())


def test_crds_may_be_left_out_or_not_be_kept(render: Render) -> None:
    assert not names(render({"crds": {"enabled": False}}), "CustomResourceDefinition")
    for entry in (o for o in render({"crds": {"keep": False}}) if o["kind"] == "CustomResourceDefinition"):
        assert "annotations" not in entry["metadata"]


# --- RBAC ---

OPERATOR = {
    "orkhaven.io/sweeps": "get list watch delete",
    "orkhaven.io/experiments": "get list watch create patch delete",
    "orkhaven.io/sweeps/status": "patch",
    "orkhaven.io/experiments/status": "patch",
    "batch/jobs": "get list watch create patch delete",
    "/pods": "get list watch",
    "/pods/log": "get",
    "/configmaps": "list",
    "/resourcequotas": "list",
    "/events": "get list create patch",
    "kueue.x-k8s.io/workloads": "get list watch patch",
}
HUB = {
    "orkhaven.io/sweeps": "get list watch",
    "orkhaven.io/experiments": "get list watch",
    "orkhaven.io/experiments/status": "patch",
    "batch/jobs": "get",
    "/pods": "get list watch",
    "/pods/log": "get",
}
OPERATOR_EVERYWHERE = {"/nodes": "get list watch", "/namespaces": "list"}
HUB_EVERYWHERE = {"authentication.k8s.io/tokenreviews": "create", "authorization.k8s.io/subjectaccessreviews": "create"}


def _grants(role: dict[str, Any]) -> dict[str, str]:
    return {
        f"{group}/{resource}": " ".join(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_each_part_may_do_what_it_does_and_no_more(render: Render) -> None:
    objects = render()
    assert _grants(one(objects, "ClusterRole", "orkhaven-operator")) == OPERATOR | OPERATOR_EVERYWHERE
    assert _grants(one(objects, "ClusterRole", "orkhaven-hub")) == HUB | HUB_EVERYWHERE
    lease = one(objects, "Role", "orkhaven-operator-lease")["rules"]
    assert [(rule["resources"], rule.get("resourceNames"), rule["verbs"]) for rule in lease] == [
        (["leases"], None, ["create"]),
        (["leases"], ["orkhaven-operator"], ["get", "update"]),
        (["configmaps"], ["orkhaven-usage"], ["get", "patch"]),
    ]
    kept = one(objects, "ConfigMap", "orkhaven-usage")
    assert "data" not in kept, "or an upgrade would take away what the operator wrote"
    assert env_of(objects, "operator")["ORKHAVEN_USAGE_CONFIG_MAP"] == kept["metadata"]["name"]


def test_kueue_is_read_only_where_it_is_wanted(render: Render) -> None:
    without = render({"kueue": {"enabled": False}})
    assert "kueue.x-k8s.io/workloads" not in _grants(one(without, "ClusterRole", "orkhaven-operator"))
    assert env_of(without, "operator")["ORKHAVEN_KUEUE"] == "false"
    named = render({"kueue": {"priorityClasses": {"Interactive": "urgent"}}})
    assert env_of(named, "operator")["ORKHAVEN_KUEUE_PRIORITY_CLASSES"] == '{"Interactive":"urgent"}'
    assert "ORKHAVEN_KUEUE" not in env_of(named, "operator")


def test_no_rule_has_a_wildcard(render: Render) -> None:
    for values in ({}, {"namespaces": ["a"]}):
        roles = [o for o in render(values) if o["kind"] in ("Role", "ClusterRole")]
        assert roles
        assert "*" not in json.dumps([role["rules"] for role in roles])


def test_with_namespaces_only_what_has_none_is_granted_everywhere(render: Render) -> None:
    objects = render({"namespaces": ["a", "b"]})
    assert _grants(one(objects, "ClusterRole", "orkhaven-operator")) == OPERATOR_EVERYWHERE
    assert _grants(one(objects, "ClusterRole", "orkhaven-hub")) == HUB_EVERYWHERE
    roles = {(o["metadata"]["namespace"], o["metadata"]["name"]): o for o in objects if o["kind"] == "Role"}
    for namespace in ("a", "b"):
        assert _grants(roles[namespace, "orkhaven-operator"]) == OPERATOR
        assert _grants(roles[namespace, "orkhaven-hub"]) == HUB
    assert env_of(objects, "operator")["ORKHAVEN_NAMESPACES"] == "a,b"


def test_every_binding_binds_a_role_that_is_there_to_an_account_that_is_there(render: Render) -> None:
    for values in ({}, {"namespaces": ["a"]}):
        objects = render(values)
        accounts = {
            (o["metadata"]["namespace"], o["metadata"]["name"]) for o in objects if o["kind"] == "ServiceAccount"
        }
        roles = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects}
        for binding in (o for o in objects if o["kind"].endswith("RoleBinding") or o["kind"] == "RoleBinding"):
            role = binding["roleRef"]
            assert (role["kind"], binding["metadata"].get("namespace"), role["name"]) in roles
            assert {(subject["namespace"], subject["name"]) for subject in binding["subjects"]} <= accounts


# --- pods ---


@pytest.mark.parametrize(
    "values",
    [{}, {"hub": {"persistence": {"enabled": True}}}, {"hub": {"database": {"existingSecret": "pg"}}}],
    ids=["default", "a volume", "PostgreSQL"],
)
@pytest.mark.parametrize("component", ["operator", "hub"])
def test_pods_meet_the_restricted_pod_security_standard(render: Render, component: str, values: dict[str, Any]) -> None:
    pod = pod_of(render(values), component)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in pod["volumes"]:
        assert {"emptyDir", "persistentVolumeClaim"} & set(volume)
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPort" in port for port in container["ports"])
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
        assert "memory" in container["resources"]["limits"]
    # A Service orkhaven-hub would put ORKHAVEN_HUB_PORT=tcp://... into the environment.
    assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("component", ["operator", "hub"])
def test_probes_and_service_find_the_port(render: Render, component: str) -> None:
    objects = render()
    (container,) = pod_of(objects, component)["containers"]
    (port,) = container["ports"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    service = one(objects, "Service", f"orkhaven-{component}")["spec"]
    assert [entry["targetPort"] for entry in service["ports"]] == [port["name"]]
    labels = one(objects, "Deployment", f"orkhaven-{component}")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    settings = {"operator": OperatorSettings.model_fields["http_port"], "hub": HubSettings.model_fields["port"]}
    assert port["containerPort"] == settings[component].default


def test_the_image_is_that_of_the_charts_version_unless_said_otherwise(render: Render) -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for component in ("operator", "hub"):
        pod = pod_of(render(), component)
        assert pod["containers"][0]["image"] == f"ghcr.io/orkhaven/operator:{version}"
        assert pod["containers"][0]["args"] == [component]
        image = {"repository": "localhost/orkhaven-operator", "tag": "dev", "pullPolicy": "Never", "pullSecrets": ["s"]}
        pod = pod_of(render({"image": image}), component)
        assert pod["containers"][0]["image"] == "localhost/orkhaven-operator:dev"
        assert pod["containers"][0]["imagePullPolicy"] == "Never"
        assert pod["imagePullSecrets"] == [{"name": "s"}]


# --- settings ---


def test_the_operators_environment_are_its_settings(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    env = env_of(
        render(
            {
                "trainer": {
                    "image": "localhost/orkhaven-trainer-cpu:dev",
                    "imagePullPolicy": "Never",
                    "outputClaim": "out",
                },
                "gpuResources": ["nvidia.com/gpu", {"name": "amd.com/gpu", "modelLabel": "amd.com/gpu.product-name"}],
                "operator": {
                    "settings": {"retryBaseSeconds": 1.5, "resyncSeconds": 5000000, "workers": 4},
                    "failureRules": [{"name": "a", "pattern": "x\\d", "reason": "Odd", "action": "Never"}],
                },
            }
        ),
        "operator",
    )
    for name, value in env.items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "pod-1")
    settings = OperatorSettings()
    assert settings.trainer_image == "localhost/orkhaven-trainer-cpu:dev"
    assert (settings.image_pull_policy, settings.output_claim) == ("Never", "out")
    assert settings.hub_url == "http://orkhaven-hub.system.svc"
    assert (settings.retry_base_seconds, settings.resync_seconds, settings.workers) == (1.5, 5_000_000, 4)
    assert defaults(settings).gpu_resources == (
        GpuResource("nvidia.com/gpu"),
        GpuResource("amd.com/gpu", ("amd.com/gpu.product-name", "")),
    )
    (rule,) = settings_rules(settings)
    assert (rule.name, rule.pattern.text, rule.reason, rule.action) == ("a", r"x\d", "Odd", "Never")
    assert (settings.lease_name, settings.lease_identity) == ("orkhaven-operator", "pod-1")
    assert env["ORKHAVEN_LEASE_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert {name.removeprefix("ORKHAVEN_").lower() for name in env} <= set(OperatorSettings.model_fields)


def test_the_hubs_environment_are_its_settings(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"maxBodyBytes": 8388608, "retentionDays": 90, "readAuth": "none", "flushSeconds": 2.5}
    env = env_of(render({"hub": {"settings": chosen}, "log": {"level": "DEBUG", "format": "text"}}), "hub")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    settings = HubSettings()
    assert (settings.max_body_bytes, settings.retention_days, settings.flush_seconds) == (8388608, 90, 2.5)
    assert (settings.read_auth, settings.port) == ("none", 8000)
    assert (LogSettings().log_level, LogSettings().log_format) == ("DEBUG", "text")
    assert settings.database_url == "sqlite:////var/lib/orkhaven/hub.db"
    ours = {name.removeprefix("ORKHAVEN_HUB_").lower() for name in env if name.startswith("ORKHAVEN_HUB_")}
    assert ours <= set(HubSettings.model_fields)


@pytest.mark.parametrize(("part", "model"), [("operator", OperatorSettings), ("hub", HubSettings)])
def test_every_setting_that_the_schema_allows_is_one(
    part: str, model: type[OperatorSettings] | type[HubSettings]
) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    allowed = schema["properties"][part]["properties"]["settings"]["properties"]
    names = {re.sub("([A-Z])", r"_\1", name).lower() for name in allowed}
    assert names <= set(model.model_fields)
    # What has a value of its own in the chart, or is fixed by it.
    own = {
        "operator": {
            *("log_level", "log_format", "namespaces", "trainer_image", "image_pull_policy", "output_claim", "hub_url"),
            *("gpu_resources", "failure_rules"),
            *("lease_name", "lease_namespace", "lease_identity", "usage_config_map", "http_host", "http_port"),
            *("kueue", "kueue_priority_classes"),
        },
        "hub": {"host", "port", "database_url", "namespaces", "output_root", "output_claim"},
    }
    assert set(model.model_fields) - names == own[part]


def test_without_a_hub_nothing_of_it_is_there(render: Render) -> None:
    objects = render({"hub": {"enabled": False}})
    assert not [o for o in objects if o["metadata"]["name"].endswith("-hub")]
    assert "ORKHAVEN_HUB_URL" not in env_of(objects, "operator")


# --- what is refused ---


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"operater": {}}, "operater"),
        ({"operator": {"replica": 2}}, "replica"),
        ({"operator": {"settings": {"resyncSecond": 1}}}, "resyncSecond"),
        ({"hub": {"outputs": [{"namespace": "../x", "claim": "c", "existingClaim": "d"}]}}, "namespace"),
        ({"operator": {"replicas": -1}}, "/operator/replicas"),
        ({"hub": {"replicas": 2}}, "hub.replicas: more than 1 needs PostgreSQL"),
        ({"hub": {"url": "http://hub/"}}, "/hub/url"),
        ({"hub": {"database": {"url": "mysql://x"}}}, "/hub/database/url"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"namespaces": ["A"]}, "/namespaces/0"),
        ({"trainer": {"outputClaim": "My Claim"}}, "/trainer/outputClaim"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_values_that_cannot_be_are_refused_by_name(
    refusal: Callable[[dict[str, Any]], str], values: dict[str, Any], message: str
) -> None:
    said = refusal(values)
    assert message in said or message.lstrip("/").replace("/", ".") in said
