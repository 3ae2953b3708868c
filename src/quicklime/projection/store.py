"""The port to a key-value store, next to its consumer; and what can be asked of any store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Protocol, runtime_checkable

from quicklime.errors import Fault
from quicklime.log import READ_RECORDS_MAX


class StoreUnavailable(Fault):
    """The store can't be read or written now, or is not what it was; it may come back, and the log has it all."""


class Batch(Protocol):
    """An open atomic write. What was put is read back by ``get`` and ``scan`` of the same batch."""

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def put(self, table: str, key: bytes, value: bytes) -> None: ...

    def delete(self, table: str, key: bytes) -> None: ...

    def clear(self, table: str) -> None:
        """Delete every key of ``table``."""
        ...


class Store(Protocol):
    """A key-value store of named tables with ordered keys (at most 500 octets each).

    Contract (``tests/contracts/test_store.py``): a ``write`` is all or nothing, also when the process is killed in the
    middle; one at a time, across threads and processes; readers see the state before or after it, never a part. Nothing
    needs to be durable beyond the process: a store that is lost or damaged is rebuilt from the log, and an adapter that
    can't vouch for what it finds (the machine went down with unflushed writes) starts empty.
    """

    def get(self, table: str, key: bytes) -> bytes | None: ...

    def scan(
        self, table: str, *, prefix: bytes = b"", after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        """Up to ``limit`` pairs whose keys start with ``prefix`` and are greater than ``after``, in key order."""
        ...

    def write(self) -> AbstractContextManager[Batch]:
        """An atomic write: committed when the block ends, undone when it raises."""
        ...

    def write_at_once(self) -> AbstractContextManager[Batch | None]:
        """As ``write``; None where it would have to wait: for another writer, or for a store on another machine.

        An event loop may call it.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class Losable(Protocol):
    """A store that may be emptied while it is used, because it is on another machine."""

    def withhold(self, filling: bool) -> None:
        """While true, refuse reads outside of writes (StoreUnavailable): what is there is on its way to being whole."""
        ...


def pairs(store: Store, table: str) -> Iterator[tuple[bytes, bytes]]:
    """Every pair of ``table``, in key order."""
    after: bytes | None = None
    while page := store.scan(table, after=after, limit=READ_RECORDS_MAX):
        yield from page
        after = page[-1][0]


def digest(store: Store, table: str) -> str:
    """SHA-256 (hex) over the table's pairs in key order, each part preceded by its length in 8 octets.

    Two stores that have seen the same records have the same digest.
    """
    hasher = sha256()
    for key, value in pairs(store, table):
        for part in (key, value):
            hasher.update(len(part).to_bytes(8, "big"))
            hasher.update(part)
    return hasher.hexdigest()
