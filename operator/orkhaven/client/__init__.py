"""Python client: the cluster and the hub from a notebook or a script, and what `kubectl ork` is made of."""
