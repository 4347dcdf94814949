"""The embedded store."""

from controller.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
