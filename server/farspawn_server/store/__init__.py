"""What must survive: every task, in SQLite, before anybody is told."""

from farspawn_server.store.store import Store, StoreError
from farspawn_server.store.tombstones import Forgotten, Tombstone

__all__ = ["Forgotten", "Store", "StoreError", "Tombstone"]
