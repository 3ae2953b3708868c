"""The reference of the store's port: dictionaries with sorted keys. For tests and simulations; it forgets at exit."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from quicklime.errors import Fault


class _Table:
    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]


class MemoryStore:
    """``projection.Store`` in this process. Writes wait for each other; readers see whole writes only."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._closed = False

    def get(self, table: str, key: bytes) -> bytes | None:
        with self._reading:
            self._check_open()
            found = self._tables.get(table)
            return None if found is None else found.values.get(key)

    def scan(
        self, table: str, *, prefix: bytes = b"", after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        with self._reading:
            self._check_open()
            found = self._tables.get(table)
            if found is None:
                return []
            place = bisect_left(found.keys, prefix)
            if after is not None:
                place = max(place, bisect_right(found.keys, after))
            pairs = []
            for key in found.keys[place : place + limit]:
                if not key.startswith(prefix):
                    break
                pairs.append((key, found.values[key]))
            return pairs

    @contextmanager
    def write(self) -> Iterator[_Batch]:
        with self._writing, self._batch() as batch:
            yield batch

    @contextmanager
    def write_at_once(self) -> Iterator[_Batch | None]:
        if not self._writing.acquire(blocking=False):
            yield None
            return
        try:
            with self._batch() as batch:
                yield batch
        finally:
            self._writing.release()

    @contextmanager
    def _batch(self) -> Iterator[_Batch]:
        self._check_open()
        batch = _Batch(self)
        yield batch
        with self._reading:
            for table in batch.cleared:
                self._tables.pop(table, None)
            for (table, key), value in batch.changes.items():
                rows = self._tables.setdefault(table, _Table())
                if value is None:
                    rows.delete(key)
                else:
                    rows.put(key, value)

    def close(self) -> None:
        with self._reading:
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise Fault("the store is closed")


class _Batch:
    """What one write is about to change; nothing of it is seen before the write ends."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.changes: dict[tuple[str, bytes], bytes | None] = {}
        self.cleared: set[str] = set()

    def get(self, table: str, key: bytes) -> bytes | None:
        if (table, key) in self.changes:
            return self.changes[table, key]
        return None if table in self.cleared else self._store.get(table, key)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self.changes[table, key] = value

    def delete(self, table: str, key: bytes) -> None:
        self.changes[table, key] = None

    def clear(self, table: str) -> None:
        self.cleared.add(table)
        for place in [place for place in self.changes if place[0] == table]:
            del self.changes[place]
