"""What Sweep and Experiment share as Python objects: names, status, waiting, holding."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from orkhaven.client.hub import Hub
from orkhaven.client.kube import Body, Kube
from orkhaven.client.waiting import finished, holds, line, until

MANAGER = "orkhaven-client"


class Way(Protocol):
    """To the cluster and to the hub, each opened when it is first needed."""

    @property
    def kube(self) -> Kube: ...

    @property
    def hub(self) -> Hub: ...


class Resource:
    """What Sweep and Experiment share."""

    def __init__(self, client: Way, body: Body) -> None:
        self._client = client
        self._body = body

    @property
    def name(self) -> str:
        return str(self._body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self._body["metadata"]["namespace"])

    @property
    def spec(self) -> Body:
        return dict(self._body["spec"])

    @property
    def status(self) -> Body:
        """As it is now."""
        self.refresh()
        return self._body.get("status") or {}

    @property
    def state(self) -> str:
        return str(self.status.get("state") or "Pending")

    def refresh(self) -> None:
        """Reads it again."""
        self._body = self._client.kube.get(self._body["kind"], self.name, namespace=self.namespace)

    def suspend(self) -> None:
        """Checkpoints are saved, the GPUs are given back."""
        self._patch({"suspend": True})

    def resume(self) -> None:
        """Goes on from there, an Experiment that early stopping has ended too; a sweep that its canary holds goes on
        without waiting for it, and one that was stopped on a cluster of failures is judged by what fails from now."""
        from orkhaven.api.policy import resumed

        self._patch(resumed(self._body.get("status"), now=datetime.now(UTC)))

    def _patch(self, spec: Body) -> None:
        kind, kube = self._body["kind"], self._client.kube
        self._body = kube.patch(kind, self.name, {"spec": spec}, manager=MANAGER, namespace=self.namespace)

    def _wait(self, seconds: float | None) -> None:
        self.refresh()
        self._body = until(
            self._client.kube,
            self._body,
            lambda body: holds(body, "Finished"),
            seconds=seconds,
            what=f"the end of {self.name}",
        )

    @property
    def finished(self) -> bool:
        self.refresh()
        return finished(self._body)

    def __repr__(self) -> str:
        return f"<{self._body['kind']} {line(self._body)}>"
