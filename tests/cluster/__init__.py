"""A cluster for the demo and the tests, by name: kind, or the bare processes of one, or its control plane alone.

    from tests.cluster import Cluster
    cluster = Cluster("mine").up()

Standard library only; imports nothing of the product.
"""

from tests.cluster.cluster import Cluster
from tests.cluster.say import ClusterError
from tests.cluster.settings import Mode

__all__ = ["Cluster", "ClusterError", "Mode"]
