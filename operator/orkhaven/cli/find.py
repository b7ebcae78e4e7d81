"""A name that a person typed becomes a Sweep or an Experiment."""

from __future__ import annotations

from orkhaven.client.errors import Forbidden, Invalid, NotFound, NotInstalled
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
        kind = _KINDS[kind.lower().removesuffix(".orkhaven.io")]
        return _one(kube, kind, "Experiment" if kind == "Sweep" else "Sweep", name)
    found = [body for body in (_maybe(kube, kind, text) for kind in ("Sweep", "Experiment")) if body]
    if not found:
        raise NotFound(
            f"there is no Sweep and no Experiment {text!r} in namespace {kube.namespace!r}",
            hint=_instead(kube, text, "Sweep", "Experiment"),
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
        raise NotFound(str(error), hint=_instead(kube, text, kind)) from error


def _instead(kube: Kube, text: str, *kinds: str) -> str:
    """The names that come nearest; where none does, what there is."""
    import difflib

    names: list[str] = []
    for kind in kinds:
        try:
            names += kube.names(kind)
        except Forbidden:  # it may be allowed to get one and not to list them
            return "-n says another namespace"
    near = difflib.get_close_matches(text, names, n=3) or sorted(name for name in names if text in name)[:3]
    if near:
        return f"did you mean {' or '.join(near)}?"
    plural = " and ".join(f"{kind}s" for kind in kinds)
    if not names:
        return f"it has no {plural} at all: -n says another namespace, kubectl ork status -A lists all"
    if len(names) > 5:
        return (
            f"kubectl get {','.join(f'{kind}s' for kind in kinds).lower()} -n {kube.namespace} lists all {len(names)}"
        )
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(sorted(names))}; -n says another namespace"


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
