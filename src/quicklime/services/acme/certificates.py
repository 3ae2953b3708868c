"""Certificates: fetched, revoked, and when to renew them (RFC 8555, Sections 7.4.2 and 7.6; RFC 9773)."""

from __future__ import annotations

from cryptography import x509
from starlette.responses import Response

from quicklime.authority.revocation import RevokeCommand
from quicklime.events import CertificateIssued, Requester
from quicklime.lifecycle.certificate import REVOCATION_REASONS, Certificate
from quicklime.pki.jws import Unacceptable, octets_of
from quicklime.projection.stream import INDEX
from quicklime.services.acme import view
from quicklime.services.acme.exchange import Desks, Exchange, document
from quicklime.services.acme.wire import Problem, Revoke, serial_of_id
from quicklime.web.render import pem, pem_of_issuer, timestamp

CHAIN_MEDIA_TYPE = "application/pem-certificate-chain"
# RFC 9773, Section 4.3: how long before one asks again
ASK_AGAIN_SECONDS_MAX = 6 * 3600
ASK_AGAIN_SECONDS_MIN = 60


async def certificate(exchange: Exchange) -> Response:
    """The chain, leaf first; ``/1`` with the root at its end, for who wants it there (an alternate)."""
    exchange.only_reads()
    desks = exchange.desks
    found = desks.state.certificate(exchange.path("serial")) if _is_serial(exchange.path("serial")) else None
    if found is None or found.issued_offset is None:
        raise Problem("malformed", "no such certificate", status=404)
    if found.requester != exchange.requester:
        raise Problem("unauthorized", "this certificate is another account's")
    chain = [pem(_octets(desks, found)), *map(pem_of_issuer, desks.issuers.chain(found.issuer))]
    alternate = exchange.request.path_params.get("alternate")
    url = exchange.url("cert", found.serial)
    if alternate is None:
        link = f'<{url}/1>;rel="alternate"'
    elif alternate == "1":
        chain += [pem_of_issuer(root.certificate) for root in desks.issuers.authority().roots[:1]]
        link = f'<{url}>;rel="alternate"'
    else:
        raise Problem("malformed", "no such chain", status=404)
    return Response(b"".join(chain), 200, {"link": link}, CHAIN_MEDIA_TYPE)


async def revoke(exchange: Exchange) -> Response:
    """By the account that got it, by its key, or by an account that has proved all its names (RFC 8555, Section 7.6)."""
    asked = exchange.asked(Revoke)
    desks = exchange.desks
    found = _presented(desks, asked.certificate)
    requester = _revoker(exchange, found)
    if asked.reason not in REVOCATION_REASONS:
        raise Problem(
            "badRevocationReason", f"reason {asked.reason} is not one of {sorted(REVOCATION_REASONS)!r}"
        )
    revoked = await desks.revocation.revoke(
        RevokeCommand(serial=found.serial, reason=asked.reason, proved=requester)
    )
    if revoked.repeated:
        raise Problem("alreadyRevoked", f"certificate {found.serial} is revoked already")
    desks.metrics.revocations.labels(REVOCATION_REASONS[asked.reason]).inc()
    desks.lines.revoked(found.serial, asked.reason)
    return Response(status_code=200)


def _presented(desks: Desks, text: str) -> Certificate:
    """The certificate of ours that was sent, whole: a forged one with a real serial is none. Raises Problem."""
    try:
        octets = octets_of(text, "certificate")
        serial = f"{x509.load_der_x509_certificate(octets).serial_number:040x}"
    except (Unacceptable, ValueError):
        raise Problem("malformed", "certificate is not DER in base64url") from None
    found = desks.state.certificate(serial) if _is_serial(serial) else None
    if found is None or found.issued_offset is None or _octets(desks, found) != octets:
        raise Problem("malformed", "this authority issued no such certificate", status=404)
    return found


def _revoker(exchange: Exchange, found: Certificate) -> Requester:
    if exchange.known is None:
        if exchange.key.spki != found.public_key:
            raise Problem("unauthorized", "the request is not signed with the certificate's key")
        return Requester(kind="possession", id=found.serial)
    requester = exchange.requester
    if found.requester != requester and not _has_proved_all(exchange, found):
        raise Problem(
            "unauthorized", "the certificate is not this account's, and it has not proved every name of it"
        )
    return requester


def _has_proved_all(exchange: Exchange, found: Certificate) -> bool:
    desks, now = exchange.desks, exchange.desks.clock()
    for name in found.names:
        wildcard = name.startswith("dns:*.")
        bare = f"dns:{name[6:]}" if wildcard else name
        key = view.proved_key(exchange.account.account, bare, wildcard=wildcard)
        identifier = desks.protocol.store.get(INDEX, key)
        one = None if identifier is None else desks.protocol.orders.authorization(identifier.decode())
        if one is None or one.status_at(now) != "valid":
            return False
    return True


def renewal_info(desks: Desks, identifier: str) -> Response:
    """When to renew (RFC 9773, Section 4): at two thirds of its life; at once where it is revoked. Raises Problem."""
    issuer, serial = serial_of_id(identifier)
    found = desks.state.certificate(serial)
    if found is None or found.issued_offset is None or found.issuer != issuer:
        raise Problem("malformed", "no such certificate", status=404)
    lifetime = found.not_after - found.not_before
    start = found.not_before + lifetime * 2 // 3
    end = start + max(1, lifetime // 20)
    if found.revocation is not None:
        start, end = found.revocation.revoked_at - 3600, found.revocation.revoked_at
    again = min(ASK_AGAIN_SECONDS_MAX, max(ASK_AGAIN_SECONDS_MIN, lifetime // 100))
    return document(
        {"suggestedWindow": {"start": timestamp(start), "end": timestamp(end)}},
        200,
        {"retry-after": str(again)},
    )


def _octets(desks: Desks, found: Certificate) -> bytes:
    assert found.issued_offset is not None
    issued = desks.read(found.issued_offset)
    assert isinstance(issued, CertificateIssued)
    return issued.certificate


def _is_serial(text: str) -> bool:
    return len(text) == 40 and set(text) <= set("0123456789abcdef")
