"""A view that can be asked questions, on SQLite: pairs as any store, and tabular tables that SQL reaches.

Invariant: a write is all or nothing, and data, indexes, counters and checkpoint are one write. WAL without a flush per
commit: after a crash of the machine the file is some earlier whole state, and the projector goes on from its checkpoint.

One writer, any number of readers, in any number of processes. A file of another layout is thrown away by the writer; a
reader that meets one, or none, says so (Fault), and finds the new one when it asks again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from quicklime.errors import BrokenState, Fault
from quicklime.projection.tabular import (
    OFFSET_OCTETS,
    Layout,
    Parameters,
    Table,
    Value,
    ViewUnreadable,
    encode_row,
    offset_key,
    offset_of,
    row_of,
)

APPLICATION_ID = 0x51564957  # "QVIW"
BUSY_SECONDS = 30.0

_PAIRS = """
CREATE TABLE pairs (name TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (name, key)) WITHOUT ROWID;
"""


class SQLiteStore:
    """``projection.Store`` and ``projection.tabular.Tabular`` in the file ``path``.

    ``writing=True`` makes the file where it is missing, damaged or of another layout. Without it the store only reads.
    Raises BrokenState where the place can't be used. Every method may be called from any thread.
    """

    def __init__(self, path: str | os.PathLike[str], layout: Layout, *, writing: bool) -> None:
        self._path = Path(path)
        self._layout = layout
        self._tables = {table.name: _Statements(table) for table in layout.tables}
        self._version = int.from_bytes(sha256((_PAIRS + layout.schema).encode()).digest()[:4], "big") >> 1
        self._writing = threading.Lock()
        self._local = threading.local()
        self._readings: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._readings_lock = threading.Lock()
        self._closed = False
        self._writer = self._open_for_writing() if writing else None

    # --- the port of a store ----------------------------------------------------------------------------------------

    def get(self, table: str, key: bytes) -> bytes | None:
        return _get(self._reading(), self._tables.get(table), table, key)

    def scan(
        self, table: str, *, prefix: bytes = b"", after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        statements = self._tables.get(table)
        reading = self._reading()
        try:
            if statements is not None:
                return statements.scan(reading, prefix, after, limit)
            # any key that starts with the prefix is at least the prefix; the end of the run is seen in the rows
            start = prefix if after is None else max(prefix, after)
            rows = reading.execute(
                "SELECT key, value FROM pairs WHERE name = ? AND key >= ? ORDER BY key LIMIT ?",
                (table, start, limit + 1),
            ).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        found = [(bytes(key), bytes(value)) for key, value in rows if key != after]
        return [pair for pair in found if pair[0].startswith(prefix)][:limit]

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
        writer = self._writer
        if writer is None or self._closed:
            raise Fault("the store is closed" if self._closed else f"{str(self._path)!r} is open for reading")
        try:
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield _Batch(writer, self._layout, self._tables)
            except BaseException:
                writer.execute("ROLLBACK")
                raise
            writer.execute("COMMIT")
        except sqlite3.Error as error:
            raise Fault(f"the view in {str(self._path)!r} can't be written: {error}") from error

    def close(self) -> None:
        """Let go of the file. Whoever asks later is told."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            if self._writer is not None:
                self._writer.close()
            with self._readings_lock:
                for _, connection in self._readings:
                    connection.close()
                self._readings.clear()

    # --- the port of what can be asked ------------------------------------------------------------------------------

    def select(self, statement: str, parameters: Parameters) -> list[tuple[Value, ...]]:
        try:
            return self._reading().execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open_for_writing(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_ours():
                # what readers still have open stays theirs until they look again
                for suffix in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._make()
            connection = _connect(self._path, "rw")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -65536")  # KiB
        except (OSError, sqlite3.Error) as error:
            raise BrokenState(
                f"can't use the view in {str(self._path)!r}: {error}",
                hint=f"make {str(self._path.parent)!r} writable, with space left, or delete the file: "
                "it is rebuilt from the log",
            ) from error
        return connection

    def _is_ours(self) -> bool:
        if not self._path.exists():
            return False
        try:
            with contextlib.closing(_connect(self._path, "ro")) as connection:
                return self._fits(connection)
        except sqlite3.Error:
            return False  # damaged, or no database: as good as none

    def _fits(self, connection: sqlite3.Connection) -> bool:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # a head alone is no database
        return (application, version) == (APPLICATION_ID, self._version)

    def _make(self) -> None:
        """Whole or not at all: a reader never meets a half of it."""
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {self._version};"
                f"{_PAIRS}{self._layout.schema}"
            )
            connection.execute("PRAGMA journal_mode = WAL")
        draft.replace(self._path)

    def _reading(self) -> sqlite3.Connection:
        if self._closed:
            raise Fault("the store is closed")
        try:
            # the writer may have put a new file in the place of the one that is open here
            file = self._path.stat().st_ino
            found: tuple[int, sqlite3.Connection] | None = getattr(self._local, "opened", None)
            if found is not None and found[0] == file:
                return found[1]
            connection = _connect(self._path, "ro")
            try:
                fits = self._fits(connection)
                connection.execute("PRAGMA cache_size = -32768")  # KiB
            except sqlite3.Error:
                connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise self._unreadable(error) from error
        if not fits:
            connection.close()
            raise ViewUnreadable(
                f"the view in {str(self._path)!r} is of another layout, and not made anew yet"
            )
        self._local.opened = (file, connection)
        with self._readings_lock:
            for gone in [one for one in self._readings if not one[0].is_alive()]:
                self._readings.remove(gone)
                gone[1].close()
            self._readings.append((threading.current_thread(), connection))
        return connection

    def _unreadable(self, error: sqlite3.Error | OSError) -> ViewUnreadable:
        return ViewUnreadable(f"the view in {str(self._path)!r} can't be read: {error}")


class _Batch:
    """An open write transaction."""

    def __init__(
        self, connection: sqlite3.Connection, layout: Layout, tables: dict[str, _Statements]
    ) -> None:
        self._execute = connection.execute
        self._connection = connection
        self._layout = layout
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        return _get(self._connection, self._tables.get(table), table, key)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        statements = self._tables.get(table)
        if statements is None:
            self._execute("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", (table, key, value))
            return
        self._execute(statements.put, (offset_of(key), *row_of(value)))

    def delete(self, table: str, key: bytes) -> None:
        statements = self._tables.get(table)
        if statements is None:
            self._execute("DELETE FROM pairs WHERE name = ? AND key = ?", (table, key))
        else:
            raise Fault(f"a row of {table!r} is never deleted alone: what triggers counted would stay")

    def clear(self, table: str) -> None:
        statements = self._tables.get(table)
        if statements is None:
            self._execute("DELETE FROM pairs WHERE name = ?", (table,))
            return
        self._execute(statements.clear)
        for statement in self._layout.derived:
            self._execute(statement)


class _Statements:
    """The SQL of one tabular table; its names come from the layout, never from outside."""

    def __init__(self, table: Table) -> None:
        columns = ", ".join(table.columns)
        places = ", ".join("?" for _ in table.columns)
        kept = ", ".join(f"{name} = coalesce(excluded.{name}, {name})" for name in table.columns)
        self.put = (
            f"INSERT INTO {table.name} (offset, {columns}) VALUES (?, {places}) "  # noqa: S608
            f"ON CONFLICT (offset) DO UPDATE SET {kept}"
        )
        self.get = f"SELECT {columns} FROM {table.name} WHERE offset = ?"  # noqa: S608
        self.clear = f"DELETE FROM {table.name}"  # noqa: S608
        self._scan = f"SELECT offset, {columns} FROM {table.name} WHERE offset > ? ORDER BY offset LIMIT ?"  # noqa: S608

    def scan(
        self, connection: sqlite3.Connection, prefix: bytes, after: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        if len(prefix) > OFFSET_OCTETS:
            return []
        first = offset_of(prefix.ljust(OFFSET_OCTETS, b"\0")) - 1
        if after is not None:
            first = max(first, offset_of(after[:OFFSET_OCTETS].ljust(OFFSET_OCTETS, b"\0")))
        rows = connection.execute(self._scan, (min(first, (1 << 63) - 1), limit))
        found = [(offset_key(offset), encode_row(row)) for offset, *row in rows]
        return [pair for pair in found if pair[0].startswith(prefix)]


def _get(
    connection: sqlite3.Connection, statements: _Statements | None, table: str, key: bytes
) -> bytes | None:
    try:
        if statements is None:
            row = connection.execute(
                "SELECT value FROM pairs WHERE name = ? AND key = ?", (table, key)
            ).fetchone()
            return None if row is None else bytes(row[0])
        row = connection.execute(statements.get, (offset_of(key),)).fetchone()
        return None if row is None else encode_row(list(row))
    except sqlite3.Error as error:
        raise ViewUnreadable(f"the view can't be read: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
