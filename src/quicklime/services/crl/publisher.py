"""The publisher: complete and delta lists for each issuer whose key is here, on revocation and on schedule.

Invariants:

* a list is made of exactly the view's entries before the offset that it covers, so that its bytes can be made again from the
  log: after a restart the last list is served as it was published, to the byte, or a new one is published;
* a revocation makes one list anew, that of its shard;
* an entry stays until a list by schedule has shown it after the certificate's end (RFC 5280, Section 3.3);
* a complete and a delta list of one shard never have the same thisUpdate, so that they need not have the same number
  (RFC 5280, Section 5.2.3).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quicklime.authority.crls import CRLDesk, Draft, Order
from quicklime.authority.issuers import Issuers
from quicklime.errors import Fault, Refused
from quicklime.events import CRLPublishedV2
from quicklime.lifecycle.issuer import Issuer
from quicklime.pki.certificate import IssuerFacts, URLs
from quicklime.pki.crl import Head, around, tbs_crl
from quicklime.pki.shards import Scope
from quicklime.projection import Store
from quicklime.services.crl import view
from quicklime.services.crl.pile import Pile
from quicklime.services.crl.shelf import Lists, Shelf
from quicklime.telemetry import Lines, Metrics

# a delta list that names more than this since its base is followed by a new base
DELTA_ENTRIES_MAX = 10_000
TIDY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How lists are published. ``delta_validity_seconds`` 0: no delta lists, each revocation makes a complete list."""

    validity_seconds: int
    refresh_seconds: int
    delta_validity_seconds: int = 0

    @property
    def has_deltas(self) -> bool:
        return self.delta_validity_seconds > 0


class Publisher:
    """Keeps the lists of every issuer on the shelf; ``publish_where_due`` is to be called again and again."""

    def __init__(
        self,
        *,
        desk: CRLDesk,
        issuers: Issuers,
        store: Store,
        shelf: Shelf,
        clock: Callable[[], int],
        urls: URLs,
        rules: Rules,
        metrics: Metrics,
        lines: Lines,
    ) -> None:
        self._desk = desk
        self._issuers = issuers
        self._store = store
        self._shelf = shelf
        self._lists = Lists(store.get, shelf)
        self._clock = clock
        self._urls = urls
        # a list that is made anew only at its end would leave nobody a moment without a good one
        self._refresh_seconds = min(rules.refresh_seconds, rules.validity_seconds // 2)
        self._rules = rules
        self._metrics = metrics
        self._lines = lines
        self._piles: dict[Scope, Pile] = {}
        self._facts: dict[str, IssuerFacts] = {}
        self._checked: set[bytes] = set()
        self._overgrown: set[Scope] = set()
        self._tidied = time.monotonic()
        self._publishing = asyncio.Lock()

    async def publish_where_due(self) -> int:
        """Publish every list that is missing, behind, or about to be old; how many.

        Raises Fault or Refused, the first of them, after all were tried: an issuer whose key is away must not hold up another's.
        """
        async with self._publishing:
            orders = await self._desk.aside(lambda: list(self._all_due()))
            failed: Fault | Refused | None = None
            for order in orders:
                try:
                    await self._publish(order)
                except (Fault, Refused) as error:
                    failed = failed or error
            if failed is not None:
                raise failed
            if time.monotonic() - self._tidied > TIDY_SECONDS:
                self._tidied = time.monotonic()
                await self._desk.aside(self._tidy)
            return len(orders)

    async def warm(self) -> None:
        """Have every shard's entries at hand, so that the first revocation after a start need not wait for them."""
        # what fails here, the first list meets too, and tells it
        with contextlib.suppress(Fault):
            for issuer in self._issuers.here():
                for scope in self._scopes(self._issuer(issuer.issuer)):
                    async with self._publishing:
                        published = self._lists.published(scope)
                        if published is not None and scope not in self._piles:
                            await self._desk.aside(self._pile_of, published)

    async def _publish(self, order: Order) -> None:
        event = await self._desk.publish(order, self)
        if self._lists.published(order.scope, delta=order.base is not None) != event:
            return  # another process was first: its list is the one that counts
        self._checked.add(event.crl_sha256)
        pile = self._piles[order.scope]
        count = pile.count_since(order.base_covers)
        if order.base is not None and count > DELTA_ENTRIES_MAX:
            self._overgrown.add(order.scope)
        elif order.base is None:
            self._overgrown.discard(order.scope)
        self._metrics.crls.labels(order.scope.issuer).inc()
        self._lines.crl_published(order.scope.issuer, event.number, count)

    # --- what is due ------------------------------------------------------------------------------------------------

    def _all_due(self) -> Iterator[Order]:
        here = {key.issuer for key in self._issuers.here()}
        for issuer in self._issuers.authority().intermediates:
            for scope in self._scopes(issuer):
                if issuer.issuer in here:
                    yield from self._due(issuer, scope)
                else:
                    # what it published before its key left is still good until it ends
                    for delta in (False, True):
                        published = self._lists.published(scope, delta=delta)
                        if published is not None:
                            self._is_on_shelf(published)

    def _scopes(self, issuer: Issuer) -> Iterator[Scope]:
        """Every list that a certificate names or will name, and always the plain one."""
        for shards in sorted({1, self._urls.crl_shards, *(shards for _, shards in issuer.crl_points)}):
            for shard in range(shards):
                yield Scope(issuer=issuer.issuer, shards=shards, shard=shard)

    def _due(self, issuer: Issuer, scope: Scope) -> Iterator[Order]:
        now, rules = self._clock(), self._rules
        complete = self._lists.published(scope)
        scheduled, before, covers = True, 0, 0
        if complete is not None:
            if complete.scheduled:
                before, covers = complete.this_update, complete.covers
            else:
                before, covers = complete.expired_before, complete.expired_covers
            scheduled = not before <= now < before + self._refresh_seconds or now >= complete.next_update
            if before > now:
                # a clock that was ahead said of certificates that they had ended: nothing is left out on its word
                before, covers = 0, 0
        points = self._points(issuer, scope)
        freshest = (
            self._urls.crl(scope.issuer, scope.shard, scope.shards, delta=True) if rules.has_deltas else None
        )
        if (
            scheduled
            or complete is None
            or complete.this_update > now
            or (complete.distribution_points, complete.freshest) != (points, freshest)
            or (not rules.has_deltas and self._has_entries_since(scope, complete.covers))
            or scope in self._overgrown
            or not self._is_on_shelf(complete)
        ):
            yield Order(
                scope=scope,
                validity_seconds=rules.validity_seconds,
                scheduled=scheduled,
                expired_before=before,
                expired_covers=covers,
                distribution_points=points,
                freshest=freshest,
            )
        elif rules.has_deltas and self._is_delta_due(scope, complete, now):
            yield Order(
                scope=scope,
                validity_seconds=rules.delta_validity_seconds,
                scheduled=False,
                base=complete.number,
                base_covers=complete.covers,
                expired_before=complete.expired_before,
                expired_covers=complete.expired_covers,
                distribution_points=points,
            )

    def _is_delta_due(self, scope: Scope, complete: CRLPublishedV2, now: int) -> bool:
        if now <= complete.this_update:
            return False
        delta = self._lists.published(scope, delta=True)
        return (
            delta is None
            or delta.base != complete.number
            or not delta.this_update <= now < delta.this_update + self._rules.delta_validity_seconds // 2
            or self._has_entries_since(scope, delta.covers)
            or not self._is_on_shelf(delta)
        )

    def _has_entries_since(self, scope: Scope, offset: int) -> bool:
        last = view.entry_key(scope, max(offset, 1) - 1)
        return bool(self._store.scan(view.NAME, prefix=view.entry_key(scope), after=last, limit=1))

    def _points(self, issuer: Issuer, scope: Scope) -> tuple[str, ...]:
        """The URLs by which certificates name this list; none where it is the only list of its issuer.

        RFC 5280, Section 6.3.3: a list with an issuing distribution point is for certificates that name one of its URLs.
        """
        if self._urls.crl_shards == 1 and all(shards == 1 for _, shards in issuer.crl_points):
            return ()
        bases = [base for base, shards in issuer.crl_points if shards == scope.shards]
        if not bases or self._urls.crl_shards == scope.shards:
            bases.append(self._urls.base_url)
        return tuple(URLs(base).crl(scope.issuer, scope.shard, scope.shards) for base in dict.fromkeys(bases))

    # --- the bytes (on a thread) ------------------------------------------------------------------------------------

    def compose(self, draft: Draft) -> bytes:
        """As ``authority.crls.Press`` says."""
        order = draft.order
        pile = self._piles.setdefault(order.scope, Pile(self._store, order.scope))
        pile.bring(draft.covers, order.expired_before, order.expired_covers)
        with pile.since(order.base_covers) as entries:
            return tbs_crl(self._facts_of(order.scope.issuer), draft.head, (entries,))

    def keep(self, tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
        """As ``authority.crls.Press`` says."""
        before, after = around(tbs, algorithm, signature)
        return self._shelf.put((before, tbs, after))

    def _is_on_shelf(self, published: CRLPublishedV2) -> bool:
        """Whether its bytes are there, or could be made again."""
        if published.crl_sha256 in self._checked and self._shelf.has(published.crl_sha256):
            return True
        if not self._shelf.check(published.crl_sha256) and not self._made_again(published):
            return False
        self._checked.add(published.crl_sha256)
        return True

    def _made_again(self, published: CRLPublishedV2) -> bool:
        """Make the bytes of a published list from the view; False where the rules have changed since and they differ."""
        facts = self._facts_of(published.issuer)
        with self._pile_of(published).since(published.base_covers) as entries:
            body = tbs_crl(facts, _head(published), (entries,))
        return self.keep(body, facts.algorithm, published.signature) == published.crl_sha256

    def _pile_of(self, published: CRLPublishedV2) -> Pile:
        scope = Scope(issuer=published.issuer, shards=published.shards, shard=published.shard)
        pile = self._piles.setdefault(scope, Pile(self._store, scope))
        pile.bring(published.covers, published.expired_before, published.expired_covers)
        return pile

    def _tidy(self) -> None:
        current = set()
        for issuer in self._issuers.authority().intermediates:
            for scope in self._scopes(issuer):
                for delta in (False, True):
                    published = self._lists.published(scope, delta=delta)
                    if published is not None:
                        current.add(published.crl_sha256)
        self._checked &= current
        self._shelf.keep_only(current)

    def _issuer(self, issuer: str) -> Issuer:
        found = self._issuers.authority().issuer(issuer)
        if found is None:
            raise Fault(f"issuer {issuer} is not in the log")
        return found

    def _facts_of(self, issuer: str) -> IssuerFacts:
        facts = self._facts.get(issuer)
        if facts is None:
            facts = self._facts[issuer] = IssuerFacts.of(self._issuer(issuer).certificate)
        return facts


def _head(published: CRLPublishedV2) -> Head:
    return Head(
        number=published.number,
        this_update=published.this_update,
        next_update=published.next_update,
        base=published.base,
        distribution_points=published.distribution_points,
        freshest=published.freshest,
    )
