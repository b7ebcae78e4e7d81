"""Runs the core: store, work queue, reconciler, dispatcher, resync. Knows neither kopf nor kubernetes: see `ports`."""
