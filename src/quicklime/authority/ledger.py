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
        source, now = self.source, self.now()
        entries = [
            Entry(
                event.TYPE,
                codec.encode(event, event_id=self.entropy(16).hex(), source=source, time_seconds=now),
            )
            for event in events
        ]
        offset = await self._log.append(entries)
        return offset, await self._follower.reached(offset + len(entries) - 1)

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
