"""A name that a person typed becomes a Sweep or an Experiment."""

from __future__ import annotations

from orkhaven.client.errors import Invalid, NotFound, NotInstalled
from orkhaven.client.kube import Body, Kube
from orkhaven.client.waiting import condition

_KINDS = {"sweep": "Sweep", "sweeps": "Sweep", "sw": "Sweep"}
_KINDS |= {"experiment": "Experiment", "experiments": "Experiment", "xp": "Experiment"}


def sweep(kube: Kube, name: str) -> Body:
    """Raises NotFound; where it is an Experiment's name, that is said."""
    return _one(kube, "Sweep", "Experiment", name)


def experiment(kube: Kube, name: str) -> Body:
    """Raises NotFound; where it is a Sweep's name, that is said."""
    return _one(kube, "Experiment", "Sweep", name)


def either(kube: Kube, text: str) -> Body:
    """Of "sweep/NAME", "xp/NAME", or a name alone. Raises NotFound, Invalid."""
    kind, slash, name = text.rpartition("/")
    if slash:
        if kind.lower().removesuffix(".orkhaven.io") not in _KINDS:
            raise Invalid(f"{text}: {kind} is no kind; write sweep/{name} or xp/{name}")
        return kube.get(_KINDS[kind.lower().removesuffix(".orkhaven.io")], name)
    found = [body for body in (_maybe(kube, kind, text) for kind in ("Sweep", "Experiment")) if body]
    if not found:
        raise NotFound(
            f"there is no Sweep and no Experiment {text!r} in namespace {kube.namespace!r}",
            hint="kubectl ork status lists sweeps; -n says another namespace",
        )
    if len(found) > 1:
        raise Invalid(f"there is a Sweep and an Experiment {text!r}: write sweep/{text} or xp/{text}")
    return found[0]


def _one(kube: Kube, kind: str, other: str, text: str) -> Body:
    prefix, slash, name = text.rpartition("/")
    if slash and _KINDS.get(prefix.lower()) == kind:
        text = name
    try:
        return kube.get(kind, text)
    except NotInstalled:
        raise
    except NotFound as error:
        if _maybe(kube, other, text):
            verb = "status" if other == "Sweep" else "describe"
            raise NotFound(
                f"{text!r} is a{'n' if other == 'Experiment' else ''} {other}", hint=f"kubectl ork {verb} {text}"
            ) from error
        raise


def _maybe(kube: Kube, kind: str, name: str) -> Body | None:
    try:
        return kube.get(kind, name)
    except NotInstalled:
        raise
    except NotFound:
        return None


def exit_code(body: Body) -> int:
    """Of something that has ended: 3 where it did not succeed, or where trials of it failed."""
    failed = ((body.get("status") or {}).get("trials") or {}).get("failed", 0)
    return 0 if condition(body, "Succeeded").get("status") == "True" and not failed else 3
