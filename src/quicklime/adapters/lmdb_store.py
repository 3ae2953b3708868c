"""Views on LMDB: memory-mapped, many readers in many processes, one writer at a time.

Invariant: a write is all or nothing, also when the process is killed in the middle. Writes are *not* flushed: what is kept
here is made of the log and may be lost. Unflushed pages survive the death of a process, not that of the machine; so a
marker holds the machine's boot id, and an environment that was last open under another boot, and not flushed at its end, is
emptied before anything trusts it.

All tables lie in one database, a table's name and a zero octet before each key: a table needs no handle, so none can go
stale. Not for network file systems. Open it after ``fork``, not before.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import lmdb

from quicklime.errors import BrokenState, Fault

# Address space, not disk: the file has as many pages as were written. The same for every process, so none must follow
# another's growth.
MAP_OCTETS = 256 << 30
READERS_MAX = 512
KEY_OCTETS_MAX = 511
COPY_OCTETS = 1 << 20
WAITING_KEYS_MAX = 500_000

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FLUSHED = "flushed"


class LMDBStore:
    """``projection.Store`` in the directory ``path``, which is made where it is missing.

    Raises BrokenState where the directory can't be used. An environment that is damaged, or that a crash of the machine may
    have torn, is emptied: whoever projects into it finds no checkpoint and starts anew.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._writing = threading.Lock()
        self._closed = False
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._users = _open(self._path / "users")
            self._turn = _open(self._path / "writing")
        except OSError as error:
            raise BrokenState(
                f"can't use the views in {str(self._path)!r}: {error}",
                hint=f"make {str(self._path.parent)!r} a directory that can be written, with space left",
            ) from error
        try:
            with self._alone():
                fcntl.flock(self._users, fcntl.LOCK_SH)
                self._discard_what_may_be_torn()
                self._environment = self._open()
                self._mark(_boot_id())
        except BaseException:
            os.close(self._users)
            os.close(self._turn)
            raise

    def get(self, table: str, key: bytes) -> bytes | None:
        # not by ``_reading``: this stands in the path of each request
        self._check_open()
        try:
            with self._environment.begin() as transaction:
                return _octets(transaction.get(_place(table, key)))
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def scan(
        self, table: str, *, prefix: bytes = b"", after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        with self._reading() as transaction:
            return _scan(transaction, table, prefix, after, limit)

    @contextmanager
    def write(self) -> Iterator[_Batch]:
        with self._writing:
            self._check_open()
            fcntl.flock(self._turn, fcntl.LOCK_EX)
            try:
                with self._batch() as batch:
                    yield batch
            finally:
                fcntl.flock(self._turn, fcntl.LOCK_UN)

    @contextmanager
    def write_at_once(self) -> Iterator[_Batch | None]:
        if not self._writing.acquire(blocking=False):
            yield None
            return
        try:
            # LMDB itself can only wait for another process; this lock, which every write takes, can be tried
            self._check_open()
            try:
                fcntl.flock(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            try:
                with self._batch() as batch:
                    yield batch
            finally:
                fcntl.flock(self._turn, fcntl.LOCK_UN)
        finally:
            self._writing.release()

    @contextmanager
    def _batch(self) -> Iterator[_Batch]:
        try:
            with self._environment.begin(write=True) as transaction:
                batch = _Batch(transaction)
                yield batch
                batch.flush()
        except lmdb.Error as error:
            raise Fault(f"the views in {str(self._path)!r} can't be written: {error}") from error

    def close(self) -> None:
        """Flush, so that what is here may be trusted after the machine's next start, and let go."""
        with self._writing:
            if self._closed:
                return
            self._closed = True
            # others may go on writing: only the last one out may say that all is flushed, the others find it locked
            with contextlib.suppress(lmdb.Error, OSError), self._alone():
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._environment.sync(True)
                self._mark(_FLUSHED)
            self._environment.close()
            os.close(self._users)
            os.close(self._turn)

    # --- images -----------------------------------------------------------------------------------------------------

    def write_image(self, descriptor: int) -> None:
        """A copy of everything, as it is at one moment, to an open file; others read and write on meanwhile. Raises Fault."""
        self._check_open()
        try:
            self._environment.copyfd(descriptor, compact=True)
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    @staticmethod
    def get_from_image(path: str | os.PathLike[str], table: str, key: bytes) -> bytes | None:
        """What an image in the file ``path`` holds at one key. Raises Fault where it is none that can be read here."""
        try:
            with (
                lmdb.open(str(path), subdir=False, readonly=True, lock=False, map_size=MAP_OCTETS) as image,
                image.begin() as transaction,
            ):
                return _octets(transaction.get(_place(table, key)))
        except lmdb.Error as error:
            raise Fault(f"the image {str(path)!r} can't be read: {error}") from error

    @classmethod
    def place_image(cls, path: str | os.PathLike[str], image: BinaryIO, octets: int) -> None:
        """Make the directory ``path``, which must not be there, a store that holds the image. Raises OSError."""
        folder = Path(path)
        folder.mkdir(mode=0o700)
        with (folder / "data.mdb").open("xb") as file:
            while octets and (data := image.read(min(octets, COPY_OCTETS))):
                file.write(data)
                octets -= len(data)
            file.flush()
            os.fsync(file.fileno())
        (folder / "boot").write_text(_FLUSHED, encoding="ascii")

    # --- opening ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time opens or closes."""
        descriptor = _open(self._path / "opening")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _discard_what_may_be_torn(self) -> None:
        if not (self._path / "data.mdb").exists():
            return
        try:
            mark = (self._path / "boot").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            mark = ""
        if mark not in {_FLUSHED, _boot_id()}:
            self._discard()

    def _discard(self) -> None:
        for name in ("data.mdb", "lock.mdb"):
            (self._path / name).unlink(missing_ok=True)

    def _mark(self, text: str) -> None:
        (self._path / "boot").write_text(text, encoding="ascii")

    def _open(self) -> lmdb.Environment:
        try:
            try:
                return self._open_environment()
            except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError):
                self._discard()
                return self._open_environment()
        except (lmdb.Error, OSError) as error:
            raise BrokenState(
                f"can't open the views in {str(self._path)!r}: {error}",
                hint=f"rm -r {self._path}; they are rebuilt from the log",
            ) from error

    def _open_environment(self) -> lmdb.Environment:
        return lmdb.open(
            str(self._path),
            map_size=MAP_OCTETS,
            max_readers=READERS_MAX,
            mode=0o600,
            sync=False,
            metasync=False,
            readahead=False,
            max_spare_txns=8,
        )

    # --- reading ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction]:
        self._check_open()
        try:
            with self._environment.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: lmdb.Error) -> Fault:
        return Fault(f"the views in {str(self._path)!r} can't be read: {error}")

    def _check_open(self) -> None:
        if self._closed:
            raise Fault("the store is closed")


class _Batch:
    """An open write transaction. What is put waits until the end, so that a key that is put often is written once, in order."""

    def __init__(self, transaction: lmdb.Transaction) -> None:
        self._transaction = transaction
        self._waiting: dict[bytes, bytes | None] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        place = _place(table, key)
        if place in self._waiting:
            return self._waiting[place]
        return _octets(self._transaction.get(place))

    def put(self, table: str, key: bytes, value: bytes) -> None:
        place = _place(table, key)
        if len(place) > KEY_OCTETS_MAX:
            raise Fault(f"key of {len(place)} octets with its table, expected at most {KEY_OCTETS_MAX}")
        self._waiting[place] = value
        if len(self._waiting) > WAITING_KEYS_MAX:
            self.flush()

    def delete(self, table: str, key: bytes) -> None:
        self._waiting[_place(table, key)] = None

    def clear(self, table: str) -> None:
        self.flush()
        start = _place(table, b"")
        with self._transaction.cursor() as cursor:
            found = cursor.set_range(start)
            while found and bytes(cursor.key()).startswith(start):
                found = cursor.delete()

    def flush(self) -> None:
        """Write what waits, in the order of the keys: neighbours share pages."""
        waiting, self._waiting = sorted(self._waiting.items()), {}
        put = [(place, value) for place, value in waiting if value is not None]
        with self._transaction.cursor() as cursor:
            cursor.putmulti(put)
            for place, value in waiting:
                if value is None and cursor.set_key(place):
                    cursor.delete()


def _open(path: Path) -> int:
    """A file that exists to be locked."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@functools.lru_cache(maxsize=64)
def _prefix(table: str) -> bytes:
    return table.encode() + b"\0"


def _place(table: str, key: bytes) -> bytes:
    return _prefix(table) + key


def _octets(found: bytes | memoryview | None) -> bytes | None:
    """Without ``buffers=True`` LMDB hands out bytes; only its types say otherwise."""
    return None if found is None else bytes(found)


def _scan(
    transaction: lmdb.Transaction, table: str, prefix: bytes, after: bytes | None, limit: int
) -> list[tuple[bytes, bytes]]:
    first = _place(table, prefix)
    strip = len(table.encode()) + 1
    last = None if after is None else _place(table, after)
    pairs: list[tuple[bytes, bytes]] = []
    with transaction.cursor() as cursor:
        found = cursor.set_range(first if last is None else max(first, last))
        if found and cursor.key() == last:
            found = cursor.next()
        if found:
            found_pairs = cast("Iterator[tuple[bytes, bytes]]", cursor.iternext())
            for key, value in islice(found_pairs, limit):
                if not key.startswith(first):
                    break
                pairs.append((key[strip:], value))
    return pairs


def _boot_id() -> str:
    """What changes each time the machine starts; where the system does not say, nothing is trusted across processes."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"unknown-{os.getpid()}"
