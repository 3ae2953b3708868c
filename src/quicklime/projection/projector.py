"""Apply the log to a store: records in order, each exactly once, views beside the lives that they show."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from quicklime import codec, lifecycle
from quicklime.codec import Undecodable
from quicklime.events import EVENTS, CertificatePlanned, CertificatePlannedV2, Event, RevocationSecretAdded
from quicklime.log import READ_RECORDS_MAX, LogUnreadable, Reader, Record
from quicklime.projection.state import LIFECYCLE, Folding
from quicklime.projection.store import Batch, Losable, Store, pairs

META = "meta"
REPLAY_PAGES = 50
OTHERS_SECONDS_MAX = 5.0
AT_ONCE_RECORDS_MAX = 200  # a few milliseconds of an event loop

_PLANS = frozenset({CertificatePlanned, CertificatePlannedV2})

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One table of a service: its name, the version of its layout, and the pure function that fills it.

    ``project(offset, event, changes)`` yields (key, value) to put and (key, None) to delete. A view that is of certificates
    names the other facts that it tells of (``events``; without it, all): about facts that change no certificate, plans that
    change nothing but themselves, and further secrets of a certificate, it is asked for those alone.
    """

    name: str
    version: int
    project: Callable[[int, Event, lifecycle.Changes], Iterable[tuple[bytes, bytes | None]]]
    events: frozenset[type[Event]] | None = None


def layout_of(views: Sequence[View]) -> str:
    """Tables, versions and rules by name: what two stores must have in common to hold the same."""
    versions = [f"{LIFECYCLE}.{lifecycle.RULES_VERSION}", *(f"{view.name}.{view.version}" for view in views)]
    return " ".join(versions)


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """How far a store has come. ``layout`` names tables, versions and rules; ``origin`` is the hash of record 0."""

    offset: int
    layout: str
    origin: bytes


_decode_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


@dataclass(frozen=True, slots=True)
class Applied:
    """What one advance did: the changes of record ``first`` and of those that follow it. Its length: how many records."""

    first: int
    changes: Sequence[lifecycle.Changes]
    anew: bool = False
    """Whether the store had come further before: it was emptied, or is an older copy of itself."""

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def checkpoint(self) -> int:
        """The offset of the first record that was not applied."""
        return self.first + len(self.changes)


class Projector:
    """Applies the log to one store. Several processes may run one over the same store: each record still counts once."""

    def __init__(self, reader: Reader, store: Store, views: Sequence[View]) -> None:
        self._reader = reader
        self._store = store
        self._views = tuple(views)
        self._views_of = {
            kind: tuple(view for view in views if view.events is None or kind in view.events)
            for kind in EVENTS
        }
        self._layout = layout_of(views)
        self._checked_origin = False
        self._seen = 0
        self._whole_at = 0
        # what the last batch left, for the next one to go on with, and the checkpoint at which that holds
        self._lives: tuple[int, Folding] | None = None

    @property
    def store(self) -> Store:
        return self._store

    @property
    def tables(self) -> tuple[str, ...]:
        return (LIFECYCLE, *(view.name for view in self._views))

    def checkpoint(self) -> int:
        """The offset of the first record that the store has not seen."""
        found = checkpoint_in(self._store.get)
        return 0 if found is None or found.layout != self._layout else found.offset

    def advance(self, limit: int = READ_RECORDS_MAX, *, until: int | None = None) -> Applied:
        """Apply the next records, at most ``limit`` of them and none at or beyond ``until``.

        Raises Undecodable (the store stays at the record before), LogUnreadable.
        """
        with self._store.write() as batch:
            return self._advance(batch, limit, until)

    def advance_at_once(self) -> Applied | None:
        """As ``advance``; None where the store would let us wait. For an event loop."""
        with self._store.write_at_once() as batch:
            return None if batch is None else self._advance(batch, AT_ONCE_RECORDS_MAX, None)

    def _advance(self, batch: Batch, limit: int, until: int | None) -> Applied:
        found = self._valid_checkpoint(batch)
        start = found.offset
        # the store's turn is ours, so nobody else's progress can look like a step back
        anew = start < self._seen
        self._whole_at = max(self._whole_at, self._seen)
        self._advanced_to(start)
        if until is not None:
            limit = min(limit, until - start)
        records = self._reader.read(start, limit) if limit > 0 else ()
        changes: list[lifecycle.Changes] = []
        if not records:
            return Applied(start, changes, anew)
        lives = self._lives_at(start, batch)
        try:
            for record in records:
                changes.append(self._apply(batch, lives, record))  # noqa: PERF401  what precedes a fault stays
        except Undecodable:
            # a poison record stops the projector where it stands, in the open; all before it counts
            if not changes:
                raise
        lives.flush()
        applied = Applied(start, changes, anew)
        self._advanced_to(applied.checkpoint)
        self._lives = applied.checkpoint, lives
        batch.put(META, b"checkpoint", _encode(msgspec.structs.replace(found, offset=applied.checkpoint)))
        return applied

    def _advanced_to(self, checkpoint: int) -> None:
        self._seen = checkpoint
        if isinstance(self._store, Losable):
            self._store.withhold(checkpoint < self._whole_at)

    def _lives_at(self, offset: int, batch: Batch) -> Folding:
        """The lives as of ``offset``: those at hand, unless another process has been here, or the last batch was undone."""
        if self._lives is not None and self._lives[0] == offset:
            lives = self._lives[1]
            lives.go_on(batch)
        else:
            lives = Folding(batch)
        self._lives = None
        return lives

    def _apply(self, batch: Batch, lives: Folding, record: Record) -> lifecycle.Changes:
        try:
            event = codec.decode(record.value, record.type)
        except Undecodable as error:
            raise Undecodable(f"record {record.offset}: {error}") from error
        changes = lifecycle.evolve(lives, record.offset, event)
        lives.keep(changes)
        kind, certificates = type(event), changes.certificates
        # most records
        is_bare = (
            not certificates or (kind in _PLANS and len(certificates) == 1) or kind is RevocationSecretAdded
        )
        for view in self._views_of[kind] if is_bare else self._views:
            name = view.name
            for key, value in view.project(record.offset, event, changes):
                if value is None:
                    batch.delete(name, key)
                else:
                    batch.put(name, key, value)
        return changes

    def _valid_checkpoint(self, batch: Batch) -> Checkpoint:
        """The store's checkpoint; where the store is of another layout or of another log, it is emptied first."""
        found = checkpoint_in(batch.get)
        if found is not None and self._checked_origin and found.layout == self._layout:
            return found
        first = self._reader.read(0, 1)
        origin = sha256(first[0].value).digest() if first else b""
        if (
            found is None
            or found.layout != self._layout
            or found.origin != origin
            or self._is_beyond(found.offset)
        ):
            for table in self.tables:
                batch.clear(table)
            found = Checkpoint(0, self._layout, origin)
        self._checked_origin = bool(first)
        return found

    def _is_beyond(self, checkpoint: int) -> bool:
        """Whether the store has seen more than the log holds, which has lost its end then.

        Where others fill the store too, their records may be on their way to us; what they see is not thrown away for that.
        """
        if checkpoint <= self._reader.head():
            return False
        if isinstance(self._store, Losable) and not self._reader.wait(checkpoint - 1, OTHERS_SECONDS_MAX):
            raise LogUnreadable(
                f"the views have seen {checkpoint} records, the log shows {self._reader.head()}; "
                "if it has lost its end, empty the store of the views"
            )
        return checkpoint > self._reader.head()

    def catch_up(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Apply all that stands in the log now; the checkpoint reached. ``progress(done, head)`` after each batch."""
        collecting = gc.isenabled()
        # what a replay makes has no cycles; looking for them would take a tenth of its time
        gc.disable()
        try:
            while self._replay():
                if progress is not None:
                    progress(self.checkpoint(), self._reader.head())
        finally:
            if collecting:
                gc.enable()
        return self.checkpoint()

    def _replay(self) -> int:
        """Apply the next pages in one write: the fewer writes, the more of their keys lie beside each other."""
        count = 0
        with self._store.write() as batch:
            # a store on another machine gets each write as one message
            for _ in range(1 if isinstance(self._store, Losable) else REPLAY_PAGES):
                try:
                    applied = self._advance(batch, READ_RECORDS_MAX, None)
                except Undecodable:
                    if count:
                        return count  # all before it counts; the next write meets it again
                    raise
                count += len(applied)
                if len(applied) < READ_RECORDS_MAX:
                    break
        return count

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


def checkpoint_in(get: Callable[[str, bytes], bytes | None]) -> Checkpoint | None:
    """How far the store behind ``get`` has come; None where it says nothing that this version understands."""
    data = get(META, b"checkpoint")
    if data is None:
        return None
    try:
        return _decode_checkpoint(data)
    except msgspec.MsgspecError:
        return None  # another version's: as good as none, the store is filled anew
