"""The gateway to the API server: the only importer of `kubernetes`. Bodies are dicts, never typed models.

Knows of `api`, `errors`, `config` and `orkrun`; nothing of core and engine, so that the hub can use it too.
"""

from orkhaven.kube.client import Client
from orkhaven.kube.gateway import Gateway, TokenReview
from orkhaven.kube.lease import Lease
from orkhaven.kube.login import connect, credentials
from orkhaven.kube.people import People
from orkhaven.kube.resources import RESOURCES, Resource

__all__ = ["RESOURCES", "Client", "Gateway", "Lease", "People", "Resource", "TokenReview", "connect", "credentials"]
