"""Publish CRLs: number, sign, record. The list's bytes are made of a view's entries, so the log holds only the signature.

What a crash at each step means: before the record, nothing was published (a file may lie there that nobody points to); after
it, the list is the one that counts, and its bytes were kept before, or are made again from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from quicklime.authority.issuers import Issuers
from quicklime.authority.ledger import Ledger
from quicklime.errors import Fault
from quicklime.events import CRLPublishedV2
from quicklime.pki.crl import Head
from quicklime.pki.shards import Scope

P = ParamSpec("P")
T = TypeVar("T")

NUMBERS_PER_SECOND = 1000
# what is signed at once, on the event loop; hashing this much takes less than a tenth of a millisecond
SIGNED_AT_ONCE_OCTETS_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which list is to be made. The fields are those of ``events.CRLPublishedV2``; ``base`` makes it a delta list."""

    scope: Scope
    validity_seconds: int
    scheduled: bool
    base: int | None = None
    base_covers: int = 0
    expired_before: int = 0
    expired_covers: int = 0
    distribution_points: tuple[str, ...] = ()
    freshest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A CRL about to be signed. Its entries are those of the records before offset ``covers``."""

    order: Order
    head: Head
    covers: int


class Press(Protocol):
    """Where the bytes of lists are made and kept. Called on a thread: a list may have tens of megabytes."""

    def compose(self, draft: Draft) -> bytes:
        """The TBSCertList (DER) of a draft."""
        ...

    def keep(self, tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
        """Lay the list ready, whole, under its SHA-256, which is returned."""
        ...


class Aside(Protocol):
    """Runs what takes long so that the event loop need not wait for it: on a thread, as ``asyncio.to_thread`` does."""

    async def __call__(self, work: Callable[P, T], /, *arguments: P.args, **more: P.kwargs) -> T: ...


class CRLDesk:
    """Signs the lists of every issuer whose key is here."""

    def __init__(self, ledger: Ledger, issuers: Issuers, *, aside: Aside = asyncio.to_thread) -> None:
        self._ledger = ledger
        self._issuers = issuers
        self.aside = aside

    async def publish(self, order: Order, press: Press) -> CRLPublishedV2:
        """Sign, keep and record the list that ``order`` asks for.

        Of two processes that publish at once one gets the number, by the log's order; the other's record does not stand
        and is not served. Raises Fault where the key is not here or the log is away.
        """
        key = self._issuers.of(order.scope.issuer)
        draft = self._draft(order)
        body = await self.aside(press.compose, draft)
        if len(body) > SIGNED_AT_ONCE_OCTETS_MAX:
            signature = await self.aside(key.signer.sign, body)
        else:
            signature = await self._issuers.sign(key, body)
        digest = await self.aside(press.keep, body, key.signer.algorithm, signature)
        head = draft.head
        event = CRLPublishedV2(
            issuer=order.scope.issuer,
            number=head.number,
            covers=draft.covers,
            this_update=head.this_update,
            next_update=head.next_update,
            signature=signature,
            crl_sha256=digest,
            shards=order.scope.shards,
            shard=order.scope.shard,
            scheduled=order.scheduled,
            base=order.base,
            base_covers=order.base_covers,
            expired_before=order.expired_before,
            expired_covers=order.expired_covers,
            distribution_points=order.distribution_points,
            freshest=order.freshest,
        )
        await self._ledger.record(event)
        return event

    def _draft(self, order: Order) -> Draft:
        authority = self._ledger.state.authority()
        last = None if authority is None else authority.issuer(order.scope.issuer)
        if last is None:
            raise Fault(f"issuer {order.scope.issuer} is not in the log")
        now = self._ledger.now()
        return Draft(
            order=order,
            covers=self._ledger.checkpoint,
            head=Head(
                # RFC 5280, Section 5.2.3: strictly rising, in one sequence for complete and delta lists. The clock's part keeps
                # it so when a log comes back from a backup and the numbers after it are forgotten: nobody publishes so many
                # lists a second that the numbers run ahead of the clock.
                number=max(last.crl_number + 1, now * NUMBERS_PER_SECOND),
                this_update=now,
                next_update=now + order.validity_seconds,
                base=order.base,
                distribution_points=order.distribution_points,
                freshest=order.freshest,
            ),
        )
