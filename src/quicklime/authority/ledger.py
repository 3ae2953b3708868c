"""Append, and wait until our own reading of the log has passed what we appended.

Invariant: ``record`` returns only when the facts are durable *and* the state shows what they made of it, so whoever
decides next, in this process, decides with them. A crash inside: the facts stand or not; the next reader sees which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quicklime import codec
from quicklime.errors import Fault
from quicklime.events import CertificateIssued, CertificatePlanned, Event
from quicklime.lifecycle import Changes
from quicklime.lifecycle.certificate import Certificate
from quicklime.lifecycle.issuer import Authority
from quicklime.log import Entry, Log, Record
from quicklime.projection import Follower, State, Store
from quicklime.projection.stream import Orders, Stream
from quicklime.protocol import ProtocolEvent

Clock = Callable[[], int]
"""The present, in UNIX seconds."""

Entropy = Callable[[int], bytes]
"""That many octets from a cryptographically secure source."""


class Ledger:
    """The log as a writer sees it: its state, its clock, its randomness."""

    def __init__(
        self,
        *,
        log: Log,
        store: Store,
        follower: Follower,
        clock: Clock,
        entropy: Entropy,
        authority: str | None = None,
    ) -> None:
        self._log = log
        self._follower = follower
        self._authority = authority
        self.store = store
        self.state = State(store.get)
        self.now = clock
        self.entropy = entropy

    @property
    def source(self) -> str:
        """The UUID of the authority whose log this is. Raises Fault before the founding."""
        if self._authority is None:
            found = self.state.authority()
            if found is None:
                raise Fault("the authority was not founded")
            self._authority = found.authority
        return self._authority

    def found(self, authority: str) -> None:
        """From now on write as ``authority`` (a UUID); only the founding itself needs to say so."""
        self._authority = authority

    async def record(self, *events: Event) -> int:
        """Append ``events`` next to each other, durably, and wait until the state has them; the first one's offset.

        Raises AppendFailed (nothing stands), AppendUnknown (only reading tells).
        """
        return (await self._record(events))[0]

    async def record_about(
        self, event: CertificatePlanned | CertificateIssued
    ) -> tuple[int, Certificate | None]:
        """As ``record``; also the certificate that ``event`` is about, as the log's verdict over ``event`` left it."""
        offset, changes = await self._record((event,))
        found = None if changes is None else changes.certificates.get(event.serial)
        return offset, found or self.state.certificate(event.serial)

    async def _record(self, events: Sequence[Event]) -> tuple[int, Changes | None]:
        offset = await _append(self._log, events, self.source, self.now(), self.entropy)
        return offset, await self._follower.reached(offset + len(events) - 1)

    async def catch_up(self) -> None:
        """See everything that any process has recorded by now. Raises LogUnreadable."""
        head = self._log.head()
        if self._follower.checkpoint < head:
            await self._follower.reached(head - 1)

    def read(self, offset: int) -> Event:
        """The event at ``offset``. Raises Fault where there is none."""
        found: list[Record] = list(self._log.read(offset, 1))
        if not found:
            raise Fault(f"the log has no record {offset}")
        return codec.decode(found[0].value)

    @property
    def authority(self) -> Authority | None:
        """The authority as the state has it, at hand without a look into the store."""
        return self._follower.authority

    @property
    def checkpoint(self) -> int:
        """How far the state has come: the offset of the first record that it has not seen."""
        return self._follower.checkpoint


class ProtocolLedger:
    """The protocol stream as a writer sees it. The source of its records is the ledger's authority."""

    def __init__(self, ledger: Ledger, log: Log, stream: Stream) -> None:
        self._ledger = ledger
        self._log = log
        self._stream = stream
        self.now = ledger.now
        self.entropy = ledger.entropy

    @property
    def orders(self) -> Orders:
        return self._stream.orders

    @property
    def store(self) -> Store:
        return self._stream.store

    async def catch_up(self) -> None:
        """See everything that any replica has recorded by now, here and in the ledger. Raises LogUnreadable."""
        await self._ledger.catch_up()
        await self._stream.catch_up()

    async def record(self, *events: ProtocolEvent) -> None:
        """Append ``events`` next to each other, durably, and wait until the lives have them.

        Raises AppendFailed (nothing stands), AppendUnknown (only reading tells).
        """
        offset = await _append(self._log, events, self._ledger.source, self.now(), self.entropy)
        await self._stream.reached(offset + len(events) - 1)


async def _append(
    log: Log, events: Sequence[Event | ProtocolEvent], source: str, now: int, entropy: Entropy
) -> int:
    entries = [
        Entry(event.TYPE, codec.encode(event, event_id=entropy(16).hex(), source=source, time_seconds=now))
        for event in events
    ]
    return await log.append(entries)
