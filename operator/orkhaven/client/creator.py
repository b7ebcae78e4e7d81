"""Whose an object is: written where it is made, for API servers that do not write it themselves.

The chart's policies let nobody write another's name. Where the API server has MutatingAdmissionPolicies, it writes the
same name again; what is made by plain kubectl elsewhere has no name.
"""

from __future__ import annotations

from orkhaven.client.errors import NotFound, OrkhavenError
from orkhaven.client.kube import Body, Kube
from orkrun.contract import ANNOTATION_CREATED_BY


def signed(kube: Kube, body: Body) -> Body:
    """The object with its creator: the user, or, where it is there already, whoever made it.

    A server-side apply takes away what it has set before and does not say again; so it is said each time. An API server
    that does not say who the user is leaves the object without a name.
    """
    meta = body["metadata"]
    kept = {key: value for key, value in (meta.get("annotations") or {}).items() if key != ANNOTATION_CREATED_BY}
    creator = _creator(kube, body)
    if creator:
        kept[ANNOTATION_CREATED_BY] = creator
    return {**body, "metadata": {**meta, **({"annotations": kept} if kept or "annotations" in meta else {})}}


def _creator(kube: Kube, body: Body) -> str:
    meta = body["metadata"]
    try:
        there = kube.get(body["kind"], meta["name"], namespace=meta.get("namespace"))
    except NotFound:
        pass
    except OrkhavenError:
        return ""  # what is wrong is said by the apply that follows
    else:
        return str((there["metadata"].get("annotations") or {}).get(ANNOTATION_CREATED_BY) or "")
    try:
        return kube.whoami()
    except OrkhavenError:
        return ""
