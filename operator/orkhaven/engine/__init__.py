"""Runs the core: store, work queue, reconciler, resync. Knows neither kopf nor kubernetes; both come in through `ports`."""
