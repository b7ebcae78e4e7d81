"""What a verb works with: the way to the cluster and to the hub, each opened when it is first asked for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orkhaven.cli.output import Format

if TYPE_CHECKING:
    from orkhaven.client.connect import Opening, Target
    from orkhaven.client.hub import Hub
    from orkhaven.client.kube import Kube

MANAGER = "kubectl-ork"


@dataclass(kw_only=True)
class Session:
    """The options that many verbs share, and what is made of them."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    impersonate: str | None = None
    output: Format = Format.TABLE
    everywhere: bool = False
    selector: str | None = None
    place: str | None = None
    token: str | None = None
    service_account: str | None = None
    stack: ExitStack = field(default_factory=ExitStack)
    opening: Opening | None = None

    @functools.cached_property
    def target(self) -> Target:
        from orkhaven.client.connect import Target

        return Target(
            context=self.context,
            kubeconfig=self.kubeconfig,
            namespace=self.namespace,
            impersonate=self.impersonate,
        )

    def begin(self) -> None:
        """Starts to open the way to the cluster, while the verb is being loaded. What goes wrong is said by `kube`."""
        from orkhaven.client.connect import Opening
        from orkhaven.client.errors import NoKubectl

        with suppress(NoKubectl):
            self.opening = Opening(self.target)
            self.stack.callback(self.opening.close)

    @functools.cached_property
    def kube(self) -> Kube:
        from orkhaven.client.connect import connect

        return self.stack.enter_context(self.opening.kube() if self.opening else connect(self.target))

    @functools.cached_property
    def hub(self) -> Hub:
        from orkhaven.client.hub import open_hub
        from orkhaven.client.tokens import TokenChoice, token_of

        choice = TokenChoice(token=self.token, service_account=self.service_account)
        namespace = self.kube.namespace
        return self.stack.enter_context(
            open_hub(self.target, lambda: token_of(self.target, choice, namespace=lambda: namespace), place=self.place)
        )

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def command(self, *words: str) -> str:
        """A command line of ours for a person to copy, with the options that this one was called with."""
        options = [
            f"{name} {value}"
            for name, value in (("-n", self.namespace), ("--context", self.context), ("--kubeconfig", self.kubeconfig))
            if value
        ]
        return " ".join(["kubectl ork", *words, *options])


def _option(default: Any, kind: Any, help: str, *names: str, shown: str | None = None) -> tuple[Any, Any]:
    """(annotation, default) of an option. `shown`: its value in the help."""
    return Annotated[kind, typer.Option(*names, help=help, metavar=shown)], default


_TEXT = str | None

_GROUPS: dict[str, dict[str, tuple[Any, Any]]] = {
    "cluster": {
        "namespace": _option(None, _TEXT, "Default: that of the context.", "-n", "--namespace", shown="NAME"),
        "context": _option(None, _TEXT, "Context of the kubeconfig.", shown="NAME"),
        "kubeconfig": _option(None, _TEXT, "Path of the kubeconfig.", shown="FILE"),
        "impersonate": _option(None, _TEXT, "Act as this user, as kubectl --as does.", "--as", shown="USER"),
    },
    "list": {
        "everywhere": _option(False, bool, "Of all namespaces.", "-A", "--all-namespaces"),
        "selector": _option(None, _TEXT, "Labels, as kubectl -l.", "-l", "--selector", shown="LABELS"),
    },
    "output": {"output": _option(Format.TABLE, Format, "How it is printed.", "-o", "--output")},
    "hub": {
        "place": _option(None, _TEXT, "The hub: namespace/service or URL [env: ORKHAVEN_HUB]", "--hub", shown="PLACE"),
        "token": _option(
            None, _TEXT, "Shown to the hub; better in the environment [env: ORKHAVEN_TOKEN]", shown="TOKEN"
        ),
        "service_account": _option(
            None, _TEXT, "Show the hub this one's token [env: ORKHAVEN_SERVICE_ACCOUNT]", shown="NAME"
        ),
    },
}


def takes(*groups: str, early: bool = True) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Gives a verb the options of these groups, packed into the `Session` that is its first argument.

    What the verb returns is its exit code. `early`: it will ask the cluster.
    """

    def decorate(verb: Callable[..., Any]) -> Callable[..., None]:
        signature = inspect.signature(verb, eval_str=True)
        _, *own = signature.parameters.values()
        extra = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for group in groups
            for name, (annotation, default) in _GROUPS[group].items()
        ]

        def run(**given: Any) -> None:
            options = {parameter.name: given.pop(parameter.name) for parameter in extra}
            session = Session(**options)
            with session.stack:
                if early and "cluster" in groups:
                    session.begin()
                code = verb(session, **given)
            raise typer.Exit(code or 0)

        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *extra]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
