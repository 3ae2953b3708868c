"""What may happen in the demonstration world: issue, renew, fail to renew, revoke, rotate; each by the desk of a real server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.authority.commands import Granted, IssueCommand, RenewCommand
from quicklime.authority.refusals import RefusalDesk
from quicklime.authority.revocation import RevokeCommand
from quicklime.authority.tokens import CreateToken
from quicklime.errors import Refused
from quicklime.events import Requester, Role
from quicklime.lifecycle.certificate import Certificate, renewal_message
from quicklime.pki import csr
from quicklime.policy import Identity
from quicklime.wiring.founding import rotation_finish, rotation_request, rotation_sign
from quicklime.wiring.local import Local

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
TOKEN_DAYS = 365
DAY_SECONDS = 86_400


class SetClock(Protocol):
    now: int

    def __call__(self) -> int: ...


@dataclass(slots=True, kw_only=True)
class Held:
    """A certificate with the key that its node holds."""

    certificate: Certificate
    key: Key
    secret: bytes


@cache
def _rsa_keys() -> tuple[rsa.RSAPrivateKey, ...]:
    """Two are enough for a demonstration: making one takes as long as a hundred certificates."""
    return tuple(rsa.generate_private_key(public_exponent=65_537, key_size=2048) for _ in range(2))


def new_key(kind: str, place: int) -> Key:
    """A key as a node makes it."""
    match kind:
        case "rsa":
            return _rsa_keys()[place % 2]
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return ec.generate_private_key(ec.SECP256R1())


def request_of(key: Key, names: tuple[str, ...]) -> csr.CheckedCSR:
    """A CSR for typed names, parsed as a server does it."""
    general: list[x509.GeneralName] = [
        x509.DNSName(name[4:])
        if name.startswith("dns:")
        else x509.IPAddress(ip_address(name.removeprefix("ip:")))
        for name in names
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return csr.parse(builder.sign(key, algorithm).public_bytes(Encoding.DER))


def _signed(key: Key, message: bytes) -> bytes:
    match key:
        case ec.EllipticCurvePrivateKey():
            return key.sign(message, ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PrivateKey():
            return key.sign(message)
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())


class World:
    """The desks of one authority, and the clock that the story sets."""

    def __init__(self, local: Local, clock: SetClock) -> None:
        self._local = local
        self.clock = clock
        self._refusals = RefusalDesk(local.ledger, lambda _: True)

    async def identity(
        self, label: str, *patterns: str, role: Role = "requester", profiles: tuple[str, ...] = ()
    ) -> Identity:
        """A token, and who it makes its bearer."""
        _, token = await self._local.tokens.create(
            CreateToken(
                role=role,
                names=patterns,
                profiles=profiles,
                lifetime_seconds=TOKEN_DAYS * DAY_SECONDS,
                label=label,
            ),
            self._local.requester,
        )
        return Identity(
            requester=Requester(kind="token", id=token.token, role=role),
            role=role,
            names=patterns,
            profiles=profiles,
            label=label,
        )

    async def issue(
        self,
        identity: Identity,
        names: tuple[str, ...],
        *,
        key: Key,
        node: str | None,
        profile: str = "server",
        validity_seconds: int | None = None,
    ) -> Held | None:
        """A new certificate; None where it is refused, which is then a fact."""
        command = IssueCommand(
            identity=identity,
            csr=request_of(key, names),
            profile=profile,
            node=node,
            validity_seconds=validity_seconds,
        )
        try:
            return _held(await self._local.issuance.issue(command), key)
        except Refused as refused:
            await self._refusals.note("issue", identity.requester, refused)
            return None

    async def renew(
        self,
        held: Held,
        *,
        key: Key,
        by: Key | None = None,
        names: tuple[str, ...] | None = None,
        node: str | None = None,
    ) -> Held | None:
        """Replace ``held``, proved by its key (or ``by``, where somebody has another); None where it is refused."""
        parent = held.certificate
        request = request_of(key, names or parent.names)
        command = RenewCommand(
            serial=parent.serial,
            csr=request,
            signature=_signed(by or held.key, renewal_message(parent.challenge, request.der)),
            node=node,
            validity_seconds=parent.not_after - max(parent.not_before, parent.planned_at),
        )
        try:
            return _held(await self._local.issuance.renew(command), key)
        except Refused as refused:
            requester = Requester(kind="possession", id=parent.serial)
            await self._refusals.note("renew", requester, refused, parent.serial)
            return None

    async def revoke(
        self, held: Held, reason: Literal[0, 1, 3, 4, 5, 9], identity: Identity | None = None
    ) -> None:
        """By an operator, or by the secret that its holder kept."""
        await self._local.revocation.revoke(
            RevokeCommand(
                serial=held.certificate.serial,
                reason=reason,
                identity=identity,
                secret=held.secret if identity is None else None,
            )
        )

    async def rotate(self) -> None:
        """A new intermediate takes over; the root's key is at hand, for once."""
        directory, config = self._local.directory, self._local.config
        name = self._local.issuers.authority().name
        request = rotation_request(config, "ecdsa-p256", None, name)
        certificate = rotation_sign(
            config,
            x509.load_pem_x509_csr(request).public_bytes(Encoding.DER),
            root=x509.load_pem_x509_certificate(directory.root_certificate.read_bytes()).public_bytes(
                Encoding.DER
            ),
            root_key=directory.offline / "root-key.pem",
            passphrase=(directory.offline / "passphrase").read_bytes().strip(),
            name=name,
            days=1095,
            now=self.clock,
        )
        await rotation_finish(
            self._local, x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
        )


def _held(grant: Granted, key: Key) -> Held:
    return Held(certificate=grant.certificate, key=key, secret=grant.revocation_secret)
