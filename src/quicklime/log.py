"""THE LOG: the port, and the reference that every adapter is compared with.

Contract (``tests/contracts/test_log.py`` runs it over every adapter):

* **Total order.** Offsets are 0, 1, 2, ... without a gap; a record, once read at an offset, is there for ever, to the byte.
* **Durable.** When ``append`` returns, the records survive the death of the process and of the machine.
* **All or nothing.** The entries of one ``append`` stand next to each other, or none stands.
* **Honest failure.** ``AppendFailed``: nothing was appended. ``AppendUnknown``: it may or may not stand; only reading tells.
* **Several writers.** Any number of processes may append; the log's order decides between them, not a lock.
  Who appended finds all records up to his own at once; what others appended, a moment later where the log is on other machines.
* **Bounded.** An append that would wait behind more than a fixed number of others is refused (``AppendFailed``) at once.

A crash before ``append`` returns: the records may stand; the writer finds them, or their absence, by reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from quicklime.errors import Fault

READ_RECORDS_MAX = 1000


class AppendFailed(Fault):
    """Nothing was appended: the log is away, full, or too busy."""


class AppendUnknown(Fault):
    """The answer was lost: the records may stand or not."""


class LogUnreadable(Fault):
    """The log can't be read now."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is appended: the event's type (so that a reader can skip without decoding) and its exact bytes."""

    type: str
    value: bytes


class Record(msgspec.Struct, frozen=True, gc=False):
    """An entry at its place. ``value`` is to the byte what was appended."""

    offset: int
    type: str
    value: bytes


class Reader(Protocol):
    def head(self) -> int:
        """The offset that the next append will get: the number of records. Raises LogUnreadable."""
        ...

    def read(self, start: int, limit: int = READ_RECORDS_MAX) -> Sequence[Record]:
        """Up to ``limit`` records from offset ``start`` on, in order; empty at the head. Raises LogUnreadable."""
        ...

    def wait(self, offset: int, timeout_seconds: float) -> bool:
        """Block until a record stands at ``offset`` (by whichever process), or the time is up; says which."""
        ...


class Log(Reader, Protocol):
    async def append(self, entries: Sequence[Entry]) -> int:
        """Append all of ``entries``; the offset of the first. Raises AppendFailed, AppendUnknown."""
        ...

    def close(self) -> None: ...


class MemoryLog:
    """The reference: a list. For tests and simulations; it forgets at exit."""

    def __init__(self) -> None:
        self._records: list[Record] = []

    def head(self) -> int:
        return len(self._records)

    def read(self, start: int, limit: int = READ_RECORDS_MAX) -> Sequence[Record]:
        return self._records[start : start + min(limit, READ_RECORDS_MAX)]

    def wait(self, offset: int, timeout_seconds: float) -> bool:
        # nothing comes from elsewhere: what is not here now will not come while the caller waits
        del timeout_seconds
        return len(self._records) > offset

    async def append(self, entries: Sequence[Entry]) -> int:
        first = len(self._records)
        self._records.extend(
            Record(first + place, entry.type, entry.value) for place, entry in enumerate(entries)
        )
        return first

    def close(self) -> None:
        """Nothing to let go of."""
