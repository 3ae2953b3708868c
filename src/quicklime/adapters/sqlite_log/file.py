"""The file of the embedded log: its schema, how it is opened, and how one tells that it is a log of ours and whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

from quicklime.errors import BrokenState

FORMAT = 1
APPLICATION_ID = 0x514C4F47  # "QLOG"
PAGE_OCTETS = 4096

BUSY_SECONDS = 10.0

# The last trigger keeps the order gapless also against a hand with a SQLite shell; `OR REPLACE` is refused by it too.
SCHEMA = f"""
PRAGMA page_size = {PAGE_OCTETS};
PRAGMA auto_vacuum = NONE;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
CREATE TABLE records (
    offset INTEGER PRIMARY KEY,
    type TEXT NOT NULL CHECK (typeof(type) = 'text'),
    value BLOB NOT NULL CHECK (typeof(value) = 'blob')
);
CREATE TRIGGER records_never_change BEFORE UPDATE ON records
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER records_never_go BEFORE DELETE ON records
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER records_have_no_gap BEFORE INSERT ON records
WHEN NEW.offset IS NOT (SELECT ifnull(max(offset), -1) + 1 FROM records)
BEGIN SELECT RAISE(ABORT, 'the log has no gaps'); END;
"""  # noqa: S608

HEAD = "SELECT ifnull(max(offset), -1) + 1 FROM records"
ONE = "SELECT offset, type, value FROM records WHERE offset = ?"
MANY = "SELECT offset, type, value FROM records WHERE offset >= ? ORDER BY offset LIMIT ?"
INSERT = "INSERT INTO records (offset, type, value)"
AMONG_NEWEST = f"SELECT 1 FROM records WHERE offset >= ({HEAD}) - ? AND type = ? AND value = ?"  # noqa: S608  a constant


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(
            "PRAGMA cache_size = -16384"
        )  # KiB: a group fits, so it is written once, at its commit
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def create(path: Path) -> None:
    """Make an empty log at ``path``, whole or not at all. Raises BrokenState where something is there."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        os.close(descriptor)
        with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as connection:
            connection.executescript(SCHEMA)
            connection.execute("PRAGMA journal_mode = WAL")
        flush(Path(name))
        try:
            # unlike a rename, a link never takes the place of what is there
            os.link(name, path)
        finally:
            Path(name).unlink()
        flush(path.parent)
    except FileExistsError as error:
        raise BrokenState(
            f"{str(path)!r} is there already", hint="use it as it is, or name another place"
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise BrokenState(
            f"can't make the log {str(path)!r}: {error}",
            hint=f"make {str(path.parent)!r} writable, with space left",
        ) from error


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check(path: Path) -> None:
    """Is it a log of ours, and do its ends hold? Cheap; ``SQLiteLog.check`` reads it all. Raises BrokenState."""
    if not path.is_file():
        raise BrokenState(
            f"no log at {str(path)!r}", hint="`quicklime init` makes one; or name the right directory"
        )
    try:
        with contextlib.closing(connect(path)) as connection:
            application_id = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if application_id == APPLICATION_ID and version == FORMAT:
                head = connection.execute(HEAD).fetchone()[0]
                ends = (
                    [connection.execute(ONE, (offset,)).fetchone() for offset in (0, head - 1)]
                    if head
                    else []
                )
    except sqlite3.OperationalError as error:
        raise BrokenState(
            f"can't open the log {str(path)!r}: {error}",
            hint="make the file and its directory readable and writable",
        ) from error
    except sqlite3.Error as error:
        raise damaged(path, str(error)) from error
    if application_id != APPLICATION_ID:
        raise BrokenState(
            f"{str(path)!r} is not a log: application id {application_id:#x}, expected {APPLICATION_ID:#x}",
            hint="name the right directory; a file of another program is never touched",
        )
    if version != FORMAT:
        raise BrokenState(
            f"the log {str(path)!r} has format {version}, expected {FORMAT}",
            hint="use the release that made it",
        )
    if mode != "wal" or None in ends:
        raise damaged(
            path, "its first or last record is missing" if mode == "wal" else f"journal mode {mode!r}"
        )


def damaged(path: Path, why: str) -> BrokenState:
    return BrokenState(
        f"the log {str(path)!r} is damaged: {why}",
        hint=f"move {path.name} and {path.name}-wal aside, as they are, and bring the backup's in their place",
    )
