"""The responder: delegated keys, and answers that are signed once and kept beside the status they tell.

Invariants: a serial that was not issued is never ``good``; an answer that was kept is given only as long as the status is the
one that it tells, so a revocation is in the very next answer; no answer outlives the certificate that signed it, nor is
one signed on a view that may be behind the log.

Each issuer has a responder key of its own, made here and never written: its certificate is by the same issuer key
(RFC 6960, Section 4.2.2.2), short-lived, and obtained through the ordinary path.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256

from quicklime.lifecycle.issuer import Authority
from quicklime.pki import ocsp
from quicklime.pki.certificate import IssuerFacts
from quicklime.pki.signer import Signer
from quicklime.projection import Store
from quicklime.services.ocsp import view
from quicklime.telemetry import Metrics

CACHE_ANSWERS_MAX = 100_000
BACKDATE_SECONDS = 60
# an answer is signed anew once this part of its life is over
FRESH_NUMERATOR, FRESH_DENOMINATOR = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """A delegated responder's certificate (DER) and its serial, which its successor names as predecessor."""

    certificate: bytes
    serial: str
    not_before: int
    not_after: int


Obtain = Callable[[str, bytes, str | None], Awaitable[Obtained]]
"""(issuer, SPKI, serial of the one before) -> the certificate. Raises Refused, Fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response and how long it may be kept; ``this_update`` is None for what nobody may keep."""

    body: bytes
    kind: str
    this_update: int | None = None
    next_update: int | None = None
    etag: str = ""

    @property
    def cacheable(self) -> bool:
        return self.this_update is not None


_MALFORMED = Answer(body=ocsp.MALFORMED_REQUEST, kind="malformed")
_UNAUTHORIZED = Answer(body=ocsp.UNAUTHORIZED, kind="unauthorized")
_TRY_LATER = Answer(body=ocsp.TRY_LATER, kind="try-later")


@dataclass(slots=True)
class _Delegate:
    """The key that answers for one issuer, at one time."""

    issuer: str
    signer: Signer
    obtained: Obtained
    key_hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.key_hash = ocsp.responder_key_hash(self.signer.public_key)


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
    ) -> None:
        """``trusted()`` says whether the view is known to be close to the log; while it is not, nothing new is signed."""
        self._store = store
        self._authority = authority
        self._obtain = obtain
        self._new_signer = new_signer
        self._clock = clock
        self._trusted = trusted
        self._validity_seconds = validity_seconds
        self._answers_of_kind = metrics.ocsp_answers
        self._delegates: dict[str, _Delegate] = {}
        self._issuers: dict[tuple[bytes, bytes, bytes], str] = {}
        self._known: tuple[str, ...] = ()
        self._cache: OrderedDict[bytes, tuple[bytes | None, Answer]] = OrderedDict()
        self._renewing = asyncio.Lock()

    # --- keys -------------------------------------------------------------------------------------------------------

    async def renew_where_due(self, issuers: tuple[str, ...]) -> list[Obtained]:
        """Make or replace the keys of ``issuers`` (whose keys are here) long before their certificates end."""
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

    # --- answers ----------------------------------------------------------------------------------------------------

    def answer(self, request: bytes) -> Answer:
        """The answer to ``request`` (DER). Always one: what is wrong with a request is told by OCSP's own codes."""
        found = self._answer(request)
        self._answers_of_kind.labels(found.kind).inc()
        return found

    def _answer(self, request: bytes) -> Answer:
        try:
            asked = ocsp.parse_request(request)
        except ocsp.OCSPMalformed:
            return _MALFORMED
        issuers = {self._issuer_of(cert_id) for cert_id in asked.cert_ids}
        issuer = issuers.pop() if len(issuers) == 1 else None
        # not ours, or of several issuers, which no one delegate may answer for: RFC 6960, Section 2.3
        if issuer is None:
            return _UNAUTHORIZED
        delegate = self._delegates.get(issuer)
        now = self._clock()
        if delegate is None or now >= delegate.obtained.not_after:
            return _TRY_LATER
        statuses = [self._status(issuer, cert_id.serial) for cert_id in asked.cert_ids]
        if asked.nonce is not None or len(asked.cert_ids) > 1:
            if not self._trusted():
                return _TRY_LATER
            return self._sign(delegate, asked.cert_ids, statuses, now, asked.nonce)
        return self._kept(delegate, asked.cert_ids[0], statuses[0], now)

    def _kept(self, delegate: _Delegate, cert_id: ocsp.CertID, status: bytes | None, now: int) -> Answer:
        """The answer without nonce, from the cache where it still tells the truth."""
        kept = self._cache.get(cert_id.der)
        if kept is not None and kept[0] == status:
            answer = kept[1]
            fresh = _fresh_until(answer)
            if now < fresh or (not self._trusted() and answer.next_update and now < answer.next_update):
                self._cache.move_to_end(cert_id.der)
                return answer
        if not self._trusted():
            return _TRY_LATER
        answer = self._sign(delegate, (cert_id,), [status], now, None)
        if status is None:
            # nobody fills the cache with serials that were never issued
            return answer
        self._cache[cert_id.der] = (status, answer)
        self._cache.move_to_end(cert_id.der)
        if len(self._cache) > CACHE_ANSWERS_MAX:
            self._cache.popitem(last=False)
        return answer

    def _sign(
        self,
        delegate: _Delegate,
        cert_ids: tuple[ocsp.CertID, ...],
        statuses: list[bytes | None],
        now: int,
        nonce: bytes | None,
    ) -> Answer:
        this_update = max(now - BACKDATE_SECONDS, delegate.obtained.not_before)
        next_update = min(now + self._validity_seconds, delegate.obtained.not_after)
        told = [_told(status) for status in statuses]
        singles = [
            ocsp.single(cert_id.der, one, this_update, next_update)
            for cert_id, (one, _) in zip(cert_ids, told, strict=True)
        ]
        data = ocsp.response_data(delegate.key_hash, now, singles, nonce)
        body = ocsp.assemble_response(
            data, delegate.signer.algorithm, delegate.signer.sign(data), delegate.obtained.certificate
        )
        kind = told[0][1]
        if nonce is not None or kind == "unknown" or len(told) > 1:
            return Answer(body=body, kind=kind)
        etag = sha256(body).hexdigest()[:32]
        return Answer(body=body, kind=kind, this_update=this_update, next_update=next_update, etag=etag)

    def _status(self, issuer: str, serial: int) -> bytes | None:
        """The status as the view keeps it; None for a serial that ``issuer`` did not issue."""
        if serial <= 0 or serial.bit_length() > 160:
            return None
        return self._store.get(view.NAME, view.key(issuer, f"{serial:040x}"))

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


def _told(status: bytes | None) -> tuple[bytes, str]:
    if status is None:
        return ocsp.UNKNOWN, "unknown"
    found = view.decode(status)
    if found.revoked_at is None:
        return ocsp.GOOD, "good"
    return ocsp.revoked(found.revoked_at, found.reason), "revoked"


def _due(obtained: Obtained) -> int:
    """Half-way: an answer that is signed just before still has half of the certificate's life to be kept."""
    return obtained.not_before + (obtained.not_after - obtained.not_before) // 2


def _fresh_until(answer: Answer) -> int:
    if answer.this_update is None or answer.next_update is None:
        return 0
    life = answer.next_update - answer.this_update
    return answer.this_update + life * FRESH_NUMERATOR // FRESH_DENOMINATOR
