"""The Experiment that a sweep makes, whatever of: its name, its labels, its owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orkhaven.api import GROUP, VERSION
from orkhaven.core.identity import LABEL_DIGITS, param_hash
from orkhaven.core.views import SweepView
from orkrun import contract


def child_body(
    sweep: SweepView, name: str, spec: dict[str, Any], *, trial: int, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """`labels`: beside those that every trial has."""
    key = sweep.meta.key
    creator = {contract.ANNOTATION_CREATED_BY: sweep.created_by} if sweep.created_by else {}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Experiment",
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": {
                contract.LABEL_MANAGED_BY: contract.MANAGED_BY,
                contract.LABEL_SWEEP: key.name,
                contract.LABEL_TRIAL: str(trial),
                contract.LABEL_PARAM_HASH: param_hash(spec["params"])[:LABEL_DIGITS],
                **(labels or {}),
            },
            **({"annotations": creator} if creator else {}),
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": "Sweep",
                    "name": key.name,
                    "uid": sweep.meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": spec,
    }
