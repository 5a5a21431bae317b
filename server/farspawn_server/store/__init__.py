"""What must survive: every task, in SQLite, before anybody is told."""

from farspawn_server.store.store import Store, StoreError

__all__ = ["Store", "StoreError"]
