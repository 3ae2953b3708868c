"""OCSP requests from strangers are read or malformed, never anything else; responses read the same to `cryptography`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as peer
from hypothesis import given
from hypothesis import strategies as st

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.pki import der, ocsp
from quicklime.pki.profile import BUILTIN
from tests.support.lab import DAY, NOW, lab

SERIAL = 0x4F << 152 | 7
HASHES: tuple[tuple[hashes.HashAlgorithm, bytes], ...] = (
    (hashes.SHA1(), ocsp.SHA1),
    (hashes.SHA256(), ocsp.SHA256),
)
NONCE_OID = der.object_identifier("1.3.6.1.5.5.7.48.1.2")


def hashed(algorithm: hashes.HashAlgorithm) -> peer.OCSPRequest:
    """A request about a certificate of ours; `cryptography` hashes the issuer's name and key itself."""
    leaf = x509.load_der_x509_certificate(lab().sign(lab().tbs()))
    issuer = x509.load_der_x509_certificate(lab().intermediate)
    return peer.OCSPRequestBuilder().add_certificate(leaf, issuer, algorithm).build()


def asked(
    serial: int = SERIAL, nonce: bytes | None = None, algorithm: hashes.HashAlgorithm | None = None
) -> bytes:
    """A request as `cryptography` makes it."""
    algorithm = algorithm or hashes.SHA1()
    by = hashed(algorithm)
    builder = peer.OCSPRequestBuilder().add_certificate_by_hash(
        by.issuer_name_hash, by.issuer_key_hash, serial, algorithm
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def cert_id(serial: int = SERIAL, *, parameters: bytes = der.NULL) -> bytes:
    oid, name_hash, key_hash = ocsp.issuer_hashes(lab().facts.subject_der, lab().facts.spki)[0]
    return der.sequence(
        der.sequence(oid, parameters),
        der.octet_string(name_hash),
        der.octet_string(key_hash),
        der.integer(serial),
    )


def request(*cert_ids: bytes, before: bytes = b"", after: bytes = b"", signature: bytes = b"") -> bytes:
    """A request made by hand, to hold what no builder lets one write."""
    requests = der.sequence(*(der.sequence(one) for one in cert_ids))
    return der.sequence(der.sequence(before, requests, after), signature)


def extensions(*every: bytes) -> bytes:
    return der.explicit(2, der.sequence(*every))


def extension(oid: bytes, value: bytes, critical: bytes = b"") -> bytes:
    return der.sequence(oid, critical, der.octet_string(value))


@pytest.mark.parametrize(("algorithm", "oid"), HASHES, ids=("sha1", "sha256"))
def test_a_request_of_another_encoder(algorithm: hashes.HashAlgorithm, oid: bytes) -> None:
    found = ocsp.parse_request(asked(nonce=b"n" * 16, algorithm=algorithm))
    (one,) = found.cert_ids
    assert (one.hash_oid, one.serial) == (oid, SERIAL)
    assert (one.hash_oid, one.issuer_name_hash, one.issuer_key_hash) in ocsp.issuer_hashes(
        lab().facts.subject_der, lab().facts.spki
    )
    assert found.nonce == der.octet_string(b"n" * 16)


@pytest.mark.parametrize("octets", [1, 16, 32, 33, 128])
def test_a_nonce_of_1_to_128_octets(octets: int) -> None:
    assert ocsp.parse_request(asked(nonce=b"n" * octets)).nonce == der.octet_string(b"n" * octets)


@pytest.mark.parametrize("octets", [0, 129, 4000])
def test_no_other_nonce(octets: int) -> None:
    with pytest.raises(ocsp.OCSPMalformed, match=f"nonce of {octets} octets"):
        ocsp.parse_request(
            request(cert_id(), after=extensions(extension(NONCE_OID, der.octet_string(b"n" * octets))))
        )


def test_all_that_may_stand_in_a_request() -> None:
    """Version said although it is the default, a requestor's name, other extensions, a signature that nobody asked for."""
    name = der.explicit(1, der.explicit(4, lab().facts.subject_der))
    unknown = extension(der.object_identifier("1.3.6.1.5.5.7.48.1.4"), der.sequence())
    nonce = extension(NONCE_OID, der.octet_string(b"n"), der.boolean_true())
    signature = der.explicit(0, der.sequence(der.sequence(ocsp.SHA1), der.bit_string(b"s")))
    whole = request(
        cert_id(1),
        cert_id(2),
        before=der.explicit(0, der.integer(0)) + name,
        after=extensions(unknown, nonce),
        signature=signature,
    )
    found = ocsp.parse_request(whole)
    assert [one.serial for one in found.cert_ids] == [1, 2]
    assert [one.der for one in found.cert_ids] == [cert_id(1), cert_id(2)]
    assert found.nonce == der.octet_string(b"n")


def test_parameters_of_the_hash_are_null_or_absent() -> None:
    assert ocsp.parse_request(request(cert_id(parameters=b""))).cert_ids[0].serial == SERIAL
    for parameters in (der.octet_string(b"x"), der.NULL + der.NULL, der.sequence()):
        with pytest.raises(ocsp.OCSPMalformed, match="parameters"):
            ocsp.parse_request(request(cert_id(parameters=parameters)))


@pytest.mark.parametrize("algorithm", [one for one, _ in HASHES], ids=("sha1", "sha256"))
@pytest.mark.parametrize("octets", [None, 1, 8, 16, 32, 64, 100])
def test_the_commonest_form_is_taken_apart_as_the_parser_does(
    algorithm: hashes.HashAlgorithm, octets: int | None
) -> None:
    for serial in (1, 0x80, SERIAL):
        whole = asked(serial, None if octets is None else b"n" * octets, algorithm)
        read = ocsp.parse_request(whole)
        assert ocsp.common_form(whole) == (read.cert_ids[0].der, read.nonce)


def test_what_is_not_of_the_commonest_form_is_left_to_the_parser() -> None:
    critical = extensions(extension(NONCE_OID, der.octet_string(b"n" * 8), der.boolean_true()))
    other = extensions(
        extension(der.object_identifier("1.2.3"), b""), extension(NONCE_OID, der.octet_string(b"n" * 8))
    )
    version = der.explicit(0, der.integer(0))
    for whole in (
        request(cert_id(1), cert_id(2)),
        request(cert_id(), before=version),
        request(cert_id(), after=critical),
        request(cert_id(), after=other),
    ):
        ocsp.parse_request(whole)
        assert ocsp.common_form(whole) is None


KNOWN_CERT_IDS = (cert_id(), cert_id(1), cert_id(parameters=b""))


@given(data=st.data())
def test_octets_changed_are_taken_apart_as_the_parser_does_or_not_at_all(data: st.DataObject) -> None:
    """Whatever is said of a request whose CertID is known is what the strict parser says of it."""
    nonce = data.draw(st.none() | st.binary(min_size=0, max_size=130))
    after = b"" if nonce is None else extensions(extension(NONCE_OID, der.octet_string(nonce)))
    whole = bytearray(request(data.draw(st.sampled_from(KNOWN_CERT_IDS)), after=after))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        match data.draw(st.sampled_from(["change", "cut", "add"])):
            case "change":
                whole[place] = data.draw(st.integers(0, 255))
            case "cut":
                del whole[place]
            case _:
                whole.insert(place, data.draw(st.integers(0, 255)))
    found = ocsp.common_form(bytes(whole))
    if found is None or found[0] not in KNOWN_CERT_IDS:
        return
    read = ocsp.parse_request(bytes(whole))
    assert ([one.der for one in read.cert_ids], read.nonce) == ([found[0]], found[1])


@given(st.binary(max_size=300))
def test_octets_of_any_kind_are_taken_apart_or_not(data: bytes) -> None:
    ocsp.common_form(data)


def test_an_answer_with_nonce_made_of_pieces_is_the_same() -> None:
    nonce = der.octet_string(b"n" * 32)
    for status in (ocsp.GOOD, ocsp.revoked(NOW, 1)):
        single = ocsp.single(cert_id(), status, NOW - 60, NOW + DAY)
        pieces = ocsp.response_data_of_one(
            b"k" * 20, ocsp.Times.of(NOW, NOW - 60, NOW + DAY), cert_id(), status, nonce
        )
        assert pieces == ocsp.response_data(b"k" * 20, NOW, [single], nonce)


OTHER = der.object_identifier("1.2.3.4")
MALFORMED = {
    "nothing": b"",
    "no request": der.sequence(),
    "an empty list": request(),
    "too many CertIDs": request(*(cert_id(n) for n in range(1, ocsp.CERTIDS_MAX + 2))),
    "version 2": request(cert_id(), before=der.explicit(0, der.integer(1))),
    "octets after the end": request(cert_id()) + b"\0",
    "something after the extensions": request(
        cert_id(), after=extensions(extension(OTHER, b"")) + extensions()
    ),
    "a signature that is none": request(cert_id(), signature=der.octet_string(b"")),
    "two signatures": request(cert_id(), signature=der.explicit(0, der.sequence()) * 2),
    "a CertID of three parts": request(der.sequence(*der.children(cert_id())[:3])),
    "a serial of 33 octets": request(cert_id(1 << 258)),
    "a serial that is a string": request(der.sequence(*der.children(cert_id())[:3], der.octet_string(b"1"))),
    "a hash that is a number": request(
        der.sequence(der.children(cert_id())[0], der.integer(1), *der.children(cert_id())[2:])
    ),
    "a critical extension": request(cert_id(), after=extensions(extension(OTHER, b"", der.boolean_true()))),
    "a nonce twice": request(
        cert_id(), after=extensions(*[extension(NONCE_OID, der.octet_string(b"n"))] * 2)
    ),
    "a nonce without its OCTET STRING": request(cert_id(), after=extensions(extension(NONCE_OID, b"nonce"))),
    "a nonce that is a number": request(cert_id(), after=extensions(extension(NONCE_OID, der.integer(5)))),
    "an extension without value": request(cert_id(), after=extensions(der.sequence(OTHER))),
    "too many extensions": request(
        cert_id(),
        after=extensions(
            *(extension(der.object_identifier(f"1.2.3.{n}"), b"") for n in range(ocsp.EXTENSIONS_MAX + 1))
        ),
    ),
    "a request of three parts": der.sequence(
        der.sequence(der.sequence(der.sequence(cert_id(), der.explicit(0, der.sequence()), der.NULL)))
    ),
    "a critical extension of one CertID": der.sequence(
        der.sequence(
            der.sequence(
                der.sequence(
                    cert_id(), der.explicit(0, der.sequence(extension(OTHER, b"", der.boolean_true())))
                )
            )
        )
    ),
    "too large": request(cert_id(), after=extensions(extension(OTHER, bytes(ocsp.REQUEST_OCTETS_MAX)))),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data: bytes) -> None:
    with pytest.raises(ocsp.OCSPMalformed):
        ocsp.parse_request(data)


@given(st.binary(max_size=400))
def test_octets_of_any_kind_are_malformed(data: bytes) -> None:
    with pytest.raises(ocsp.OCSPMalformed):
        ocsp.parse_request(data)


@given(st.data())
def test_a_request_with_octets_changed_is_read_or_malformed(data: st.DataObject) -> None:
    octets = bytearray(
        request(cert_id(), cert_id(2), after=extensions(extension(NONCE_OID, der.octet_string(b"nonce"))))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(octets)))
    for whole in (bytes(octets), bytes(octets[:cut])):
        try:
            found = ocsp.parse_request(whole)
        except ocsp.OCSPMalformed:
            continue
        # what is read is made only of what stood there
        assert all(one.der in whole for one in found.cert_ids)


# --- responses ------------------------------------------------------------------------------------------------------


def delegate() -> tuple[FileSigner, bytes]:
    signer = FileSigner(generate("ecdsa-p256"), "memory:ocsp")
    here = lab()
    tbs = here.tbs(
        profile=BUILTIN["ocsp-responder"], spki=signer.public_key, names=(), not_after=NOW + DAY - 1
    )
    return signer, here.sign(tbs)


def answered(*singles: bytes, nonce: bytes | None = None) -> tuple[bytes, bytes]:
    signer, certificate = delegate()
    data = ocsp.response_data(ocsp.responder_key_hash(signer.public_key), NOW + 100, singles, nonce)
    return ocsp.assemble_response(data, signer.algorithm, signer.sign(data), certificate), certificate


STATUSES = {
    "good": (ocsp.GOOD, peer.OCSPCertStatus.GOOD, None, None),
    "unknown": (ocsp.UNKNOWN, peer.OCSPCertStatus.UNKNOWN, None, None),
    "revoked": (
        ocsp.revoked(NOW, 1),
        peer.OCSPCertStatus.REVOKED,
        x509.ReasonFlags.key_compromise,
        datetime.fromtimestamp(NOW, UTC),
    ),
    "revoked, unspecified": (
        ocsp.revoked(NOW, 0),
        peer.OCSPCertStatus.REVOKED,
        None,
        datetime.fromtimestamp(NOW, UTC),
    ),
}


@pytest.mark.parametrize(("status", "told", "reason", "moment"), STATUSES.values(), ids=STATUSES)
def test_an_answer_reads_the_same_to_another_reader(
    status: bytes, told: peer.OCSPCertStatus, reason: x509.ReasonFlags | None, moment: datetime | None
) -> None:
    single = ocsp.single(cert_id(), status, NOW, NOW + 3600)
    body, certificate = answered(single, nonce=der.octet_string(b"nonce"))
    found = peer.load_der_ocsp_response(body)
    assert found.response_status is peer.OCSPResponseStatus.SUCCESSFUL
    assert found.certificate_status is told
    assert found.revocation_reason is reason
    assert found.revocation_time_utc == moment
    assert (found.serial_number, found.produced_at_utc) == (SERIAL, datetime.fromtimestamp(NOW + 100, UTC))
    assert found.this_update_utc == datetime.fromtimestamp(NOW, UTC)
    assert found.next_update_utc == datetime.fromtimestamp(NOW + 3600, UTC)
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"nonce"
    (delegated,) = found.certificates
    assert delegated.public_bytes(Encoding.DER) == certificate
    key = delegated.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(found.signature, found.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    assert found.responder_name is None
    assert found.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(key).digest


def test_without_nonce_there_are_no_extensions() -> None:
    body, _ = answered(ocsp.single(cert_id(), ocsp.GOOD, NOW, NOW + 1))
    assert not list(peer.load_der_ocsp_response(body).extensions)


def test_several_answers_in_one_response() -> None:
    body, _ = answered(*(ocsp.single(cert_id(n), ocsp.GOOD, NOW, NOW + 1) for n in (1, 2, 3)))
    found = peer.load_der_ocsp_response(body)
    assert [one.serial_number for one in found.responses] == [1, 2, 3]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (ocsp.MALFORMED_REQUEST, peer.OCSPResponseStatus.MALFORMED_REQUEST),
        (ocsp.INTERNAL_ERROR, peer.OCSPResponseStatus.INTERNAL_ERROR),
        (ocsp.TRY_LATER, peer.OCSPResponseStatus.TRY_LATER),
        (ocsp.UNAUTHORIZED, peer.OCSPResponseStatus.UNAUTHORIZED),
    ],
)
def test_errors_are_five_octets(body: bytes, status: peer.OCSPResponseStatus) -> None:
    assert len(body) == 5
    assert peer.load_der_ocsp_response(body).response_status is status
