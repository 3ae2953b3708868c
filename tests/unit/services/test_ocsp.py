"""The responder: what it says, for how long, by which key, and what it says while it does not know.

Asked by requests of `cryptography`, answers read and verified by it: bytes to bytes, over HTTP as it stands in a request.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import sha1
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as peer
from cryptography.x509.oid import ExtendedKeyUsageOID

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.authority.commands import SystemCommand
from quicklime.authority.issuance import IssuanceDesk
from quicklime.pki.certificate import key_bits
from quicklime.services.ocsp.api import handler
from quicklime.services.ocsp.responder import Obtained, Responder
from quicklime.web.status_message import Handler, Request, Response
from tests.support.authority import Authority
from tests.support.lab import DAY, lab

HOUR = 3600
VALIDITY_SECONDS = 12 * HOUR
UNKNOWN_SERIAL = 0x4F << 152 | 7
HASHES = (hashes.SHA1(), hashes.SHA256())


@dataclass(slots=True, kw_only=True)
class Desk:
    """A responder as `wiring.serving` puts it together, and one who asks it."""

    authority: Authority
    responder: Responder
    handle: Handler
    knows: list[bool] = field(default_factory=lambda: [True])

    def ask(
        self, serial: str | int, *, by: hashes.HashAlgorithm | None = None, nonce: bytes | None = None
    ) -> Response:
        return self.post(request(serial, by=by, nonce=nonce))

    def post(self, body: bytes, headers: dict[bytes, bytes] | None = None) -> Response:
        given = {b"content-type": b"application/ocsp-request"} | (headers or {})
        return self.handle(Request(method="POST", target=b"/ocsp", headers=given, body=body))

    def get(self, target: str, headers: dict[bytes, bytes] | None = None) -> Response:
        return self.handle(Request(method="GET", target=target.encode(), headers=headers or {}, body=b""))

    async def revoke(self, serial: str, reason: str = "superseded") -> None:
        path = f"/v1/certificates/{serial}/revocation"
        answer = await self.authority.ask("POST", path, token=self.authority.admin, json={"reason": reason})
        assert answer.status_code == 200, answer.text

    @contextmanager
    def away_from_the_log(self) -> Iterator[None]:
        self.knows[0] = False
        yield
        self.knows[0] = True


def request(
    serial: str | int,
    *,
    by: hashes.HashAlgorithm | None = None,
    nonce: bytes | None = None,
    issuer: bytes = b"",
) -> bytes:
    """An OCSPRequest (DER) for a certificate of ``issuer`` (DER), the lab's intermediate by default."""
    digest = by or hashes.SHA1()
    certificate = x509.load_der_x509_certificate(issuer or lab().intermediate)
    name, key = hashes.Hash(digest), hashes.Hash(digest)
    name.update(certificate.subject.public_bytes())
    key.update(key_bits(lab().facts.spki if not issuer else spki_of(certificate)))
    builder = peer.OCSPRequestBuilder().add_certificate_by_hash(
        name.finalize(), key.finalize(), int(serial, 16) if isinstance(serial, str) else serial, digest
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def spki_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read(response: Response) -> peer.OCSPResponse:
    """A successful answer whose signature was verified by the certificate in it, and that by the issuer."""
    assert response.status == 200
    assert response.media_type == "application/ocsp-response"
    assert isinstance(response.body, bytes)
    found = peer.load_der_ocsp_response(response.body)
    assert found.response_status is peer.OCSPResponseStatus.SUCCESSFUL
    (delegate,) = found.certificates
    key = delegate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(found.signature, found.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    # RFC 6960, Section 4.2.2.2: by the same issuer key that the certificates in question are by
    delegate.verify_directly_issued_by(x509.load_der_x509_certificate(lab().intermediate))
    return found


def told(response: Response) -> str:
    return read(response).certificate_status.name.lower()


def refused(response: Response) -> str:
    """The error of an unsuccessful answer, which holds nothing else and which nobody keeps."""
    assert response.status == 200
    assert isinstance(response.body, bytes)
    found = peer.load_der_ocsp_response(response.body)
    # RFC 6960, Section 4.2.1: responseBytes only where the request was answered; an ENUMERATED of one octet is left
    assert len(response.body) == 5
    assert dict(response.headers) == {"cache-control": "no-store"}
    return found.response_status.name.lower()


async def responder_of(authority: Authority, knows: list[bool]) -> Responder:
    async def obtain(issuer: str, spki: bytes, predecessor: str | None) -> Obtained:
        return await certified(authority.issuance, issuer, spki, predecessor)

    responder = Responder(
        store=authority.store,
        authority=authority.state.authority,
        obtain=obtain,
        new_signer=lambda: FileSigner(generate("ecdsa-p256"), "memory:ocsp"),
        clock=authority.clock,
        trusted=lambda: knows[0],
        validity_seconds=VALIDITY_SECONDS,
        metrics=authority.metrics,
    )
    await responder.renew_where_due((lab().facts.issuer,))
    return responder


async def certified(issuance: IssuanceDesk, issuer: str, spki: bytes, predecessor: str | None) -> Obtained:
    grant = await issuance.issue_to_system(
        SystemCommand(
            profile="ocsp-responder",
            names=(),
            public_key=spki,
            key_type="ecdsa-p256",
            node="ocsp",
            issuer=issuer,
            predecessor=predecessor,
        )
    )
    one = grant.certificate
    return Obtained(
        certificate=grant.chain[0], serial=one.serial, not_before=one.not_before, not_after=one.not_after
    )


@pytest.fixture
async def desk(authority: Authority) -> Desk:
    knows = [True]
    responder = await responder_of(authority, knows)
    return Desk(
        authority=authority,
        responder=responder,
        handle=handler(responder, authority.clock),
        knows=knows,
    )


# --- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", HASHES, ids=("sha1", "sha256"))
async def test_good_then_revoked_in_the_very_next_answer_by_each_hash_and_way(
    desk: Desk, by: hashes.HashAlgorithm
) -> None:
    serial = (await desk.authority.issued())["serial"]
    path = "/ocsp/" + quote(b64encode(request(serial, by=by)).decode(), safe="")
    for _ in range(2):  # the second is from the cache
        found = read(desk.ask(serial, by=by))
        assert (found.certificate_status, found.serial_number) == (
            peer.OCSPCertStatus.GOOD,
            int(serial, 16),
        )
        assert isinstance(found.hash_algorithm, type(by))
        assert told(desk.get(path)) == "good"
    etag = dict(desk.get(path).headers)["etag"]
    await desk.revoke(serial)
    found = read(desk.ask(serial, by=by))
    assert found.certificate_status is peer.OCSPCertStatus.REVOKED
    assert found.revocation_reason is x509.ReasonFlags.superseded
    assert found.revocation_time_utc is not None
    assert int(found.revocation_time_utc.timestamp()) == desk.authority.clock.now
    assert told(desk.get(path)) == "revoked"
    # who kept the old answer does not hear that it is still the same
    assert desk.get(path, {b"if-none-match": etag.encode()}).status == 200


async def test_what_was_not_issued_is_unknown_and_never_good(desk: Desk) -> None:
    assert told(desk.ask(UNKNOWN_SERIAL)) == "unknown"
    for serial in (0, 1, 1 << 160, (1 << 200) - 1):
        assert told(desk.ask(serial)) == "unknown"
    # nobody keeps it: the certificate may be issued in the next second
    assert dict(desk.ask(UNKNOWN_SERIAL).headers) == {"cache-control": "no-store"}


async def test_serials_that_were_never_issued_fill_no_cache(desk: Desk) -> None:
    for serial in range(1, 50):
        desk.ask(serial)
    assert len(desk.responder._cache) == 0
    serial = (await desk.authority.issued())["serial"]
    desk.ask(serial)
    assert len(desk.responder._cache) == 1


async def test_a_serial_of_ours_under_another_issuers_name_or_key_is_not_answered_for(desk: Desk) -> None:
    serial = (await desk.authority.issued())["serial"]
    assert refused(desk.post(request(serial, issuer=lab("ecdsa-p384").intermediate))) == "unauthorized"
    assert refused(desk.post(request(serial, issuer=lab().root))) == "unauthorized"
    # a hash that is none of ours, and one that fits in half
    ours = peer.load_der_ocsp_request(request(serial))
    half = peer.OCSPRequestBuilder().add_certificate_by_hash(
        ours.issuer_name_hash, bytes(20), int(serial, 16), hashes.SHA1()
    )
    assert refused(desk.post(half.build().public_bytes(Encoding.DER))) == "unauthorized"
    assert refused(desk.ask(serial, by=hashes.SHA384())) == "unauthorized"


async def test_an_expired_certificate_keeps_its_status(desk: Desk) -> None:
    serial = (await desk.authority.issued(validity_seconds=HOUR))["serial"]
    await desk.revoke(serial)
    desk.authority.clock.advance(2 * HOUR)
    assert told(desk.ask(serial)) == "revoked"


@pytest.mark.parametrize(
    "body",
    [b"", b"\x30\x00", b"\xff" * 100, request(1)[:-1], request(1) + b"\x00"],
    # named, since a request's own octets differ from run to run
    ids=["nothing", "empty", "no DER", "cut off", "one too many"],
)
async def test_what_is_no_request_is_told_in_ocsps_own_words(desk: Desk, body: bytes) -> None:
    assert refused(desk.post(body)) == "malformed_request"


# --- by whom ----------------------------------------------------------------------------------------------------------


async def test_the_key_that_answers_is_delegated_for_nothing_else_and_not_for_long(desk: Desk) -> None:
    found = read(desk.ask(UNKNOWN_SERIAL))
    (delegate,) = found.certificates
    usage = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    # RFC 6960, Section 4.2.2.2.1
    assert not delegate.extensions.get_extension_for_class(x509.OCSPNoCheck).critical
    assert delegate.not_valid_after_utc - delegate.not_valid_before_utc <= 8 * (at(DAY) - at(0))
    # RFC 6960, Section 4.2.1: byKey is SHA-1 of the key's bits
    assert found.responder_key_hash == sha1(key_bits(spki_of(delegate)), usedforsecurity=False).digest()
    assert found.responder_name is None


async def test_a_new_key_is_made_half_way_and_answers_never_outlive_the_one_that_signed_them(
    desk: Desk,
) -> None:
    serial = (await desk.authority.issued())["serial"]
    (first,) = read(desk.ask(serial)).certificates
    issuers = (lab().facts.issuer,)
    desk.authority.clock.advance(2 * DAY)
    assert await desk.responder.renew_where_due(issuers) == []
    desk.authority.clock.advance(2 * DAY)
    (made,) = await desk.responder.renew_where_due(issuers)
    (second,) = read(desk.ask(serial)).certificates
    assert second.serial_number == int(made.serial, 16) != first.serial_number
    # nobody came to renew it: the answers end with the certificate, and then there are none
    desk.authority.clock.now = made.not_after - HOUR
    assert moment(read(desk.ask(serial)).next_update_utc) == made.not_after
    desk.authority.clock.now = made.not_after
    assert refused(desk.ask(serial)) == "try_later"


# --- for how long -----------------------------------------------------------------------------------------------------


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()


def moment(time: datetime | None) -> int:
    assert time is not None
    assert time.microsecond == 0
    return int(time.timestamp())


async def test_now_lies_within_the_answer_and_caches_keep_it_no_longer(desk: Desk) -> None:
    serial = (await desk.authority.issued())["serial"]
    response = desk.ask(serial)
    found, now, headers = read(response), desk.authority.clock.now, dict(response.headers)
    assert moment(found.this_update_utc) < now < moment(found.next_update_utc)
    assert moment(found.produced_at_utc) == now
    # RFC 5019, Section 6.2
    directives = headers["cache-control"].split(", ")
    assert directives == [f"max-age={VALIDITY_SECONDS}", "public", "no-transform", "must-revalidate"]
    assert parsedate_to_datetime(headers["expires"]) == found.next_update_utc
    assert parsedate_to_datetime(headers["last-modified"]) == found.this_update_utc
    desk.authority.clock.advance(HOUR)
    assert dict(desk.ask(serial).headers)["cache-control"].startswith(f"max-age={VALIDITY_SECONDS - HOUR},")


async def test_an_answer_is_kept_to_half_its_life_and_then_signed_anew(desk: Desk) -> None:
    serial = (await desk.authority.issued())["serial"]
    first = desk.ask(serial)
    desk.authority.clock.advance(VALIDITY_SECONDS // 2 - 2 * 60)
    assert desk.ask(serial).body == first.body
    desk.authority.clock.advance(4 * 60)
    second = desk.ask(serial)
    assert second.body != first.body
    assert dict(second.headers)["etag"] != dict(first.headers)["etag"]


async def test_who_has_the_answer_is_told_that_it_is_the_same(desk: Desk) -> None:
    serial = (await desk.authority.issued())["serial"]
    path = "/ocsp/" + quote(b64encode(request(serial)).decode(), safe="")
    headers = dict(desk.get(path).headers)
    # RFC 9110, Section 13.1.2
    for said in (headers["etag"], f'"other", W/{headers["etag"]}', "*"):
        again = desk.get(path, {b"if-none-match": said.encode()})
        assert (again.status, again.body, dict(again.headers)) == (304, b"", headers)
    assert desk.get(path, {b"if-none-match": b'"other"'}).status == 200
    # an answer to a POST is not conditional
    assert desk.post(request(serial), {b"if-none-match": headers["etag"].encode()}).status == 200


@pytest.mark.parametrize("length", [1, 32, 128])
async def test_a_nonce_is_told_back_and_the_answer_is_kept_by_nobody(desk: Desk, length: int) -> None:
    serial = (await desk.authority.issued())["serial"]
    kept = desk.ask(serial)
    response = desk.ask(serial, nonce=b"n" * length)
    found = read(response)
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"n" * length
    assert dict(response.headers) == {"cache-control": "no-store"}
    # and it takes nobody's place in the cache
    assert desk.ask(serial).body == kept.body


@pytest.mark.parametrize("length", [0, 129, 10_000])
async def test_another_nonce_is_malformed(desk: Desk, length: int) -> None:
    # RFC 9654, Section 2.1
    assert refused(desk.ask(UNKNOWN_SERIAL, nonce=b"n" * length)) == "malformed_request"


# --- while it does not know ---------------------------------------------------------------------------------------------


async def test_away_from_the_log_what_is_kept_is_served_to_its_end_and_nothing_is_signed(desk: Desk) -> None:
    kept, other = [(await desk.authority.issued())["serial"] for _ in range(2)]
    first = desk.ask(kept)
    with desk.away_from_the_log():
        assert refused(desk.ask(other)) == "try_later"
        assert refused(desk.ask(kept, nonce=b"n")) == "try_later"
        # past the half of its life, at which it would be signed anew
        desk.authority.clock.advance(VALIDITY_SECONDS - 60)
        assert desk.ask(kept).body == first.body
        desk.authority.clock.advance(60)
        assert refused(desk.ask(kept)) == "try_later"
    assert told(desk.ask(kept)) == "good"


async def test_before_there_is_a_key_it_asks_to_come_back(authority: Authority) -> None:
    async def never(issuer: str, spki: bytes, predecessor: str | None) -> Obtained:
        raise AssertionError((issuer, spki, predecessor))

    responder = Responder(
        store=authority.store,
        authority=authority.state.authority,
        obtain=never,
        new_signer=lambda: FileSigner(generate("ecdsa-p256"), "memory:ocsp"),
        clock=authority.clock,
        trusted=lambda: True,
        validity_seconds=VALIDITY_SECONDS,
        metrics=authority.metrics,
    )
    assert responder.answer(request(UNKNOWN_SERIAL)).body == b"\x30\x03\x0a\x01\x03"


# --- over HTTP --------------------------------------------------------------------------------------------------------


def forms(serial: str) -> Iterator[str]:
    text = b64encode(request(serial)).decode()
    yield "/ocsp/" + quote(text, safe="")
    yield "/ocsp/" + quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b")
    yield "/ocsp/" + text
    yield "/ocsp//" + text
    yield "/ocsp/" + text.rstrip("=")
    yield "/ocsp/" + text.replace("+", " ").replace(" ", "%20")


async def test_a_path_in_the_forms_that_clients_write(desk: Desk) -> None:
    """RFC 6960, Appendix A.1: base64, percent-encoded; and what clients and proxies make of it."""
    serials: list[str] = []
    texts = ""
    # serials are random: as many as it takes to have both characters that paths make trouble with
    while not {"/", "+"} <= set(texts) or len(serials) < 8:
        serials.append((await desk.authority.issued())["serial"])
        texts += b64encode(request(serials[-1])).decode()
    for serial in serials:
        for form in forms(serial):
            assert read(desk.get(form)).serial_number == int(serial, 16), form


@pytest.mark.parametrize("path", ["/ocsp", "/ocsp/", "/ocsp/%00", "/ocsp/!!!", "/ocsp/" + "A" * 8000])
async def test_a_path_that_is_no_request_is_malformed(desk: Desk, path: str) -> None:
    assert refused(desk.get(path)) == "malformed_request"


async def test_what_http_itself_refuses(desk: Desk) -> None:
    body = request(UNKNOWN_SERIAL)
    assert desk.post(body, {b"content-type": b"text/plain"}).status == 415
    put = desk.handle(Request(method="PUT", target=b"/ocsp", headers={}, body=body))
    assert (put.status, dict(put.headers)) == (405, {"allow": "GET, HEAD, POST"})
    elsewhere = Request(
        method="POST",
        target=b"/ocsp/elsewhere",
        headers={b"content-type": b"application/ocsp-request"},
        body=body,
    )
    assert desk.handle(elsewhere).status == 404
    accepted = desk.post(body, {b"content-type": b"Application/OCSP-Request; charset=x"})
    assert told(accepted) == "unknown"
