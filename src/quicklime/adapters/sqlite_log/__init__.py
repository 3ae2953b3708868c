"""The embedded log: one SQLite file in WAL mode, flushed at each commit (``synchronous=FULL``).

Invariant: when ``append`` returns, its records are in the write-ahead log and the system has acknowledged the flush.
Appends that wait together share one transaction, hence one flush (group commit). Offsets are made inside the
transaction, after the greatest that stands, so several processes may append. Triggers in the file itself refuse a gap,
a change and a deletion, whoever tries.

A crash at any point leaves whole transactions: SQLite's recovery drops a torn tail, and nothing torn was acknowledged.
The file and its ``-wal`` belong together: a copy of the file alone lacks the newest records.

Not for network file systems (locks and shared memory need one machine). Open it after ``fork``, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from quicklime.adapters.sqlite_log.file import HEAD, MANY, ONE, check, connect, damaged
from quicklime.adapters.sqlite_log.file import create as create_file
from quicklime.adapters.sqlite_log.writer import QUEUE_ENTRIES_MAX, QUEUE_OCTETS_MAX, Waiting, Writer
from quicklime.log import READ_RECORDS_MAX, AppendFailed, Entry, LogUnreadable, Record

POLL_SECONDS_MIN = 0.001
POLL_SECONDS_MAX = 0.025
TAIL_RECORDS_MAX = 256


class _Reading:
    """One thread's connection for reading. The lock is only ever contended by ``close``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection: sqlite3.Connection | None = connection
        self.lock = threading.Lock()
        self.thread = threading.current_thread()

    def rows(self, statement: str, *arguments: int) -> list[tuple[int, str, bytes]]:
        """The rows of one statement: a consistent state of the log. Raises LogUnreadable."""
        with self.lock:
            if self.connection is None:
                raise LogUnreadable("the log is closed")
            try:
                return self.connection.execute(statement, arguments).fetchall()
            except sqlite3.Error as error:
                raise LogUnreadable(f"the log can't be read: {error}") from error

    def close(self) -> None:
        with self.lock:
            if self.connection is not None:
                self.connection.close()
                self.connection = None


class _Tail:
    """The newest records that this process committed, for those who follow close behind: no look into the file.

    Written by the writer's thread alone. Readers take the reference once, so they see a whole state.
    """

    def __init__(self) -> None:
        self._records: list[Record] = []

    def add(self, records: list[Record]) -> None:
        known = self._records
        if known and known[-1].offset + 1 != records[0].offset:
            known = []  # another process appended in between
        known = known[-TAIL_RECORDS_MAX:] + records
        self._records = known

    def read(self, start: int, limit: int) -> Sequence[Record]:
        """From ``start`` on, at most ``limit``; empty where ``start`` is not here."""
        known = self._records
        place = start - known[0].offset if known else -1
        return known[place : place + limit] if 0 <= place < len(known) else ()


class SQLiteLog:
    """The log in the file ``path``. Every method may be called from any thread; ``append`` under any event loop.

    ``create=True`` makes the file and refuses one that is there; otherwise it must be there and be a log.
    Raises BrokenState. A cancelled ``append`` is like a lost answer: its records stand, whole, or they do not.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        queue_entries_max: int = QUEUE_ENTRIES_MAX,
        queue_octets_max: int = QUEUE_OCTETS_MAX,
    ) -> None:
        self._path = Path(path)
        if create:
            create_file(self._path)
        self._local = threading.local()
        self._readings: list[_Reading] = []
        self._readings_lock = threading.Lock()
        self._closed = False
        check(self._path)
        self._committed = self.head()
        self._changed = threading.Condition()
        self._tail = _Tail()
        self._writer = Writer(
            lambda: connect(self._path),
            self._note_committed,
            entries_max=queue_entries_max,
            octets_max=queue_octets_max,
        )

    @property
    def commits(self) -> int:
        """How many transactions, each one flush, this object has committed: what group commit is judged by."""
        return self._writer.commits

    def head(self) -> int:
        return self._reading().rows(HEAD)[0][0]

    def read(self, start: int, limit: int = READ_RECORDS_MAX) -> Sequence[Record]:
        if self._closed:
            raise LogUnreadable("the log is closed")
        if recent := self._tail.read(start, min(limit, READ_RECORDS_MAX)):
            return recent
        reading = self._reading()
        if limit == 1:
            return [Record(*row) for row in reading.rows(ONE, start)]
        rows = reading.rows(MANY, start, min(limit, READ_RECORDS_MAX))
        if rows and (rows[0][0] != start or rows[-1][0] != start + len(rows) - 1):
            raise LogUnreadable(f"records are missing between {start} and {rows[-1][0]}: the file is damaged")
        return [Record(*row) for row in rows]

    def wait(self, offset: int, timeout_seconds: float) -> bool:
        """As the port says; also returns (False) when the log is closed meanwhile. Raises LogUnreadable.

        This process's commits wake it at once; another process's are seen within POLL_SECONDS_MAX.
        """
        end = time.monotonic() + timeout_seconds
        pause = POLL_SECONDS_MIN
        while not self._closed:
            if self._committed > offset or self.head() > offset:
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait_for(lambda: self._committed > offset or self._closed, min(pause, left))
            pause = min(pause * 2, POLL_SECONDS_MAX)
        return False

    async def append(self, entries: Sequence[Entry]) -> int:
        rows = tuple((entry.type, entry.value) for entry in entries)
        octets = 0
        for kind, value in rows:
            # one unfit entry must not spoil the transaction it would share with others
            if not kind.isascii() or not kind.isprintable():
                raise AppendFailed(f"entry of type {kind[:80]!r}: expected printable ASCII")
            octets += len(kind) + len(value)
        if not rows:
            raise AppendFailed("no entries: expected at least one")
        loop = asyncio.get_running_loop()
        waiting = Waiting(rows, octets, loop, loop.create_future())
        self._writer.put(waiting)
        return await waiting.future

    def close(self) -> None:
        """Commit all that waits, then let go of the file. Appends and reads that come later fail."""
        self._writer.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with self._readings_lock:
            readings, self._readings = self._readings, []
        for reading in readings:
            reading.close()

    def check(self) -> None:
        """Read the whole file and compare it with its structure. Takes time in proportion. Raises BrokenState."""
        with contextlib.closing(connect(self._path)) as connection:
            try:
                found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
                count, head = connection.execute(
                    f"SELECT count(*), ({HEAD}) FROM records"  # noqa: S608  a constant
                ).fetchone()
            except sqlite3.Error as error:
                found = [str(error)]
                count = head = 0
        if found != ["ok"]:
            raise damaged(self._path, "; ".join(found))
        if count != head:
            raise damaged(self._path, f"{count} records, but the last has the offset {head - 1}")

    def _note_committed(self, first: int, rows: Sequence[tuple[str, bytes]]) -> None:
        self._tail.add([Record(offset, *row) for offset, row in enumerate(rows, first)])
        with self._changed:
            self._committed = first + len(rows)
            self._changed.notify_all()

    def _reading(self) -> _Reading:
        reading: _Reading | None = getattr(self._local, "reading", None)
        if reading is not None:
            return reading
        if self._closed:
            raise LogUnreadable("the log is closed")
        try:
            connection = connect(self._path)
            connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise LogUnreadable(f"the log can't be read: {error}") from error
        self._local.reading = reading = _Reading(connection)
        with self._readings_lock:
            gone = [other for other in self._readings if not other.thread.is_alive()]
            self._readings = [other for other in self._readings if other not in gone]
            self._readings.append(reading)
        for other in gone:
            other.close()
        return reading
