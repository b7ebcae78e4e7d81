"""What is asked of the hub: a cache of the cluster's Sweeps and Experiments, tables that join them with the store, and
the language that filters them. `Queries` is the front; pages and JSON API call it, it knows nothing of HTTP.
"""

from orkhaven.hub.query.service import Queries

__all__ = ["Queries"]
