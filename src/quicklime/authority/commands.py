"""What the issuance desk is asked for, and what it gives."""

from __future__ import annotations

import msgspec

from quicklime.lifecycle.certificate import Certificate
from quicklime.pki.csr import CheckedCSR
from quicklime.policy import Identity


class IssueCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A checked CSR and what is asked for it. ``names`` overrides the CSR's; ``validity_seconds`` the profile's default.

    ``evidence`` is told in the plan besides what the policy finds. ``replaces`` is the serial of the certificate that this one
    replaces, for requesters who prove every name anew: only of ACME accounts is it taken.
    """

    identity: Identity
    csr: CheckedCSR
    profile: str
    names: tuple[str, ...] | None = None
    validity_seconds: int | None = None
    node: str | None = None
    idempotency_key: str | None = None
    evidence: tuple[str, ...] = ()
    replaces: str | None = None


class RenewCommand(msgspec.Struct, frozen=True, kw_only=True):
    """``signature`` is by the key of certificate ``serial`` over ``renewal_message(challenge, csr.der)``."""

    serial: str
    csr: CheckedCSR
    signature: bytes
    names: tuple[str, ...] | None = None
    validity_seconds: int | None = None
    node: str | None = None
    idempotency_key: str | None = None


class SystemCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Quicklime's own certificates (serving, delegated responder), through the same path as anybody's."""

    profile: str
    names: tuple[str, ...]
    public_key: bytes
    key_type: str
    node: str
    issuer: str | None = None
    predecessor: str | None = None


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What the requester gets. ``chain`` is leaf first, without the root; ``offset`` is the issuance's place in the log.

    ``revocation_secret`` is told here and nowhere else. ``repeated`` where an earlier request got the certificate.
    """

    certificate: Certificate
    chain: tuple[bytes, ...]
    revocation_secret: bytes
    offset: int
    repeated: bool = False
