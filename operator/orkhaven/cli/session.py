"""What a verb works with: the way to the cluster and to the hub, each opened when it is first asked for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orkhaven.cli.output import Format

if TYPE_CHECKING:
    from orkhaven.client.connect import Target
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

    @functools.cached_property
    def target(self) -> Target:
        from orkhaven.client.connect import Target

        return Target(
            context=self.context,
            kubeconfig=self.kubeconfig,
            namespace=self.namespace,
            impersonate=self.impersonate,
        )

    @functools.cached_property
    def kube(self) -> Kube:
        from orkhaven.client.connect import connect

        return self.stack.enter_context(connect(self.target))

    @functools.cached_property
    def hub(self) -> Hub:
        from orkhaven.client.hub import open_hub
        from orkhaven.client.tokens import TokenChoice, token_of

        choice = TokenChoice(token=self.token, service_account=self.service_account)
        namespace = self.kube.namespace
        return self.stack.enter_context(
            open_hub(self.target, lambda: token_of(self.target, choice, namespace=namespace), place=self.place)
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


_CLUSTER = "Cluster"
_HUB = "Hub"

_GROUPS: dict[str, dict[str, tuple[Any, Any]]] = {
    "cluster": {
        "namespace": (
            Annotated[str | None, typer.Option("-n", "--namespace", help="Default: that of the context.", rich_help_panel=_CLUSTER)],
            None,
        ),
        "context": (Annotated[str | None, typer.Option(help="Context of the kubeconfig.", rich_help_panel=_CLUSTER)], None),
        "kubeconfig": (Annotated[str | None, typer.Option(help="Path of the kubeconfig.", rich_help_panel=_CLUSTER)], None),
        "impersonate": (
            Annotated[str | None, typer.Option("--as", help="Act as this user, as kubectl --as does.", rich_help_panel=_CLUSTER)],
            None,
        ),
    },
    "list": {
        "everywhere": (Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of all namespaces.")], False),
        "selector": (Annotated[str | None, typer.Option("-l", "--selector", help="Labels, as kubectl -l.")], None),
    },
    "output": {"output": (Annotated[Format, typer.Option("-o", "--output", help="How it is printed.")], Format.TABLE)},
    "hub": {
        "place": (
            Annotated[str | None, typer.Option("--hub", help="namespace/service or URL [env: ORKHAVEN_HUB]", rich_help_panel=_HUB)],
            None,
        ),
        "token": (
            Annotated[str | None, typer.Option(help="Shown to the hub; better in the environment [env: ORKHAVEN_TOKEN]", rich_help_panel=_HUB)],
            None,
        ),
        "service_account": (
            Annotated[str | None, typer.Option(help="Show the hub a token of this one [env: ORKHAVEN_SERVICE_ACCOUNT]", rich_help_panel=_HUB)],
            None,
        ),
    },
}  # fmt: skip


def takes(*groups: str) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Gives a verb the options of these groups, packed into the `Session` that is its first argument.

    What the verb returns is its exit code.
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
                code = verb(session, **given)
            raise typer.Exit(code or 0)

        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *extra]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate
