"""Runs the core: store, work queue, reconciler, resync. Knows neither kopf nor kubernetes: see `ports`."""
