"""Publish CRLs: number, sign, record. The list's bytes are made of a view's entries, so the log holds only the signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from quicklime.authority.issuers import Issuers
from quicklime.authority.ledger import Ledger
from quicklime.errors import Fault
from quicklime.events import CRLPublished
from quicklime.pki.crl import assemble_crl


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A CRL about to be signed. Its entries are those of the records before offset ``covers``."""

    issuer: str
    number: int
    covers: int
    this_update: int
    next_update: int


class CRLDesk:
    """Signs the lists of every issuer whose key is here."""

    def __init__(self, ledger: Ledger, issuers: Issuers, *, validity_seconds: int) -> None:
        self._ledger = ledger
        self._issuers = issuers
        self._validity_seconds = validity_seconds

    async def publish(self, issuer: str, tbs: Callable[[Draft], bytes]) -> CRLPublished:
        """Sign and record the next CRL of ``issuer``; ``tbs`` makes the TBSCertList of a draft.

        Of two processes that publish at once one gets the number, by the log's order; the other's record does not stand
        and is not served. Raises Fault where the key is not here or another's number came first.
        """
        key = self._issuers.of(issuer)
        authority = self._ledger.state.authority()
        last = None if authority is None else authority.issuer(issuer)
        if last is None:
            raise Fault(f"issuer {issuer} is not in the log")
        now = self._ledger.now()
        draft = Draft(
            issuer=issuer,
            # RFC 5280, Section 5.2.3: strictly rising. The clock's part keeps it so when a log comes back from a backup
            # and the numbers after it are forgotten.
            number=max(last.crl_number + 1, now),
            covers=self._ledger.checkpoint,
            this_update=now,
            next_update=now + self._validity_seconds,
        )
        body = tbs(draft)
        signature = await self._issuers.sign(key, body)
        event = CRLPublished(
            issuer=issuer,
            number=draft.number,
            covers=draft.covers,
            this_update=draft.this_update,
            next_update=draft.next_update,
            signature=signature,
            crl_sha256=sha256(assemble_crl(body, key.signer.algorithm, signature)).digest(),
        )
        await self._ledger.record(event)
        return event
