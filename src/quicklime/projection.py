"""Follow the log, fold it, write views; the checkpoint is stored together with the data.

Invariant: a table holds exactly what the records before its checkpoint make of it, because puts and checkpoint are one
atomic write. However often the process dies, each event counts once. A crash here loses nothing: the log has it all.

Live and replay are the same code: ``Projector.advance``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol


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

    def close(self) -> None: ...
