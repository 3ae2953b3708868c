"""The responder: delegated keys, and answers that are signed once and kept beside the status they tell.

Invariants: a serial that was not issued is never ``good``; an answer that was kept is given only as long as the status is the
one that it tells, so a revocation is in the very next answer; no answer outlives the certificate that signed it, nor is
one signed on a view that may be behind the log.

Each issuer has a responder key of its own, made here and never written: its certificate is by the same issuer key
(RFC 6960, Section 4.2.2.2), short-lived, and obtained through the ordinary path.

What strangers can make us sign is bounded: an answer without nonce once per certificate and half of its life; one with a nonce,
or about a serial that was never issued, as far as a budget goes. Beyond it a nonce is passed over, as RFC 5019, Section 4
lets a responder do, and an unknown serial gets ``unauthorized``, which needs no signature (RFC 5019, Section 2.2.3).
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from quicklime.errors import Fault
from quicklime.lifecycle.issuer import Authority
from quicklime.pki import ocsp
from quicklime.pki.certificate import IssuerFacts
from quicklime.pki.signer import Signer
from quicklime.projection import Batch, Store
from quicklime.services.ocsp import view, wire
from quicklime.services.ocsp.wire import MALFORMED, TRY_LATER, UNAUTHORIZED, Answer, Kept
from quicklime.telemetry import Metrics

CACHE_ANSWERS_MAX = 20_000  # the shelf behind it has no such limit
PLACES_MAX = 50_000
BACKDATE_SECONDS = 60
PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """A delegated responder's certificate (DER) and its serial, which its successor names as predecessor."""

    certificate: bytes
    serial: str
    not_before: int
    not_after: int


Obtain = Callable[[str, bytes, str | None], Awaitable[Obtained]]
"""(issuer, SPKI, serial of the one before) -> the certificate. Raises Refused, Fault."""


@dataclass(slots=True)
class _Delegate:
    """The key that answers for one issuer, at one time."""

    issuer: str
    signer: Signer
    obtained: Obtained
    key_hash: bytes = field(init=False)
    times: tuple[int, ocsp.Times] = field(init=False)

    def __post_init__(self) -> None:
        self.key_hash = ocsp.responder_key_hash(self.signer.public_key)
        self.times = (0, ocsp.Times(b"", b""))


class Responder:
    """Answers OCSP requests about every certificate of this authority's issuers, retired ones too."""

    def __init__(
        self,
        *,
        store: Store,
        authority: Callable[[], Authority | None],
        obtain: Obtain,
        new_signer: Callable[[], Signer],
        clock: Callable[[], int],
        trusted: Callable[[], bool],
        validity_seconds: int,
        metrics: Metrics,
        may_sign: Callable[[str], bool] = lambda _: True,
        shared: Store | None = None,
    ) -> None:
        """``trusted()`` says whether the view is known to be close to the log; while it is not, nothing new is signed.

        ``may_sign(address)`` takes one signature from the budget of what need not be signed; ``shared`` keeps answers for
        the responders of other processes and later ones.
        """
        self._store = store
        self._authority = authority
        self._obtain = obtain
        self._new_signer = new_signer
        self._clock = clock
        self._trusted = trusted
        self._validity_seconds = validity_seconds
        self._metrics = metrics
        self._may_sign = may_sign
        self._shared = shared
        self._counts: Counter[str] = Counter()
        self._delegates: dict[str, _Delegate] = {}
        self._issuers: dict[tuple[bytes, bytes, bytes], str] = {}
        self._known: tuple[str, ...] = ()
        # by CertID (DER), in the order in which they were signed; and where the status of what was issued stands
        self._cache: OrderedDict[bytes, Kept] = OrderedDict()
        self._places: OrderedDict[bytes, tuple[str, bytes]] = OrderedDict()
        self._renewing = asyncio.Lock()

    # --- keys -------------------------------------------------------------------------------------------------------

    async def renew_where_due(self, issuers: tuple[str, ...]) -> list[Obtained]:
        """Make or replace the keys of ``issuers`` long before their certificates end."""
        made = []
        async with self._renewing:
            now = self._clock()
            for issuer in issuers:
                old = self._delegates.get(issuer)
                if old is not None and now < _due(old.obtained):
                    continue
                signer = self._new_signer()
                before = None if old is None else old.obtained.serial
                obtained = await self._obtain(issuer, signer.public_key, before)
                self._delegates[issuer] = _Delegate(issuer, signer, obtained)
                made.append(obtained)
        return made

    def _delegate(self, issuer: str, now: int) -> _Delegate | None:
        """Whoever may sign for ``issuer`` now; None while nobody may."""
        delegate = self._delegates.get(issuer)
        if delegate is None or now >= delegate.obtained.not_after or not self._trusted():
            return None
        return delegate

    # --- answers ----------------------------------------------------------------------------------------------------

    def answer(self, request: bytes, address: str = "unknown") -> Answer:
        """The answer to ``request`` (DER). Always one: what is wrong with a request is told by OCSP's own codes."""
        found = self._answer(request, address, self._clock())
        self._counts[found.kind] += 1
        return found

    def is_current(self, kept: Kept, now: int) -> bool:
        """Whether what was kept is still young, and still the truth."""
        return now < kept.fresh_until and self._store.get(view.NAME, kept.place) == kept.status

    def note(self, kept: Kept) -> None:
        """``kept`` was given once more."""
        kept.asked = True
        self._counts[kept.answer.kind] += 1

    def tell_figures(self) -> None:
        """Bring what was counted into the metrics: counting there each time would cost as much as an answer."""
        for kind, count in self._counts.items():
            self._metrics.ocsp_answers.labels(kind).inc(count)
        self._counts.clear()

    def _answer(self, request: bytes, address: str, now: int) -> Answer:
        common = ocsp.common_form(request)
        found = None if common is None else self._places.get(common[0])
        if common is not None and found is not None:
            return self._about(*found, common[0], common[1], address, now)
        try:
            asked = ocsp.parse_request(request)
        except ocsp.OCSPMalformed:
            return MALFORMED
        issuers = {self._issuer_of(cert_id) for cert_id in asked.cert_ids}
        issuer = issuers.pop() if len(issuers) == 1 else None
        # not ours, or of several issuers, which no one delegate may answer for: RFC 6960, Section 2.3
        if issuer is None:
            return UNAUTHORIZED
        places = [view.key_of(issuer, cert_id.serial) for cert_id in asked.cert_ids]
        if len(places) > 1:
            return self._several(issuer, places, asked, address, now)
        return self._about(issuer, places[0], asked.cert_ids[0].der, asked.nonce, address, now)

    def _about(
        self, issuer: str, place: bytes, cert_id: bytes, nonce: bytes | None, address: str, now: int
    ) -> Answer:
        """The answer about one CertID."""
        status = self._store.get(view.NAME, place)
        if status is None:
            return self._unknown(issuer, cert_id, nonce, address, now)
        if cert_id not in self._places:
            if len(self._places) >= PLACES_MAX:
                self._places.popitem(last=False)
            self._places[cert_id] = issuer, place
        if nonce is not None:
            delegate = self._delegate(issuer, now)
            if delegate is None:
                return TRY_LATER
            if self._may_sign(address):
                return self._sign_live(delegate, cert_id, status, nonce, now)
        return self._kept(issuer, place, cert_id, status, now)

    def _unknown(self, issuer: str, cert_id: bytes, nonce: bytes | None, address: str, now: int) -> Answer:
        """About a serial that was never issued. Nobody fills a cache with those, nor makes us sign without end."""
        delegate = self._delegate(issuer, now)
        if delegate is None:
            return TRY_LATER
        if not self._may_sign(address):
            return UNAUTHORIZED
        body, _, _ = self._sign(delegate, [(cert_id, None)], nonce, now)
        return Answer(body=body, kind="unknown")

    def _several(
        self, issuer: str, places: list[bytes], asked: ocsp.Request, address: str, now: int
    ) -> Answer:
        """One response about several CertIDs: signed for this request alone."""
        delegate = self._delegate(issuer, now)
        if delegate is None or not self._may_sign(address):
            return TRY_LATER
        about = [
            (one.der, self._store.get(view.NAME, place))
            for one, place in zip(asked.cert_ids, places, strict=True)
        ]
        body, _, _ = self._sign(delegate, about, asked.nonce, now)
        return Answer(body=body, kind=view.told(about[0][1])[1])

    # --- what is kept -----------------------------------------------------------------------------------------------

    def _kept(self, issuer: str, place: bytes, cert_id: bytes, status: bytes, now: int) -> Answer:
        """The answer without nonce: from here where it still tells the truth, from who shares with us, or signed now."""
        kept = self._cache.get(cert_id)
        if kept is not None and kept.status == status and now < kept.fresh_until:
            kept.asked = True
            return kept.answer
        delegate = self._delegate(issuer, now)
        answer = self._shared_or_signed(delegate, cert_id, status, now)
        if answer is None:
            # nobody may sign: what is kept is true until its own end
            young = kept is not None and kept.status == status and now < kept.answer.next_update
            return kept.answer if kept is not None and young else TRY_LATER
        if kept is None:
            kept = self._cache[cert_id] = Kept(place)
            if len(self._cache) > CACHE_ANSWERS_MAX:
                self._cache.popitem(last=False)
        self._cache.move_to_end(cert_id)
        kept.renew(answer, status)
        return answer

    def _shared_or_signed(
        self, delegate: _Delegate | None, cert_id: bytes, status: bytes, now: int
    ) -> Answer | None:
        """An answer that another responder put aside for all, or a new one, put aside too. None where nobody may sign."""
        if self._shared is None:
            return None if delegate is None else self._signed(delegate, cert_id, status, now)
        try:
            found = wire.from_shelf(self._shared.get(wire.SHELF, cert_id), status, view.told(status)[1])
            if found is not None and now < (found.next_update if delegate is None else found.fresh_until):
                return found
            if delegate is None:
                return None
            with self._shared.write() as batch:
                return self._put_aside(batch, delegate, cert_id, status, now)
        except Fault:  # a disk that is full must not keep us from answering
            return None if delegate is None else self._signed(delegate, cert_id, status, now)

    def _put_aside(
        self, batch: Batch, delegate: _Delegate, cert_id: bytes, status: bytes, now: int
    ) -> Answer:
        """Sign in the one turn to write, so that all responders give the same answer, unless one was there before us."""
        found = wire.from_shelf(batch.get(wire.SHELF, cert_id), status, view.told(status)[1])
        if found is not None and now < found.fresh_until:
            return found
        answer = self._signed(delegate, cert_id, status, now)
        batch.put(wire.SHELF, cert_id, wire.for_shelf(answer, status))
        return answer

    def _signed(self, delegate: _Delegate, cert_id: bytes, status: bytes, now: int) -> Answer:
        body, this_update, next_update = self._sign(delegate, [(cert_id, status)], None, now)
        return wire.lasting(body, view.told(status)[1], this_update, next_update)

    def renew_kept(self, answers_max: int) -> int:
        """Sign anew what is half-way to its end, at most so many; what nobody asked for since is forgotten instead."""
        now, done = self._clock(), 0
        while done < answers_max and self._cache:
            cert_id, kept = next(iter(self._cache.items()))
            if now < kept.fresh_until:
                break
            issuer = self._places.get(cert_id, ("", b""))[0]
            status = self._store.get(view.NAME, kept.place)
            del self._cache[cert_id]
            if kept.asked and issuer and status is not None:
                self._cache[cert_id] = kept
                if (
                    self._kept(issuer, kept.place, cert_id, status, now) is TRY_LATER
                    or now >= kept.fresh_until
                ):
                    break  # nobody may sign now
            done += 1
        return done

    def clear_shelf(self) -> int:
        """Throw away what was put aside and has ended; how many answers."""
        shared, now, after, gone = self._shared, self._clock(), None, 0
        while shared is not None and (page := shared.scan(wire.SHELF, after=after, limit=PAGE)):
            ended = [key for key, value in page if wire.ended(value, now)]
            if ended:
                with shared.write() as batch:
                    for key in ended:
                        batch.delete(wire.SHELF, key)
            gone, after = gone + len(ended), page[-1][0]
        return gone

    # --- signing ----------------------------------------------------------------------------------------------------

    def _validity(self, delegate: _Delegate, now: int) -> tuple[int, int]:
        obtained = delegate.obtained
        this_update = max(now - BACKDATE_SECONDS, obtained.not_before)
        return this_update, min(now + self._validity_seconds, obtained.not_after)

    def _sign(
        self, delegate: _Delegate, about: list[tuple[bytes, bytes | None]], nonce: bytes | None, now: int
    ) -> tuple[bytes, int, int]:
        """(response, thisUpdate, nextUpdate) about each (CertID, status as the view has it)."""
        this_update, next_update = self._validity(delegate, now)
        singles = [
            ocsp.single(cert_id, view.told(status)[0], this_update, next_update) for cert_id, status in about
        ]
        data = ocsp.response_data(delegate.key_hash, now, singles, nonce)
        return self._assembled(delegate, data), this_update, next_update

    def _sign_live(
        self, delegate: _Delegate, cert_id: bytes, status: bytes, nonce: bytes, now: int
    ) -> Answer:
        if delegate.times[0] != now:
            delegate.times = now, ocsp.Times.of(now, *self._validity(delegate, now))
        said, kind = view.told(status)
        data = ocsp.response_data_of_one(delegate.key_hash, delegate.times[1], cert_id, said, nonce)
        return Answer(body=self._assembled(delegate, data), kind=kind)

    @staticmethod
    def _assembled(delegate: _Delegate, data: bytes) -> bytes:
        signer = delegate.signer
        return ocsp.assemble_response(
            data, signer.algorithm, signer.sign(data), delegate.obtained.certificate
        )

    def _issuer_of(self, cert_id: ocsp.CertID) -> str | None:
        """Which of our issuers a CertID means, by both hashes; None where none."""
        authority = self._authority()
        if authority is None:
            return None
        ids = tuple(issuer.issuer for issuer in authority.intermediates)
        if ids != self._known:
            self._issuers = {
                hashes: issuer.issuer
                for issuer in authority.intermediates
                for facts in (IssuerFacts.of(issuer.certificate),)
                for hashes in ocsp.issuer_hashes(facts.subject_der, facts.spki)
            }
            self._known = ids
        return self._issuers.get((cert_id.hash_oid, cert_id.issuer_name_hash, cert_id.issuer_key_hash))


def _due(obtained: Obtained) -> int:
    """Half-way: an answer that is signed just before still has half of the certificate's life to be kept."""
    return obtained.not_before + (obtained.not_after - obtained.not_before) // 2
