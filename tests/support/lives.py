"""Given facts, when a fact comes, then this is what it changes: the fold over a plain dictionary, without log or store."""

from __future__ import annotations

from hashlib import sha256

from quicklime import lifecycle
from quicklime.errors import Reason
from quicklime.events import (
    AuthorityFounded,
    CertificateIssued,
    CertificatePlanned,
    CertificatePlannedV2,
    Event,
    IssuerActivated,
    IssuerAdded,
    Requester,
    TokenCreated,
)
from quicklime.lifecycle import account
from quicklime.lifecycle.certificate import Certificate
from quicklime.lifecycle.issuer import Authority
from quicklime.lifecycle.token import Token
from quicklime.pki.der import bit_string, integer, sequence

ISSUER = "aa" * 20
WHEN = 1_795_000_000
LOCAL = Requester(kind="local", id="ada")
TOKEN = "mfzwizlnmfzwizln"


class Lives:
    """``lifecycle.Lives`` in dictionaries; ``tell`` is one step of the fold."""

    def __init__(self, *events: Event) -> None:
        self.certificates: dict[str, Certificate] = {}
        self.claims: dict[bytes, str] = {}
        self.compromised: set[bytes] = set()
        self.tokens: dict[str, Token] = {}
        self.founded: Authority | None = None
        self.acme = account.Changes(accounts={}, keys={}, by_key={})
        self.offset = 0
        for event in events:
            refusal = self.tell(event)
            assert refusal is None, refusal

    def certificate(self, serial: str) -> Certificate | None:
        return self.certificates.get(serial)

    def claim(self, idempotency_sha256: bytes) -> str | None:
        return self.claims.get(idempotency_sha256)

    def is_compromised(self, spki_sha256: bytes) -> bool:
        return spki_sha256 in self.compromised

    def token(self, token: str) -> Token | None:
        return self.tokens.get(token)

    def planned_with_token(self, serial: str) -> str | None:
        plan = self.certificates.get(serial)
        if plan is None or plan.status != "planned" or plan.requester.kind != "token":
            return None
        return plan.requester.id

    def authority(self) -> Authority | None:
        return self.founded

    def acme_account(self, account: str) -> account.Account | None:
        return self.acme.accounts.get(account)

    def acme_account_of_key(self, directory: str, thumbprint: bytes) -> str | None:
        return self.acme.by_key.get((directory, thumbprint))

    def acme_key(self, key: str) -> account.BindingKey | None:
        return self.acme.keys.get(key)

    def planned_by_account(self, serial: str) -> str | None:
        plan = self.certificates.get(serial)
        if plan is None or plan.status != "planned" or plan.requester.kind != "acme":
            return None
        return plan.requester.id

    def tell(self, event: Event) -> Reason | None:
        """Fold ``event`` in; why it does not stand, None where it does."""
        changes = lifecycle.evolve(self, self.offset, event)
        self.offset += 1
        self.certificates.update(changes.certificates)
        for claim, serial in changes.claims.items():
            if serial is None:
                self.claims.pop(claim, None)
            else:
                self.claims[claim] = serial
        self.compromised |= changes.compromised
        self.tokens.update(changes.tokens)
        self.founded = changes.authority or self.founded
        self.acme.accounts.update(changes.acme.accounts)
        self.acme.keys.update(changes.acme.keys)
        self.acme.by_key.update(changes.acme.by_key)
        return changes.refusal

    def snapshot(self) -> tuple[object, ...]:
        """All that the fold knows, to compare."""
        return (
            dict(self.certificates),
            dict(self.claims),
            set(self.compromised),
            dict(self.tokens),
            dict(self.acme.accounts),
            dict(self.acme.keys),
            dict(self.acme.by_key),
            self.founded,
        )


FOUNDING: tuple[Event, ...] = (
    AuthorityFounded(authority="0b9f6a52-6f0c-4e1e-9d83-7a4f6f7d2c11", name="Test", founded_at=WHEN),
    IssuerAdded(issuer=ISSUER, role="intermediate", certificate=b"", added_at=WHEN, requester=LOCAL),
    IssuerActivated(issuer=ISSUER, activated_at=WHEN, requester=LOCAL),
)


def serial(number: int) -> str:
    return f"40{number:038x}"


def tbs(number: int) -> bytes:
    """Stands for the bytes to be signed; only their identity matters here."""
    return sequence(integer(number))


def certificate(number: int) -> bytes:
    """Stands for the certificate over ``tbs(number)``: the three parts of RFC 5280, Section 4.1."""
    return sequence(tbs(number), sequence(), bit_string(b"signature"))


def planned(
    number: int,
    *,
    predecessor: int | None = None,
    names: tuple[str, ...] = ("dns:web.internal",),
    idempotency: bytes | None = None,
    requester: Requester = LOCAL,
    issuer: str = ISSUER,
    key: bytes = b"key",
) -> CertificatePlanned:
    kind = CertificatePlannedV2 if requester.kind == "acme" else CertificatePlanned
    return kind(
        serial=serial(number),
        issuer=issuer,
        profile="server",
        names=names,
        public_key=key,
        not_before=WHEN,
        not_after=WHEN + 1000,
        tbs=tbs(number),
        challenge=sha256(bytes((number & 255,))).digest(),
        revocation_secret_sha256=sha256(b"secret" + bytes((number & 255,))).digest(),
        requester=requester,
        evidence=(),
        lineage=serial(number if predecessor is None else predecessor),
        planned_at=WHEN,
        deadline=WHEN + 60,
        predecessor=None if predecessor is None else serial(predecessor),
        idempotency_sha256=idempotency,
        request_sha256=idempotency,
    )


def issued(number: int, *, signed: int | None = None) -> CertificateIssued:
    """The issuance of plan ``number``; ``signed`` forges it with another plan's bytes."""
    return CertificateIssued(
        serial=serial(number), certificate=certificate(number if signed is None else signed), issued_at=WHEN
    )


def token_created(uses_max: int | None = None, *, expires_at: int = WHEN + 3600) -> TokenCreated:
    return TokenCreated(
        token=TOKEN,
        token_sha256=bytes(32),
        role="requester",
        created_at=WHEN,
        expires_at=expires_at,
        requester=LOCAL,
        names=("**.internal",),
        profiles=("server",),
        uses_max=uses_max,
    )
