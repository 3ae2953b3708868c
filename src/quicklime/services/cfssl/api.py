"""CFSSL's API under ``/api/v1/cfssl/``, so that its clients work unchanged.

Who may: ``authsign`` by a configured key (HMAC), everything else by a bearer token or a client certificate. ``info``,
``certinfo`` and ``bundle`` of what is public ask for nobody. A key that is made here (``newkey``, ``newcert``) is handed out
and forgotten: it is in no log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.authority.commands import Granted, IssueCommand
from quicklime.authority.issuance import IssuanceDesk
from quicklime.authority.issuers import Issuers
from quicklime.authority.refusals import RefusalDesk
from quicklime.authority.revocation import RevocationDesk, RevokeCommand
from quicklime.errors import Code, Refused
from quicklime.events import CertificateIssued, Event, Requester
from quicklime.lifecycle.certificate import REVOCATION_REASONS
from quicklime.pki.csr import CheckedCSR
from quicklime.pki.names import canonical
from quicklime.policy import Identity, may_see
from quicklime.projection import State
from quicklime.services.cfssl import wire
from quicklime.telemetry import Lines, Metrics
from quicklime.web.auth import Guard, address_of
from quicklime.web.limits import read_body
from quicklime.web.render import body_of, json_response, pem

PREFIX = "/api/v1/cfssl"
RSA_BITS = (2048, 3072, 4096)
CURVES: Mapping[int, ec.EllipticCurve] = {256: ec.SECP256R1(), 384: ec.SECP384R1()}

Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthKey:
    """A configured key of ``authsign`` and what its holder may have."""

    key: bytes
    names: tuple[str, ...]
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desks:
    """What this service works with. ``read`` gives the event at an offset of the log."""

    issuance: IssuanceDesk
    revocation: RevocationDesk
    refusals: RefusalDesk
    issuers: Issuers
    state: State
    read: Callable[[int], Event]
    guard: Guard
    parse_csr: Callable[[bytes], CheckedCSR]
    auth_keys: Mapping[str, AuthKey]
    default_profile: str
    body_octets_max: int
    metrics: Metrics
    lines: Lines


def routes(desks: Desks) -> list[Route]:
    """The routes of this service."""
    service = _Service(desks)

    def route(name: str, work: Callable[[Request], Awaitable[object]]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                return json_response(wire.success(await work(request)))
            except Refused as refused:
                # in CFSSL's words, but for what every client of HTTP must understand
                if refused.code in {Code.RATE_LIMITED, Code.REQUEST_TOO_LARGE, Code.BUSY}:
                    raise
                status, body = wire.failure(refused)
                return json_response(body, status)

        endpoint.__name__ = f"cfssl_{name}"
        return Route(f"{PREFIX}/{name}", endpoint, methods=["POST"])

    return [
        route("sign", service.sign),
        route("authsign", service.authsign),
        route("newcert", service.newcert),
        route("newkey", service.newkey),
        route("info", service.info),
        route("certinfo", service.certinfo),
        route("revoke", service.revoke),
        route("bundle", service.bundle),
    ]


class _Service:
    def __init__(self, desks: Desks) -> None:
        self._desks = desks

    async def sign(self, request: Request) -> object:
        identity = self._desks.guard.identify(request)
        asked = await self._body(request, wire.Sign)
        return self._signed(await self._issue(identity, asked), bundle=asked.bundle)

    async def authsign(self, request: Request) -> object:
        guard = self._desks.guard
        address = address_of(request)
        if not guard.failures.allows(address):
            raise guard.failures.refusal()
        sealed = await self._body(request, wire.AuthSign)
        found = wire.authenticated(sealed, {label: one.key for label, one in self._desks.auth_keys.items()})
        if found is None:
            guard.failures.note(address)
            raise Refused(Code.UNAUTHENTICATED, "the token is not by a key that is configured here")
        label, octets = found
        asked = body_of(octets, wire.Sign)
        granted = self._desks.auth_keys[label]
        identity = Identity(
            requester=Requester(kind="cfssl", id=label, role="requester"),
            role="requester",
            names=granted.names,
            profiles=granted.profiles,
            label=label,
        )
        return self._signed(await self._issue(identity, asked), bundle=asked.bundle)

    async def newcert(self, request: Request) -> object:
        identity = self._desks.guard.identify(request)
        asked = await self._body(request, wire.NewCertificate)
        key, csr = await asyncio.to_thread(_made, asked.request)
        grant = await self._issue(
            identity,
            wire.Sign(certificate_request=csr, profile=asked.profile, hosts=asked.request.hosts),
        )
        return {"private_key": key, "certificate_request": csr} | self._signed(grant, bundle=asked.bundle)

    async def newkey(self, request: Request) -> object:
        self._desks.guard.identify(request)
        asked = await self._body(request, wire.CertificateRequest)
        key, csr = await asyncio.to_thread(_made, asked)
        return {"private_key": key, "certificate_request": csr}

    async def info(self, request: Request) -> object:
        asked = await self._body(request, wire.Info)
        active = self._desks.issuers.active()
        profile = self._desks.issuers.profile(asked.profile or self._desks.default_profile, public=True)
        return {
            "certificate": pem(active.facts.certificate).decode(),
            "usages": [*profile.key_usage, *profile.extended_key_usage],
            "expiry": f"{profile.validity_seconds // 3600}h",
        }

    async def certinfo(self, request: Request) -> object:
        asked = await self._body(request, wire.CertInfo)
        if asked.domain:
            # whoever makes us connect to a name of theirs looks through us at our network
            raise Refused(
                Code.REQUEST_MALFORMED,
                "a domain is not looked up, expected certificate or serial",
                field="domain",
            )
        if asked.certificate:
            return wire.described(wire.parse_certificate(asked.certificate))
        return wire.described(
            x509.load_der_x509_certificate(self._issued(request, wire.serial_of(asked.serial)))
        )

    async def revoke(self, request: Request) -> object:
        identity = self._desks.guard.identify(request)
        asked = await self._body(request, wire.Revoke)
        serial, reason = wire.serial_of(asked.serial), wire.reason_of(asked.reason)
        certificate = self._desks.state.certificate(serial)
        key_id = wire.key_id_of(asked.authority_key_id)
        if certificate is not None and key_id and key_id != certificate.issuer:
            raise Refused(Code.CERTIFICATE_UNKNOWN, f"serial {serial} is not of issuer {key_id[:40]!r}")
        revoked = await self._desks.revocation.revoke(
            RevokeCommand(serial=serial, reason=reason, identity=identity)
        )
        if not revoked.repeated:
            self._desks.metrics.revocations.labels(REVOCATION_REASONS[reason]).inc()
            self._desks.lines.revoked(serial, reason)
        return {}

    async def bundle(self, request: Request) -> object:
        asked = await self._body(request, wire.Bundle)
        if asked.domain or not asked.certificate:
            raise Refused(
                Code.REQUEST_MALFORMED, "only a certificate is bundled, in PEM", field="certificate"
            )
        leaf = wire.parse_certificate(asked.certificate)
        issuers = self._desks.issuers
        authority = issuers.authority()
        for one in authority.intermediates:
            intermediate = x509.load_der_x509_certificate(one.certificate)
            if leaf.issuer == intermediate.subject and _is_by(leaf, intermediate):
                root = x509.load_der_x509_certificate(authority.roots[0].certificate)
                return wire.bundled(leaf, [leaf, intermediate], root)
        raise Refused(Code.CERTIFICATE_UNKNOWN, "the certificate is not by an issuer of this authority")

    # --- in common --------------------------------------------------------------------------------------------------

    async def _body(self, request: Request, shape: type[Asked]) -> Asked:
        return body_of(await read_body(request, self._desks.body_octets_max), shape)

    async def _issue(self, identity: Identity, asked: wire.Sign) -> Granted:
        desks = self._desks
        try:
            csr = desks.parse_csr(asked.certificate_request.encode())
            grant = await desks.issuance.issue(
                IssueCommand(
                    identity=identity,
                    csr=csr,
                    profile=asked.profile or desks.default_profile,
                    names=canonical(asked.names) if asked.names else None,
                )
            )
        except Refused as refused:
            await desks.refusals.note("issue", identity.requester, refused)
            raise
        found = grant.certificate
        desks.metrics.certificates.labels("issue", found.profile).inc()
        desks.lines.issued(found.serial, found.names, found.profile, identity.requester.id, grant.offset)
        return grant

    def _signed(self, grant: Granted, *, bundle: bool) -> dict[str, object]:
        """CFSSL's answer holds the leaf alone; who asks for the bundle gets the chain, in our envelope's own member."""
        result: dict[str, object] = {"certificate": pem(grant.chain[0]).decode()}
        if bundle:
            chain = [x509.load_der_x509_certificate(one) for one in grant.chain]
            root = x509.load_der_x509_certificate(self._desks.issuers.authority().roots[0].certificate)
            result["bundle"] = wire.bundled(chain[0], chain, root)
        return result

    def _issued(self, request: Request, serial: str) -> bytes:
        """The certificate with this serial, for who may see it. Raises Refused."""
        identity = self._desks.guard.identify(request)
        certificate = self._desks.state.certificate(serial)
        if (
            certificate is None
            or certificate.issued_offset is None
            or not may_see(identity, serial, certificate.requester)
        ):
            raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {serial}")
        event = self._desks.read(certificate.issued_offset)
        if not isinstance(event, CertificateIssued):
            raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {serial}")
        return event.certificate


def _is_by(leaf: x509.Certificate, intermediate: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(intermediate)
    except Exception:  # noqa: BLE001  a stranger's certificate fails in many ways, each of them means no
        return False
    return True


def _made(asked: wire.CertificateRequest) -> tuple[str, str]:
    """A new key and its CSR, both PEM. Raises Refused."""
    kind = asked.key or wire.KeyRequest()
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind.algo == "ecdsa" and kind.size in CURVES:
        key = ec.generate_private_key(CURVES[kind.size])
    elif kind.algo == "rsa" and kind.size in RSA_BITS:
        key = rsa.generate_private_key(65_537, kind.size)
    else:
        raise Refused(
            Code.KEY_TYPE_NOT_ALLOWED,
            f"key {kind.algo[:20]!r} of {kind.size} bits, expected ecdsa of {sorted(CURVES)!r} or rsa of {RSA_BITS!r}",
            field="key",
        )
    names = canonical(asked.hosts or ([asked.CN] if asked.CN else []))
    if not names:
        raise Refused(Code.NAMES_MISSING, "no hosts", field="hosts")
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(asked.CN))
    san = x509.SubjectAlternativeName([_general(name) for name in names])
    csr = builder.add_extension(san, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private.decode(), csr.public_bytes(Encoding.PEM).decode()


def _subject(common_name: str) -> x509.Name:
    if not common_name:
        return x509.Name([])
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    except ValueError:
        raise Refused(Code.CSR_MALFORMED, "CN is not 1 to 64 characters", field="CN") from None


def _general(name: str) -> x509.GeneralName:
    if name.startswith("dns:"):
        return x509.DNSName(name[4:])
    return x509.IPAddress(ip_address(name[3:]))
