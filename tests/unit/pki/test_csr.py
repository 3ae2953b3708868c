"""Requests as clients make them, and what is taken from them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from quicklime.errors import Code, Refused
from quicklime.pki.csr import parse
from quicklime.pki.keys import BlockedKeys
from quicklime.pki.names import NAMES_MAX, canonical
from vectors import requests

Builder = x509.CertificateSigningRequestBuilder
P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


def builder(*names: str, common_name: str = "") -> Builder:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    made = Builder().subject_name(x509.Name(subject))
    if names:
        san = x509.SubjectAlternativeName([_general_name(name) for name in names])
        made = made.add_extension(san, critical=False)
    return made


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def signed(made: Builder) -> bytes:
    return made.sign(P256, hashes.SHA256()).public_bytes(Encoding.DER)


def codes(data: bytes) -> list[Code]:
    with pytest.raises(Refused) as caught:
        parse(data)
    assert all(reason.field for reason in caught.value.reasons)
    return [reason.code for reason in caught.value.reasons]


def test_a_request_is_its_key_and_its_names() -> None:
    data = signed(builder("b.internal", "A.internal", "10.0.0.1", "fd00::1", common_name="b.internal"))
    checked = parse(data)
    spki = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert checked.der == data
    assert checked.spki == spki
    assert checked.spki_sha256 == sha256(spki).hexdigest()
    assert checked.key_type == "ecdsa-p256"
    assert checked.names == ("dns:a.internal", "dns:b.internal", "ip:10.0.0.1", "ip:fd00::1")
    assert checked.common_name == "dns:b.internal"


@pytest.mark.parametrize(
    ("key", "algorithm", "key_type"),
    [
        (P256, hashes.SHA384(), "ecdsa-p256"),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), "ecdsa-p384"),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA512(), "ecdsa-p384"),
        (RSA, hashes.SHA256(), "rsa-2048"),
        (RSA, hashes.SHA512(), "rsa-2048"),
        (ed25519.Ed25519PrivateKey.generate(), None, "ed25519"),
        (mldsa.MLDSA44PrivateKey.generate(), None, "ml-dsa-44"),
        (mldsa.MLDSA65PrivateKey.generate(), None, "ml-dsa-65"),
        (mldsa.MLDSA87PrivateKey.generate(), None, "ml-dsa-87"),
    ],
)
def test_every_type_of_key(key: object, algorithm: object, key_type: str) -> None:
    request = builder("web.internal").sign(key, algorithm)  # type: ignore[arg-type]
    for encoding in (Encoding.DER, Encoding.PEM):
        checked = parse(request.public_bytes(encoding))
        assert (checked.key_type, checked.names) == (key_type, ("dns:web.internal",))


@pytest.mark.parametrize("salt", [padding.PSS.DIGEST_LENGTH, padding.PSS.MAX_LENGTH, 20])
@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_rsa_pss(algorithm: hashes.HashAlgorithm, salt: int) -> None:
    pss = padding.PSS(padding.MGF1(algorithm), salt)
    request = builder("web.internal").sign(RSA, algorithm, rsa_padding=pss)  # type: ignore[arg-type]
    assert parse(request.public_bytes(Encoding.DER)).key_type == "rsa-2048"


@pytest.mark.parametrize(
    ("san", "common_name", "names", "known_as"),
    [
        ((), "web.internal", ("dns:web.internal",), "dns:web.internal"),
        ((), "WEB", ("dns:web",), "dns:web"),
        ((), "10.0.0.1", ("ip:10.0.0.1",), "ip:10.0.0.1"),
        ((), "*.internal", ("dns:*.internal",), "dns:*.internal"),
        ((), "Ada Lovelace", (), None),
        ((), "<script>alert(1)</script>", (), None),
        ((), "=cmd|' /C calc'!A0", (), None),
        ((), "", (), None),
        (("a.internal",), "Ada Lovelace", ("dns:a.internal",), None),
        (("a.internal",), "ada", ("dns:a.internal",), None),
        (("a.internal",), "A.INTERNAL", ("dns:a.internal",), "dns:a.internal"),
        (("a.internal", "A.internal"), "", ("dns:a.internal",), None),
    ],
)
def test_the_common_name(
    san: tuple[str, ...], common_name: str, names: tuple[str, ...], known_as: str | None
) -> None:
    checked = parse(signed(builder(*san, common_name=common_name)))
    assert (checked.names, checked.common_name) == (names, known_as)


@pytest.mark.parametrize("common_name", ["b.internal", "10.0.0.1"])
def test_a_common_name_that_is_a_name_is_among_the_names(common_name: str) -> None:
    assert codes(signed(builder("a.internal", common_name=common_name))) == [Code.CSR_MALFORMED]


def test_harmless_wishes_are_heard_and_not_granted() -> None:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        builder("web.internal")
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
        .add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"hunter2")
    )
    checked = parse(signed(made))
    assert checked.names == ("dns:web.internal",)
    assert "hunter2" not in repr(checked)


def test_all_faults_are_told_at_once() -> None:
    made = (
        builder("a b.internal", "web.internal", "web_2.internal")
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
    )
    data = bytearray(signed(made))
    data[-1] ^= 1
    assert codes(bytes(data)) == [
        Code.CSR_SIGNATURE_INVALID,
        Code.EXTENSION_REFUSED,
        Code.EXTENSION_REFUSED,
        Code.NAME_MALFORMED,
        Code.NAME_MALFORMED,
    ]


def test_names_are_at_most_so_many() -> None:
    assert len(parse(signed(builder(*(f"w{n}.internal" for n in range(NAMES_MAX))))).names) == NAMES_MAX
    assert codes(signed(builder(*(f"w{n}.internal" for n in range(NAMES_MAX + 1))))) == [Code.NAMES_TOO_MANY]


@pytest.mark.parametrize(
    "frame",
    [
        lambda pem: pem,
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: b"Certificate Request:\n    Data:\n        Version: 1\n" + pem,
        lambda pem: pem.replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"),
        lambda pem: pem + b"\n \n",
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: pem.rstrip(),
        lambda pem: b"0 is the first octet of this text\n" + pem,
    ],
)
def test_pem_as_people_have_it(frame: Callable[[bytes], bytes]) -> None:
    pem = builder("web.internal").sign(P256, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert parse(frame(pem)).names == ("dns:web.internal",)


@pytest.mark.parametrize(
    "frame",
    [
        lambda pem: pem + pem,
        lambda pem: pem + b"trailing text\n",
        lambda pem: pem.replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"),
        lambda pem: pem.replace(b"END CERTIFICATE", b"END NEW CERTIFICATE"),
        lambda pem: pem.replace(b"REQUEST-----\n", b"REQUEST-----\nProc-Type: 4,ENCRYPTED\n\n", 1),
        lambda pem: pem[:-40],
        lambda pem: pem[: len(pem) // 2] + b"!" + pem[len(pem) // 2 :],
        lambda pem: pem[: len(pem) // 2] + b"=" + pem[len(pem) // 2 :],
        lambda pem: b"",
        lambda pem: b"web.internal",
        lambda pem: b"-----BEGIN CERTIFICATE REQUEST-----\n\n-----END CERTIFICATE REQUEST-----\n",
    ],
)
def test_what_is_no_single_block_is_refused(frame: Callable[[bytes], bytes]) -> None:
    pem = builder("web.internal").sign(P256, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert codes(frame(pem)) == [Code.CSR_MALFORMED]


def test_blocked_keys_are_refused() -> None:
    data = signed(builder("web.internal"))
    spki = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(Refused) as caught:
        parse(data, blocked=BlockedKeys.of([sha256(spki).hexdigest().upper()]))
    assert caught.value.code == Code.KEY_COMPROMISED
    parse(data, blocked=BlockedKeys.of(["00" * 32]))


@given(st.binary(max_size=400) | st.binary(max_size=400).map(lambda data: b"0" + data))
def test_any_octets_are_refused_in_the_ordinary_way(data: bytes) -> None:
    assert Code.CSR_MALFORMED in codes(data)


_VALID = (
    signed(builder("web.internal", "*.b.internal", "10.0.0.1", common_name="web.internal")),
    builder("web.internal").sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER),
    builder("web.internal", common_name="a").sign(RSA, hashes.SHA256()).public_bytes(Encoding.DER),
)


@given(
    st.sampled_from(_VALID),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_any_change_is_refused_in_the_ordinary_way(valid: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(valid)
    for place, change in changes:
        data[place % len(data)] ^= change
    if bytes(data) == valid:
        return
    with pytest.raises(Refused):
        parse(bytes(data))


@given(st.sampled_from(_VALID), st.integers(0, 10_000), st.binary(max_size=8))
def test_any_cut_or_addition_is_refused_in_the_ordinary_way(valid: bytes, place: int, added: bytes) -> None:
    place %= len(valid)
    for data in (valid[:place], valid + b"\0" + added, valid[:place] + b"\x01" + added + valid[place:]):
        with pytest.raises(Refused):
            parse(data)


_NAMES = st.one_of(
    st.from_regex(r"(\*\.)?([a-z][a-z0-9]{0,10}\.){1,3}internal", fullmatch=True),
    st.ip_addresses().map(str).filter(lambda text: not text.startswith("::ffff:")),
)


@given(st.lists(_NAMES, min_size=1, max_size=10, unique=True))
def test_names_are_those_that_another_builder_wrote(names: list[str]) -> None:
    assert parse(signed(builder(*names))).names == canonical(names)


_INFO = requests.info(
    whose=requests.subject(
        requests.attribute(b"web.internal"), requests.attribute(b"Example", kind="2.5.4.10")
    ),
    attributes=(
        requests.extension_request(
            requests.san(
                requests.dns("web.internal"), requests.dns("*.b.internal"), b"\x87\x04\x0a\x00\x00\x01"
            ),
            requests.extension(requests.KEY_USAGE, b"\x03\x02\x07\x80", critical=True),
            requests.extension(requests.BASIC_CONSTRAINTS, b"\x30\x00", critical=True),
        ),
    ),
)


@given(st.lists(st.tuples(st.integers(0, len(_INFO) - 1), st.integers(1, 255)), min_size=1, max_size=2))
def test_what_passes_reads_the_same_to_another_parser(changes: list[tuple[int, int]]) -> None:
    """Changed octets under a good signature: the form is all that protects."""
    data = bytearray(_INFO)
    for place, change in changes:
        data[place] ^= change
    request = requests.request(bytes(data))
    try:
        checked = parse(request)
    except Refused:
        return
    other = x509.load_der_x509_csr(request)
    assert other.is_signature_valid
    try:
        san = other.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        assert set(checked.names) <= {checked.common_name}
    except ValueError:
        return  # an extension that nobody here looks at has another form than its new name promises
    else:
        assert checked.names == canonical(str(name.value) for name in san)
