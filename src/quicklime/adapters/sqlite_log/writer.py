"""The one thread of a process that writes the embedded log: group commit, honest failure, and the write-ahead log kept small."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from quicklime.adapters.sqlite_log.file import AMONG_NEWEST, FORMAT, HEAD, INSERT, PAGE_OCTETS
from quicklime.log import AppendFailed, AppendUnknown

QUEUE_ENTRIES_MAX = 10_000
QUEUE_OCTETS_MAX = 64 << 20
GROUP_ENTRIES_MAX = 1000
GROUP_OCTETS_MAX = 8 << 20
# how long an event loop that goes on bringing appends keeps the writer asleep, so that they share a flush
GATHER_SECONDS_MAX = 0.005

STATEMENT_ROWS_MAX = 64
SETTLE_RECORDS = 1000

CHECKPOINT_OCTETS = 16 << 20  # of write-ahead log, about
CHECKPOINT_BUSY_SECONDS = 0.05
CLOSE_SECONDS_MAX = 30.0


class Waiting(msgspec.Struct, frozen=True, eq=False):
    """An append in the queue: rows without their offset, and who waits for it."""

    rows: tuple[tuple[str, bytes], ...]
    octets: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[int]


class Writer:
    """The one thread of this process that writes: gathers what waits, commits it, answers.

    Invariant: an append leaves the queue with exactly one answer, given after the flush of its transaction.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        committed: Callable[[int, Sequence[tuple[str, bytes]]], None],
        *,
        entries_max: int,
        octets_max: int,
    ) -> None:
        self.commits = 0
        self._connect = connect
        self._committed = committed
        self._entries_max = entries_max
        self._octets_max = octets_max
        self._queue: deque[Waiting] = deque()
        self._entries = 0
        self._octets = 0
        self._closing = False
        self._gathering: set[asyncio.AbstractEventLoop] = set()
        self._arrived = threading.Condition()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._checkpoints = _Checkpoints(connect)

    def put(self, waiting: Waiting) -> None:
        """Queue an append; called under its loop. Raises AppendFailed where the queue is full or closed."""
        with self._arrived:
            if self._closing:
                raise AppendFailed("the log is closed")
            entries, octets = self._entries + len(waiting.rows), self._octets + waiting.octets
            if entries > self._entries_max or octets > self._octets_max:
                raise AppendFailed(
                    f"{self._entries} entries of {self._octets} octets wait already, expected at most "
                    f"{self._entries_max} entries of {self._octets_max} octets"
                )
            self._entries, self._octets = entries, octets
            self._queue.append(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
                self._thread.start()
            if waiting.loop in self._gathering:
                return
            self._gathering.add(waiting.loop)
        waiting.loop.call_soon(self._gather, waiting.loop, 0, time.monotonic() + GATHER_SECONDS_MAX)

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int, until: float) -> None:
        """Wake the writer once ``loop`` has done what it has at hand: when a whole turn of it brought no append more.

        More will wait then, and nobody competes with the loop for the interpreter. A loop with one append to bring wakes it
        at its next turn; one that never rests, after ``GATHER_SECONDS_MAX``.
        """
        with self._arrived:
            entries = self._entries
            if before < entries < GROUP_ENTRIES_MAX and time.monotonic() < until:
                loop.call_soon(self._gather, loop, entries, until)
                return
            self._gathering.discard(loop)
            self._arrived.notify()

    def close(self) -> None:
        with self._arrived:
            self._closing = True
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS_MAX)
        self._checkpoints.close()

    def _run(self) -> None:
        while group := self._take():
            try:
                answer: int | Exception = self._commit([row for waiting in group for row in waiting.rows])
            except (AppendFailed, AppendUnknown) as error:
                answer = error
            except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
                self._drop_connection()
                answer = AppendUnknown(f"the log's writer failed: {type(error).__name__}: {error}")
            _answer(group, answer)
            if isinstance(answer, int):
                self._checkpoints.note(sum(waiting.octets for waiting in group))
        self._drop_connection()

    def _take(self) -> list[Waiting]:
        """What waits, at most one group of it, but at least one append; empty when closing and nothing waits."""
        with self._arrived:
            while not self._queue and not self._closing:
                self._arrived.wait()
            group: list[Waiting] = []
            entries = octets = 0
            while self._queue:
                entries += len(self._queue[0].rows)
                octets += self._queue[0].octets
                if group and (entries > GROUP_ENTRIES_MAX or octets > GROUP_OCTETS_MAX):
                    break
                waiting = self._queue.popleft()
                self._entries -= len(waiting.rows)
                self._octets -= waiting.octets
                group.append(waiting)
            return group

    def _commit(self, rows: Sequence[tuple[str, bytes]]) -> int:
        """Append ``rows`` in one transaction, flushed; the first offset. Raises AppendFailed, AppendUnknown."""
        try:
            connection = self._connection = self._connection or self._connect()
            last = _insert(connection, rows)
        except sqlite3.Error as error:
            self._drop_connection()  # closing rolls back what was not committed
            self._settle(error, rows)
            raise AppendFailed(f"nothing was appended: {error}") from error
        self.commits += 1
        first = last - len(rows) + 1
        self._committed(first, rows)
        return first

    def _settle(self, error: sqlite3.Error, rows: Sequence[tuple[str, bytes]]) -> None:
        """After a transaction that failed: return once it is certain that nothing of it stands. Raises AppendUnknown.

        Where the disk is full, the frame that commits was not written. Otherwise it may lie in the write-ahead log
        though its flush failed, unseen by readers until a recovery finds it. Another commit takes its place there.
        """
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
            return
        unknown = f"the records may stand or not: {error}"
        try:
            connection = self._connection = self._connect()
            connection.execute(f"PRAGMA user_version = {FORMAT}")  # the value it has, but a commit of its own
            # other processes may have appended since, but not many: they and we take turns
            found = connection.execute(AMONG_NEWEST, (len(rows) + SETTLE_RECORDS, *rows[0])).fetchone()
        except sqlite3.Error as second:
            self._drop_connection()
            raise AppendUnknown(unknown) from second
        if found is not None:
            raise AppendUnknown(unknown) from error

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


class _Checkpoints:
    """Moves the write-ahead log into the file, on a thread of its own so that appends go on meanwhile.

    First the bulk, passively; then, with writers kept out, the little that came since, so that the next commit starts
    the write-ahead log anew. A reader in the way only puts it off: the next round does it.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._octets = 0
        self._due = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def note(self, octets: int) -> None:
        """Say that a transaction with ``octets`` of records was committed."""
        self._octets += octets + 2 * PAGE_OCTETS  # each writes the last page, and often its parent, once more
        if self._octets < CHECKPOINT_OCTETS:
            return
        self._octets = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log checkpoints", daemon=True)
            self._thread.start()
        self._due.set()

    def close(self) -> None:
        self._closing = True
        self._due.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS_MAX)

    def _run(self) -> None:
        while self._due.wait() and not self._closing:
            self._due.clear()
            # nothing is lost when it fails: the records stand in the write-ahead log, and appends report a full disk
            with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connect()) as connection:
                connection.execute(f"PRAGMA busy_timeout = {int(CHECKPOINT_BUSY_SECONDS * 1000)}")
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[str, bytes]]) -> int:
    """Append ``rows``, all or none; the last one's offset.

    As a rule with a single statement, which is its own transaction: each statement lets go of the interpreter, and has to
    fight for it again.
    """
    if len(rows) <= STATEMENT_ROWS_MAX:
        return _insert_some(connection, rows)
    connection.execute("BEGIN IMMEDIATE")
    for start in range(0, len(rows), STATEMENT_ROWS_MAX):
        last = _insert_some(connection, rows[start : start + STATEMENT_ROWS_MAX])
    connection.execute("COMMIT")
    return last


def _insert_some(connection: sqlite3.Connection, rows: Sequence[tuple[str, bytes]]) -> int:
    last = connection.execute(_statement(len(rows)), [column for row in rows for column in row]).lastrowid
    assert last is not None
    return last


@functools.cache
def _statement(count: int) -> str:
    """Insert ``count`` records after the last: takes the type and the value of each."""
    places = ", ".join(f"({place}, ?, ?)" for place in range(count))
    return f"{INSERT} SELECT ({HEAD}) + column1, column2, column3 FROM (VALUES {places})"  # noqa: S608  numbers


def _answer(group: Sequence[Waiting], answer: int | Exception) -> None:
    """Give everyone in ``group`` its first offset, or the error; each event loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int | Exception]]] = {}
    offset = answer if isinstance(answer, int) else 0
    for waiting in group:
        own = offset if isinstance(answer, int) else answer
        by_loop.setdefault(waiting.loop, []).append((waiting.future, own))
        offset += len(waiting.rows)
    for loop, answers in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits there any more
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[asyncio.Future[int], int | Exception]]) -> None:
    for future, answer in answers:
        if future.done():  # cancelled: the records stand all the same
            continue
        if isinstance(answer, int):
            future.set_result(answer)
        else:
            future.set_exception(
                type(answer)(str(answer))
            )  # an exception of its own: each gets its own traceback
