"""A root and an intermediate of any key type, made once per run, and certificates by them: real keys, fixed names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.pki import issuer as pki_issuer
from quicklime.pki.certificate import (
    IssuerFacts,
    Template,
    URLs,
    assemble_certificate,
    check_issued,
    serial_from_entropy,
)
from quicklime.pki.profile import SERVER, Profile

NOW = 1_790_000_000
DAY = 86_400
DOMAINS = ("lab.internal", "example.test")
IP_RANGES = ("10.0.0.0/8", "fd00::/8")
URLS = URLs("http://pki.lab.internal:8080")


def entropy(count: int, seed: bytes = b"lab") -> bytes:
    """Octets that are the same in each run."""
    return b"".join(sha256(seed + bytes((block,))).digest() for block in range(count // 32 + 1))[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    root: bytes
    intermediate: bytes
    root_signer: FileSigner
    signer: FileSigner
    facts: IssuerFacts

    def tbs(
        self,
        *,
        profile: Profile = SERVER,
        spki: bytes | None = None,
        names: Iterable[str] = ("dns:web.lab.internal",),
        not_before: int = NOW,
        not_after: int = NOW + 30 * DAY - 1,
        seed: bytes = b"serial",
    ) -> bytes:
        return Template(self.facts, profile, URLS).tbs(
            serial=serial_from_entropy(entropy(20, seed)),
            not_before=not_before,
            not_after=not_after,
            spki=subscriber_key("ecdsa-p256") if spki is None else spki,
            names=tuple(names),
        )

    def sign(self, tbs: bytes) -> bytes:
        certificate = assemble_certificate(tbs, self.signer.algorithm, self.signer.sign(tbs))
        check_issued(certificate, tbs, self.facts)
        return certificate


@cache
def lab(key_type: str = "ecdsa-p256", now: int = NOW) -> Lab:
    root_signer = FileSigner(generate(key_type), "file:root.pem")
    signer = FileSigner(generate(key_type), "file:issuing.pem")
    root = pki_issuer.self_sign_root(
        root_signer,
        name="Lab Root CA",
        entropy=entropy,
        now=now,
        days=3650,
        domains=DOMAINS,
        ip_ranges=IP_RANGES,
    )
    intermediate = pki_issuer.sign_intermediate(
        root_signer,
        root=root,
        spki=signer.public_key,
        name="Lab Issuing CA",
        entropy=lambda count: entropy(count, b"intermediate"),
        now=now,
        days=1095,
        domains=DOMAINS,
        ip_ranges=IP_RANGES,
        urls=URLS,
    )
    return Lab(
        root=root,
        intermediate=intermediate,
        root_signer=root_signer,
        signer=signer,
        facts=IssuerFacts.of(intermediate),
    )


@cache
def subscriber_key(key_type: str) -> bytes:
    """A subscriber's public key (SPKI, DER)."""
    return FileSigner(generate(key_type), "file:subscriber.pem").public_key
