"""Follow the log, fold it, write views; the checkpoint is stored together with the data.

Invariant: a table holds exactly what the records before its checkpoint make of it, because puts and checkpoint are one
atomic write. However often the process dies, each event counts once. A crash here loses nothing: the log has it all.

Live and replay are the same code: ``Projector.advance``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import msgspec

from quicklime import codec, lifecycle
from quicklime.codec import Undecodable
from quicklime.errors import Fault
from quicklime.events import Event
from quicklime.lifecycle.certificate import Certificate
from quicklime.lifecycle.issuer import Authority
from quicklime.lifecycle.token import Token
from quicklime.log import READ_RECORDS_MAX, LogUnreadable, Reader, Record

LIFECYCLE = "lifecycle"
META = "meta"

WAIT_SECONDS = 0.5
STOP_SECONDS_MAX = 10.0
REACH_SECONDS_MAX = 30.0

_encode = msgspec.msgpack.Encoder().encode
_decode_certificate = msgspec.msgpack.Decoder(Certificate).decode
_decode_token = msgspec.msgpack.Decoder(Token).decode
_decode_authority = msgspec.msgpack.Decoder(Authority).decode


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


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One table of a service: its name, the version of its layout, and the pure function that fills it.

    ``project(offset, event, changes)`` yields (key, value) to put and (key, None) to delete.
    """

    name: str
    version: int
    project: Callable[[int, Event, lifecycle.Changes], Iterable[tuple[bytes, bytes | None]]]


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """How far a store has come. ``layout`` names tables, versions and rules; ``origin`` is the hash of record 0."""

    offset: int
    layout: str
    origin: bytes


_decode_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


class State:
    """Every life as the store has it: what decisions are made on. Also the fold's view of the past (``lifecycle.Lives``)."""

    def __init__(self, get: Callable[[str, bytes], bytes | None]) -> None:
        self._get = get
        self._authority: tuple[bytes, Authority] | None = None

    def certificate(self, serial: str) -> Certificate | None:
        data = self._get(LIFECYCLE, _certificate_key(serial))
        return None if data is None else _decode_certificate(data)

    def claim(self, idempotency_sha256: bytes) -> str | None:
        data = self._get(LIFECYCLE, b"i" + idempotency_sha256)
        return None if data is None else data.hex()

    def is_compromised(self, spki_sha256: bytes) -> bool:
        return self._get(LIFECYCLE, b"x" + spki_sha256) is not None

    def token(self, token: str) -> Token | None:
        data = self._get(LIFECYCLE, b"t" + token.encode())
        return None if data is None else _decode_token(data)

    def token_by_hash(self, token_sha256: bytes) -> Token | None:
        """The token whose secret has this SHA-256."""
        data = self._get(LIFECYCLE, b"h" + token_sha256)
        return None if data is None else self.token(data.decode())

    def planned_with_token(self, serial: str) -> str | None:
        plan = self.certificate(serial)
        if plan is None or plan.status != "planned" or plan.requester.kind != "token":
            return None
        return plan.requester.id

    def authority(self) -> Authority | None:
        data = self._get(LIFECYCLE, b"a")
        if data is None:
            return None
        if self._authority is None or self._authority[0] != data:
            self._authority = (data, _decode_authority(data))
        return self._authority[1]


class Folding(State):
    """The state inside one batch: decoded lives are kept, because a plan is followed closely by its issuance."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.get)
        self._batch = batch
        self._certificates: dict[str, Certificate | None] = {}

    def certificate(self, serial: str) -> Certificate | None:
        if serial not in self._certificates:
            self._certificates[serial] = super().certificate(serial)
        return self._certificates[serial]

    def keep(self, changes: lifecycle.Changes) -> None:
        put, delete = self._batch.put, self._batch.delete
        for serial, certificate in changes.certificates.items():
            self._certificates[serial] = certificate
            put(LIFECYCLE, _certificate_key(serial), _encode(certificate))
            if certificate.status == "planned":
                put(LIFECYCLE, b"o" + bytes.fromhex(serial), b"")
            else:
                delete(LIFECYCLE, b"o" + bytes.fromhex(serial))
        for claim, serial_or_none in changes.claims.items():
            if serial_or_none is None:
                delete(LIFECYCLE, b"i" + claim)
            else:
                put(LIFECYCLE, b"i" + claim, bytes.fromhex(serial_or_none))
        for spki_sha256 in changes.compromised:
            put(LIFECYCLE, b"x" + spki_sha256, b"")
        for name, token in changes.tokens.items():
            put(LIFECYCLE, b"t" + name.encode(), _encode(token))
            put(LIFECYCLE, b"h" + token.token_sha256, name.encode())
        if changes.authority is not None:
            put(LIFECYCLE, b"a", _encode(changes.authority))


def open_plans(store: Store, limit: int = 1000) -> list[str]:
    """The serials of plans that are neither issued nor abandoned."""
    return [key[1:].hex() for key, _ in store.scan(LIFECYCLE, prefix=b"o", limit=limit)]


def tokens(store: Store, *, after: str | None = None, limit: int = 1000) -> list[Token]:
    """Every token, by id."""
    start = None if after is None else b"t" + after.encode()
    return [_decode_token(value) for _, value in store.scan(LIFECYCLE, prefix=b"t", after=start, limit=limit)]


class Projector:
    """Applies the log to one store. Several processes may run one over the same store: each record still counts once."""

    def __init__(self, reader: Reader, store: Store, views: Sequence[View]) -> None:
        self._reader = reader
        self._store = store
        self._views = tuple(views)
        versions = [
            f"{LIFECYCLE}.{lifecycle.RULES_VERSION}",
            *(f"{view.name}.{view.version}" for view in views),
        ]
        self._layout = " ".join(versions)
        self._checked_origin = False

    @property
    def tables(self) -> tuple[str, ...]:
        return (LIFECYCLE, *(view.name for view in self._views))

    def checkpoint(self) -> int:
        """The offset of the first record that the store has not seen."""
        found = _checkpoint_in(self._store.get)
        return 0 if found is None or found.layout != self._layout else found.offset

    def advance(self, limit: int = READ_RECORDS_MAX, *, until: int | None = None) -> int:
        """Apply the next records, at most ``limit`` of them and none at or beyond ``until``; says how many.

        Raises Undecodable (the store stays at the record before), LogUnreadable.
        """
        with self._store.write() as batch:
            found = self._valid_checkpoint(batch)
            start = found.offset
            if until is not None:
                limit = min(limit, until - start)
            records = self._reader.read(start, limit) if limit > 0 else ()
            if not records:
                return 0
            lives = Folding(batch)
            applied = 0
            try:
                for record in records:
                    self._apply(batch, lives, record)
                    applied += 1
            except Undecodable:
                # a poison record stops the projector where it stands, in the open; all before it counts
                if applied == 0:
                    raise
            batch.put(META, b"checkpoint", _encode(msgspec.structs.replace(found, offset=start + applied)))
            return applied

    def _apply(self, batch: Batch, lives: Folding, record: Record) -> None:
        try:
            event = codec.decode(record.value)
        except Undecodable as error:
            raise Undecodable(f"record {record.offset}: {error}") from error
        changes = lifecycle.evolve(lives, record.offset, event)
        lives.keep(changes)
        for view in self._views:
            name = view.name
            for key, value in view.project(record.offset, event, changes):
                if value is None:
                    batch.delete(name, key)
                else:
                    batch.put(name, key, value)

    def _valid_checkpoint(self, batch: Batch) -> Checkpoint:
        """The store's checkpoint; where the store is of another layout or of another log, it is emptied first."""
        found = _checkpoint_in(batch.get)
        if found is not None and self._checked_origin and found.layout == self._layout:
            return found
        first = self._reader.read(0, 1)
        origin = sha256(first[0].value).digest() if first else b""
        head = self._reader.head()
        if found is None or found.layout != self._layout or found.origin != origin or found.offset > head:
            for table in self.tables:
                batch.clear(table)
            found = Checkpoint(0, self._layout, origin)
        self._checked_origin = bool(first)
        return found

    def catch_up(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Apply all that stands in the log now; the checkpoint reached. ``progress(done, head)`` after each batch."""
        while self.advance():
            if progress is not None:
                progress(self.checkpoint(), self._reader.head())
        return self.checkpoint()

    def rebuild(self, name: str, scratch: Store) -> int:
        """Make the table ``name`` anew from record 0, in ``scratch``, then put it in place in one atomic write.

        Readers see the old table or the new one. Returns the number of records read.
        """
        views = [view for view in self._views if view.name == name]
        replay = Projector(self._reader, scratch, views)
        while replay.advance(until=self.checkpoint()):
            pass
        with self._store.write() as batch:
            until = self._valid_checkpoint(batch).offset
            while replay.advance(until=until):
                pass
            batch.clear(name)
            for key, value in pairs(scratch, name):
                batch.put(name, key, value)
        return until


class Follower:
    """Runs a projector on a thread of its own and wakes whoever waits for an offset.

    ``stalled`` says why the thread stopped (a poison record, an unreadable store): readiness and waiters see it.
    """

    def __init__(self, reader: Reader, projector: Projector) -> None:
        self._reader = reader
        self._projector = projector
        self._reached = projector.checkpoint()
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self.stalled: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=STOP_SECONDS_MAX)

    @property
    def checkpoint(self) -> int:
        return self._reached

    def lag(self) -> int:
        """How many records the view is behind the log. Raises LogUnreadable."""
        return max(0, self._reader.head() - self._reached)

    async def reached(self, offset: int) -> None:
        """Return once the record at ``offset`` is in the view. Raises Fault where the projector has stopped."""
        if self._reached > offset:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._reached > offset:
                return
            if self.stalled is not None:
                raise Fault(f"the projector stopped: {self.stalled}")
            self._waiters.append((offset, loop, future))
        try:
            await asyncio.wait_for(future, REACH_SECONDS_MAX)
        except TimeoutError as error:
            raise Fault(f"the view did not reach offset {offset} in {REACH_SECONDS_MAX} s") from error

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                applied = self._projector.advance()
                # asked of the store, not counted: another process may project into it too
                self._wake(self._projector.checkpoint())
                if not applied:
                    self._reader.wait(self._reached, WAIT_SECONDS)
            except LogUnreadable:
                self._stop.wait(WAIT_SECONDS)  # the log may come back; readiness shows the lag meanwhile
            except Exception as error:  # noqa: BLE001  whatever it is, it must be seen, not end in a dead thread
                self._fail(f"{type(error).__name__}: {error}")
                return

    def _wake(self, reached: int) -> None:
        with self._lock:
            self._reached = max(reached, self._reached)
            ready = [waiter for waiter in self._waiters if waiter[0] < self._reached]
            if not ready:
                return
            self._waiters = [waiter for waiter in self._waiters if waiter[0] >= self._reached]
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for _, loop, future in ready:
            by_loop.setdefault(loop, []).append(future)
        for loop, futures in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits there any more
                loop.call_soon_threadsafe(_resolve, futures)

    def _fail(self, why: str) -> None:
        with self._lock:
            self.stalled = why
            waiters, self._waiters = self._waiters, []
        for _, loop, future in waiters:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_reject, future, why)


def _resolve(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _reject(future: asyncio.Future[None], why: str) -> None:
    if not future.done():
        future.set_exception(Fault(f"the projector stopped: {why}"))


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


def _certificate_key(serial: str) -> bytes:
    return b"c" + bytes.fromhex(serial)


def _checkpoint_in(get: Callable[[str, bytes], bytes | None]) -> Checkpoint | None:
    data = get(META, b"checkpoint")
    if data is None:
        return None
    try:
        return _decode_checkpoint(data)
    except msgspec.MsgspecError:
        return None  # another version's: as good as none, the store is filled anew
