"""The watch: kopf's streams, turned into views for the engine. The only importer of kopf."""

from orkhaven.feed.watcher import Watcher

__all__ = ["Watcher"]
