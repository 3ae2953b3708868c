"""Revoke: with the secret from issuance, by the certificate's key, or by an operator. Idempotent, and for ever."""

from __future__ import annotations

from dataclasses import dataclass

from quicklime.authority.ledger import Ledger
from quicklime.errors import Code, Refused
from quicklime.events import Requester
from quicklime.lifecycle.certificate import (
    Certificate,
    Revocation,
    decide_revoke,
    knows_secret,
    revocation_message,
)
from quicklime.pki.possession import check_possession
from quicklime.policy import Identity, check_permission


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeCommand:
    """Exactly one proof is expected: ``secret`` from issuance, ``signature`` by the certificate's key, or ``identity``.

    ``proved`` is a requester whose right another protocol has established (ACME: RFC 8555, Section 7.6).
    """

    serial: str
    reason: int = 0
    invalidity_date: int | None = None
    secret: bytes | None = None
    signature: bytes | None = None
    identity: Identity | None = None
    proved: Requester | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """``repeated`` where the certificate was revoked before this command; the revocation is then the earlier one."""

    serial: str
    revocation: Revocation
    repeated: bool


class RevocationDesk:
    """Takes revoke commands, one certificate each."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def revoke(self, command: RevokeCommand) -> Revoked:
        """Revoke. Raises Refused: no such certificate, a wrong proof, a reason or date that can't be."""
        certificate = self._ledger.state.certificate(command.serial)
        requester = self._proved(command, certificate)
        event = decide_revoke(
            certificate,
            serial=command.serial,
            reason=command.reason,
            invalidity_date=command.invalidity_date,
            requester=requester,
            now=self._ledger.now(),
        )
        offset = None if event is None else await self._ledger.record(event)
        after = self._ledger.state.certificate(command.serial)
        assert after is not None
        assert after.revocation is not None
        # two revocations at once: both stand in the log, the first is the one that counts, for everybody
        return Revoked(
            serial=command.serial, revocation=after.revocation, repeated=after.revocation.offset != offset
        )

    def _proved(self, command: RevokeCommand, certificate: Certificate | None) -> Requester:
        """Who revokes, by the proof that was given. An unknown serial and a wrong proof are told apart only for operators."""
        if command.proved is not None:
            return command.proved
        if command.identity is not None:
            check_permission(command.identity, "revoke")
            return command.identity.requester
        if command.secret is None and command.signature is None:
            raise Refused(
                Code.UNAUTHENTICATED,
                "no proof was given, expected a revocation secret, a signature or an operator's token",
            )
        if (
            command.secret is not None
            and certificate is not None
            and knows_secret(certificate, command.secret)
        ):
            return Requester(kind="secret", id=command.serial)
        if command.signature is not None and certificate is not None:
            message = revocation_message(certificate.challenge, command.serial, command.reason)
            check_possession(
                certificate.public_key, command.signature, message, code=Code.REVOCATION_PROOF_INVALID
            )
            return Requester(kind="possession", id=command.serial)
        raise Refused(Code.REVOCATION_PROOF_INVALID, f"the proof does not fit certificate {command.serial}")
