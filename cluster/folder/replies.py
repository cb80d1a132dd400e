"""What other models replied to a verifier's questions: a file a question, so each is asked and paid once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from cluster.folder.layout import REPLIES, reply_key
from cluster.folder.store import Store
from iteration.types import Reply


class Replies:
    """The `Memory` of a run folder (iteration/protocols.py)."""

    def __init__(self, store: Store):
        self._store = store

    def get(self, key: str) -> Reply | None:
        name = reply_key(key)
        return Reply(**self._store.json(name)) if self._store.has(name, ".json") else None

    def put(self, key: str, reply: Reply) -> Reply:
        won = self._store.put_json(reply_key(key), asdict(reply))
        return reply if won else Reply(**self._store.json(reply_key(key)))

    def all(self) -> list[Reply]:
        """Every reply; many at once, as each is a file of its own."""
        folders = [f"{REPLIES}/{name}" for name in self._store.names(REPLIES)]
        keys = [f"{folder}/{name.removesuffix('.json')}" for folder in folders for name in self._store.names(folder)]
        with ThreadPoolExecutor(16) as threads:
            return [Reply(**each) for each in threads.map(self._store.json, keys)]
