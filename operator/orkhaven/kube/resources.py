"""Which path of the API server a kind lives at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from orkhaven.api.meta import GROUP, VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind and where it is served."""

    kind: str
    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL's path of the collection, of one object, or of a part of it."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if namespace and self.namespaced:
            parts.append(f"namespaces/{quote(namespace, safe='')}")
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


RESOURCES = {
    resource.kind: resource
    for resource in (
        Resource(kind="Sweep", group=GROUP, version=VERSION, plural="sweeps"),
        Resource(kind="Experiment", group=GROUP, version=VERSION, plural="experiments"),
        Resource(kind="Job", group="batch", version="v1", plural="jobs"),
        Resource(kind="Pod", group="", version="v1", plural="pods"),
        Resource(kind="Node", group="", version="v1", plural="nodes", namespaced=False),
        Resource(kind="Namespace", group="", version="v1", plural="namespaces", namespaced=False),
        Resource(kind="ResourceQuota", group="", version="v1", plural="resourcequotas"),
        Resource(kind="ConfigMap", group="", version="v1", plural="configmaps"),
        Resource(kind="Event", group="", version="v1", plural="events"),
        Resource(kind="Lease", group="coordination.k8s.io", version="v1", plural="leases"),
        Resource(
            kind="TokenReview", group="authentication.k8s.io", version="v1", plural="tokenreviews", namespaced=False
        ),
        Resource(
            kind="SubjectAccessReview",
            group="authorization.k8s.io",
            version="v1",
            plural="subjectaccessreviews",
            namespaced=False,
        ),
        Resource(
            kind="SelfSubjectAccessReview",
            group="authorization.k8s.io",
            version="v1",
            plural="selfsubjectaccessreviews",
            namespaced=False,
        ),
        Resource(kind="Workload", group="kueue.x-k8s.io", version="v1beta2", plural="workloads"),
    )
}
RESOURCES["Workload.v1beta1"] = replace(RESOURCES["Workload"], version="v1beta1")
"""Of an older Kueue."""
