"""The publisher: a full CRL for each issuer whose key is here, on revocation and on schedule.

Invariant: a list is made of exactly the view's entries before the offset that it covers, so that its bytes can be made again
from the log: after a restart the last list is served as it was published, to the byte, or a new one is published.

RFC 5280, Section 3.3: an entry stays until one list after the certificate's end has shown it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from quicklime.authority.crls import CRLDesk, Draft
from quicklime.authority.issuers import Issuers
from quicklime.errors import Fault
from quicklime.pki.certificate import IssuerFacts
from quicklime.pki.crl import assemble_crl, tbs_crl
from quicklime.projection import Store
from quicklime.services.crl import view
from quicklime.telemetry import Lines, Metrics

PAGE = 1000
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class List:
    """A CRL as it is served (DER)."""

    issuer: str
    number: int
    covers: int
    this_update: int
    next_update: int
    der: bytes
    etag: str


class Publisher:
    """Keeps one current list per issuer; ``run`` publishes, ``current`` serves."""

    def __init__(
        self,
        *,
        desk: CRLDesk,
        issuers: Issuers,
        store: Store,
        clock: Callable[[], int],
        refresh_seconds: int,
        delay_seconds: float,
        metrics: Metrics,
        lines: Lines,
    ) -> None:
        self._desk = desk
        self._issuers = issuers
        self._store = store
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._delay_seconds = delay_seconds
        self._metrics = metrics
        self._lines = lines
        self._lists: dict[str, List] = {}
        self._facts: dict[str, IssuerFacts] = {}

    def current(self, issuer: str) -> List | None:
        """The list to serve: the one that the log says counts, which another process may have published."""
        data = self._store.get(view.NAME, view.published_key(issuer))
        if data is None:
            return None
        published = view.decode_published(data)
        kept = self._lists.get(issuer)
        if kept is None or kept.number != published.number:
            kept = self._rebuilt(issuer, published)
            if kept is not None:
                self._lists[issuer] = kept
        return kept

    async def publish_where_due(self) -> None:
        """Publish for every issuer whose key is here and whose list is missing, behind, or about to be old."""
        for key in self._issuers.here():
            if self._is_due(key.issuer):
                await self.publish(key.issuer)

    async def publish(self, issuer: str) -> None:
        """Sign, record and serve the next list of ``issuer``. Raises Fault."""
        count = 0

        def tbs(draft: Draft) -> bytes:
            nonlocal count
            entries = list(self._entries(issuer, draft.covers, draft.this_update))
            count = len(entries)
            return tbs_crl(
                self._facts_of(issuer),
                number=draft.number,
                this_update=draft.this_update,
                next_update=draft.next_update,
                entries=entries,
            )

        event = await self._desk.publish(issuer, tbs)
        self._metrics.crls.labels(issuer).inc()
        self._lines.crl_published(issuer, event.number, count)

    async def run(self) -> None:
        """Publish for ever; a revocation waits ``delay_seconds`` for others, so that a burst makes one list."""
        while True:
            await self.publish_where_due()
            await asyncio.sleep(max(LOOK_SECONDS, self._delay_seconds))

    def _is_due(self, issuer: str) -> bool:
        data = self._store.get(view.NAME, view.published_key(issuer))
        if data is None or self.current(issuer) is None:
            return True
        published = view.decode_published(data)
        now = self._clock()
        # a clock that was an hour ahead leaves a list from the future: it is replaced too
        if (
            now >= min(published.this_update + self._refresh_seconds, published.next_update)
            or published.this_update > now
        ):
            return True
        last = view.entry_key(issuer, max(published.covers, 1) - 1)
        prefix = view.entry_key(issuer)
        return bool(self._store.scan(view.NAME, prefix=prefix, after=last, limit=1))

    def _entries(self, issuer: str, covers: int, this_update: int) -> Iterator[bytes]:
        """The entries of a list that covers the records before ``covers`` and is of ``this_update``."""
        prefix = view.entry_key(issuer)
        end = view.entry_key(issuer, covers)
        after: bytes | None = None
        while page := self._store.scan(view.NAME, prefix=prefix, after=after, limit=PAGE):
            for key, value in page:
                if key >= end:
                    return
                entry = view.decode_entry(value)
                # RFC 5280, Section 3.3: on one regularly scheduled list after the end; two refreshes are enough for it
                if entry.not_after + 2 * self._refresh_seconds >= this_update:
                    yield entry.der
            after = page[-1][0]

    def _rebuilt(self, issuer: str, published: view.Published) -> List | None:
        """The published list from the view; None where the rules have changed since and it would not be the same."""
        facts = self._facts_of(issuer)
        body = tbs_crl(
            facts,
            number=published.number,
            this_update=published.this_update,
            next_update=published.next_update,
            entries=self._entries(issuer, published.covers, published.this_update),
        )
        der = assemble_crl(body, facts.algorithm, published.signature)
        digest = sha256(der)
        if digest.digest() != published.crl_sha256:
            return None
        return List(
            issuer=issuer,
            number=published.number,
            covers=published.covers,
            this_update=published.this_update,
            next_update=published.next_update,
            der=der,
            etag=digest.hexdigest()[:32],
        )

    def _facts_of(self, issuer: str) -> IssuerFacts:
        facts = self._facts.get(issuer)
        if facts is None:
            found = self._issuers.authority().issuer(issuer)
            if found is None:
                raise Fault(f"issuer {issuer} is not in the log")
            facts = self._facts[issuer] = IssuerFacts.of(found.certificate)
        return facts
