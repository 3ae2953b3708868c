"""The protocol stream's lives: folded from its log into a store of its own, by whoever needs them.

Invariant: as for every view, data and checkpoint are one atomic write. Several processes may fold into one store; each record
counts once. There is no thread: who reads catches up first (``catch_up``), so that any replica can answer any request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from hashlib import sha256

import msgspec

from quicklime import codec
from quicklime.lifecycle import order
from quicklime.lifecycle.order import Authorization, Changes, Order
from quicklime.log import READ_RECORDS_MAX, Reader
from quicklime.projection.store import Batch, Store
from quicklime.protocol import ProtocolEvent

ORDERS = "orders"
INDEX = "orders-index"
META = "orders-meta"
AT_ONCE_RECORDS_MAX = 200

Project = Callable[[ProtocolEvent, Changes], Iterable[tuple[bytes, bytes | None]]]

_encode = msgspec.msgpack.Encoder().encode
_decode_order = msgspec.msgpack.Decoder(Order).decode
_decode_authorization = msgspec.msgpack.Decoder(Authorization).decode
_decode_checkpoint = msgspec.msgpack.Decoder(tuple[int, str, bytes]).decode


class Orders:
    """Every order and authorization as a store has them (``lifecycle.order.Book``)."""

    def __init__(self, get: Callable[[str, bytes], bytes | None]) -> None:
        self._get = get

    def order(self, order: str) -> Order | None:
        data = self._get(ORDERS, b"o" + order.encode())
        return None if data is None else _decode_order(data)

    def authorization(self, authorization: str) -> Authorization | None:
        data = self._get(ORDERS, b"a" + authorization.encode())
        return None if data is None else _decode_authorization(data)


class Stream:
    """One protocol log and the store it is folded into; ``project`` fills the index that the service reads."""

    def __init__(self, reader: Reader, store: Store, project: Project, version: int) -> None:
        self._reader = reader
        self._project = project
        self._layout = f"{order.RULES_VERSION}.{version}"
        self.store = store
        self.orders = Orders(store.get)

    def checkpoint(self) -> int:
        """The offset of the first record that the store has not seen."""
        data = self.store.get(META, b"checkpoint")
        found = None if data is None else _decode_checkpoint(data)
        return 0 if found is None or found[1] != self._layout else found[0]

    async def catch_up(self) -> None:
        """Fold what the log holds by now. Raises LogUnreadable, Undecodable."""
        await self.reached(self._reader.head() - 1)

    async def reached(self, offset: int) -> dict[int, Changes]:
        """Fold until the record at ``offset`` is in the store; the changes of the records that were folded here."""
        folded: dict[int, Changes] = {}
        while self.checkpoint() <= offset:
            with self.store.write_at_once() as batch:
                found = None if batch is None else self._advance(batch, AT_ONCE_RECORDS_MAX)
            if found is None:
                found = await asyncio.to_thread(self.advance)
            folded.update(found)
        return folded

    def advance(self, limit: int = READ_RECORDS_MAX) -> dict[int, Changes]:
        """Fold the next records, at most ``limit``. Raises LogUnreadable, Undecodable."""
        with self.store.write() as batch:
            return self._advance(batch, limit)

    def _advance(self, batch: Batch, limit: int) -> dict[int, Changes]:
        start, origin = self._start(batch)
        folded: dict[int, Changes] = {}
        orders = Orders(batch.get)
        for record in self._reader.read(start, limit):
            event = codec.decode_protocol(record.value)
            changes = order.evolve(orders, event)
            for name, one in changes.orders.items():
                batch.put(ORDERS, b"o" + name.encode(), _encode(one))
            for name, other in changes.authorizations.items():
                batch.put(ORDERS, b"a" + name.encode(), _encode(other))
            for key, value in self._project(event, changes):
                if value is None:
                    batch.delete(INDEX, key)
                else:
                    batch.put(INDEX, key, value)
            folded[record.offset] = changes
        batch.put(META, b"checkpoint", _encode((start + len(folded), self._layout, origin)))
        return folded

    def _start(self, batch: Batch) -> tuple[int, bytes]:
        """Where to go on; a store of another layout or another log is emptied first."""
        data = batch.get(META, b"checkpoint")
        found = None if data is None else _decode_checkpoint(data)
        first = self._reader.read(0, 1)
        origin = sha256(first[0].value).digest() if first else b""
        ours = found is not None and found[1] == self._layout and found[2] in {origin, b""}
        if ours and found is not None and found[0] <= self._reader.head():
            return found[0], origin
        for table in (ORDERS, INDEX):
            batch.clear(table)
        return 0, origin
