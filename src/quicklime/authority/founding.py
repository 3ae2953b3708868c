"""Found the authority, and bring in issuers: facts that every service learns of from the log."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from quicklime.authority.ledger import Ledger
from quicklime.errors import Code, Refused
from quicklime.events import AuthorityFounded, IssuerActivated, IssuerAdded, Requester
from quicklime.lifecycle.issuer import Issuer
from quicklime.pki.certificate import issuer_id
from quicklime.pki.issuer import check_issuer_certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCommand:
    """Certificates in DER; ``authority`` is a new UUID."""

    authority: str
    name: str
    root: bytes
    intermediate: bytes
    requester: Requester


class FoundingDesk:
    """Takes the commands about the authority itself and its issuers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def found(self, command: FoundCommand) -> int:
        """Write the first four records, together: founding, root, intermediate, activation. Returns 0.

        Raises Refused where the log has a founding already.
        """
        if self._ledger.state.authority() is not None:
            raise Refused(Code.BUSY, "the authority was founded already")
        now = self._ledger.now()
        intermediate = issuer_id(command.intermediate)
        self._ledger.found(command.authority)
        return await self._ledger.record(
            AuthorityFounded(authority=command.authority, name=command.name, founded_at=now),
            IssuerAdded(
                issuer=issuer_id(command.root),
                role="root",
                certificate=command.root,
                added_at=now,
                requester=command.requester,
            ),
            IssuerAdded(
                issuer=intermediate,
                role="intermediate",
                certificate=command.intermediate,
                added_at=now,
                requester=command.requester,
            ),
            IssuerActivated(issuer=intermediate, activated_at=now, requester=command.requester),
        )

    async def rotate(self, certificate: bytes, public_key: bytes, requester: Requester) -> Issuer:
        """Bring in and activate an intermediate whose key (SPKI, DER) is here; the one before stays answerable.

        Raises Refused naming all that is wrong with the certificate.
        """
        authority = self._ledger.state.authority()
        if authority is None:
            raise Refused(Code.ISSUER_UNKNOWN, "the authority was not founded")
        roots = tuple(x509.load_der_x509_certificate(root.certificate) for root in authority.roots)
        now = self._ledger.now()
        check_issuer_certificate(certificate, spki=public_key, roots=roots, now=now)
        issuer = issuer_id(certificate)
        known = authority.issuer(issuer)
        if known is not None and known.status != "added":
            raise Refused(Code.ISSUER_CERTIFICATE_INVALID, f"issuer {issuer} is {known.status} already")
        events = [
            IssuerAdded(
                issuer=issuer, role="intermediate", certificate=certificate, added_at=now, requester=requester
            )
        ]
        await self._ledger.record(
            *(events if known is None else ()),
            IssuerActivated(issuer=issuer, activated_at=now, requester=requester),
        )
        after = self._ledger.state.authority()
        active = None if after is None else after.active
        if active is None or active.issuer != issuer:
            raise Refused(Code.BUSY, "another issuer was activated at the same time", retry_after_seconds=1)
        return active
