"""Roots and intermediates, requests for them, and every way in which a certificate is not an intermediate of ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import event, given, settings
from hypothesis import strategies as st

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.errors import Code, Reasons, Refused
from quicklime.pki import issuer as pki_issuer
from quicklime.pki.certificate import IssuerFacts, issuer_id, key_identifier
from quicklime.pki.issuer_check import check_issuer_certificate, wider
from quicklime.pki.names import Constraints, check_inside
from tests.support.lab import DAY, DOMAINS, IP_RANGES, NOW, URLS, entropy, lab

MAKE_ROOT: dict[str, Any] = {
    "name": "Lab Root CA",
    "entropy": entropy,
    "now": NOW,
    "days": 10,
    "domains": DOMAINS,
    "ip_ranges": IP_RANGES,
}


def test_a_root_says_what_it_is() -> None:
    root = x509.load_der_x509_certificate(lab().root)
    assert root.subject == root.issuer
    assert root.subject.rfc4514_string().startswith("CN=Lab Root CA ")
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value == x509.BasicConstraints(ca=True, path_length=1)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    constraints = root.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [
        x509.DNSName("example.test"),
        x509.DNSName("lab.internal"),
        x509.IPAddress(IPv4Network("10.0.0.0/8")),
        x509.IPAddress(IPv6Network("fd00::/8")),
    ]
    assert int(root.not_valid_after_utc.timestamp() - root.not_valid_before_utc.timestamp()) == 3650 * DAY - 1


def test_an_intermediate_says_what_it_is() -> None:
    here = lab()
    found = x509.load_der_x509_certificate(here.intermediate)
    root = x509.load_der_x509_certificate(here.root)
    assert found.issuer.public_bytes() == root.subject.public_bytes()
    extensions = found.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert (
        extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        == root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    access = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [one.access_location.value for one in access] == [URLS.root(issuer_id(here.root))]
    assert issuer_id(here.intermediate) == key_identifier(here.signer.public_key).hex()


def test_no_two_keys_share_a_name() -> None:
    names = {pki_issuer.issuer_name("Lab Issuing CA", generate_public()) for _ in range(4)}
    assert len(names) == 4


def generate_public() -> bytes:
    return FileSigner(generate("ecdsa-p256"), "file:x").public_key


def test_an_intermediate_never_outlives_its_root() -> None:
    here = lab()
    made = _intermediate(days=9999)
    assert IssuerFacts.of(made).not_after == IssuerFacts.of(here.root).not_after


def _intermediate(**changes: Any) -> bytes:
    here = lab()
    fields: dict[str, Any] = {
        "root": here.root,
        "spki": here.signer.public_key,
        "name": "Lab Issuing CA",
        "entropy": entropy,
        "now": NOW,
        "days": 30,
    }
    return pki_issuer.sign_intermediate(changes.pop("signer", here.root_signer), **{**fields, **changes})


def test_without_own_constraints_an_intermediate_gets_its_roots() -> None:
    assert IssuerFacts.of(_intermediate()).constraints_der == IssuerFacts.of(lab().root).constraints_der


def test_an_intermediate_may_be_narrower_and_never_wider() -> None:
    narrow = IssuerFacts.of(_intermediate(domains=("db.lab.internal",), ip_ranges=("10.1.0.0/16",)))
    assert narrow.constraints.permitted_dns == ("db.lab.internal",)
    with pytest.raises(Refused) as caught:
        _intermediate(domains=("lab.internal", "example.org"), ip_ranges=("10.0.0.0/7",))
    assert [reason.code for reason in caught.value.reasons] == [Code.ISSUER_CERTIFICATE_INVALID] * 2
    assert "example.org" in str(caught.value)
    assert "10.0.0.0/7" in str(caught.value)


def test_another_roots_key_does_not_sign() -> None:
    with pytest.raises(Refused, match="not the key of root"):
        _intermediate(signer=lab().signer)


@pytest.mark.parametrize("name", ["", " ", "a" * 60, "new\nline", "\u202egnp.exe"])
def test_a_name_that_people_could_not_read_is_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        pki_issuer.issuer_name(name, lab().signer.public_key)
    assert caught.value.code is Code.REQUEST_MALFORMED


def test_an_authority_does_not_start_with_a_short_rsa_key() -> None:
    short = FileSigner(generate("rsa-2048"), "file:x")
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: pki_issuer.self_sign_root(short, **MAKE_ROOT),
        lambda: pki_issuer.request_intermediate(short, name="Lab"),
    )
    for make in makers:
        with pytest.raises(Refused) as caught:
            make()
        assert caught.value.code is Code.KEY_TYPE_NOT_ALLOWED


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "rsa-3072", "ed25519", "ml-dsa-44"])
def test_a_request_proves_its_key_and_is_signed_by_the_root(key_type: str) -> None:
    signer = FileSigner(generate(key_type), "file:next.pem")
    request = pki_issuer.request_intermediate(signer, name="Lab Issuing CA")
    assert x509.load_der_x509_csr(request).is_signature_valid
    spki = pki_issuer.read_issuer_request(request)
    assert spki == signer.public_key
    made = _intermediate(spki=spki)
    assert pki_issuer.spki_of(made) == spki


def test_a_request_that_was_changed_is_refused() -> None:
    request = pki_issuer.request_intermediate(lab().signer, name="Lab Issuing CA")
    for place in range(len(request)):
        changed = bytearray(request)
        changed[place] ^= 1
        with pytest.raises(Refused):
            pki_issuer.read_issuer_request(bytes(changed))


def test_what_is_no_request_is_refused() -> None:
    for data in (b"", b"\x30\x00", lab().root, bytes(70_000)):
        with pytest.raises(Refused):
            pki_issuer.read_issuer_request(data)
    key = rsa.generate_private_key(65537, 2048)
    short = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(Refused) as caught:
        pki_issuer.read_issuer_request(short.public_bytes(Encoding.DER))
    assert caught.value.code is Code.KEY_TYPE_NOT_ALLOWED


# --- what an intermediate must be -----------------------------------------------------------------------------------

_ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
_KEY = ec.generate_private_key(ec.SECP256R1())
_OTHER = ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _constraints(domains: tuple[str, ...], ranges: tuple[str, ...]) -> x509.NameConstraints:
    bases: list[x509.GeneralName] = [x509.DNSName(domain) for domain in domains]
    bases += [x509.IPAddress(IPv4Network(text)) for text in ranges]
    return x509.NameConstraints(bases or None, None if bases else [x509.DNSName("nowhere")])


_SKI = x509.SubjectKeyIdentifier(b"s" * 20)
_ROOT_SKI = x509.SubjectKeyIdentifier(b"r" * 20)
_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)

Part = tuple[x509.ExtensionType, bool]


def _built(
    *,
    key: Any = None,
    signing_key: Any = None,
    subject: str | None = "Lab Issuing CA",
    issuer: str = "Root",
    before: int = NOW - DAY,
    after: int = NOW + DAY,
    without: type[x509.ExtensionType] | None = None,
    instead: Part | None = None,
    extra: Part | None = None,
) -> bytes:
    """An intermediate by the builder of `cryptography`, with one thing changed."""
    parts: list[Part] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_USAGE, True),
        (_constraints(("lab.internal",), ("10.0.0.0/8",)), True),
        (_SKI, False),
        (x509.AuthorityKeyIdentifier(b"r" * 20, None, None), False),
    ]
    drop = without or (type(instead[0]) if instead else None)
    parts = [part for part in parts if type(part[0]) is not drop] + [one for one in (instead, extra) if one]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]) if subject is None else _name(subject))
        .issuer_name(_name(issuer))
        .public_key((key or _KEY).public_key())
        .serial_number(7)
        .not_valid_before(_at(before))
        .not_valid_after(_at(after))
    )
    for value, critical in parts:
        builder = builder.add_extension(value, critical=critical)
    return builder.sign(signing_key or _ROOT_KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def _root(excluded: list[x509.GeneralName] | None = None) -> x509.Certificate:
    permitted: list[x509.GeneralName] = [
        x509.DNSName("lab.internal"),
        x509.IPAddress(IPv4Network("10.0.0.0/8")),
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(_name("Root"))
        .issuer_name(_name("Root"))
        .public_key(_ROOT_KEY.public_key())
        .serial_number(1)
        .not_valid_before(_at(NOW - 2 * DAY))
        .not_valid_after(_at(NOW + 2 * DAY))
        .add_extension(_ROOT_SKI, critical=False)
        .add_extension(x509.NameConstraints(permitted, excluded), critical=True)
        .sign(_ROOT_KEY, hashes.SHA256())
    )


def _check(certificate: bytes, root: x509.Certificate | None = None) -> None:
    spki = _KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    check_issuer_certificate(certificate, spki=spki, roots=(root or _root(),), now=NOW)


def test_a_right_one_passes_whoever_made_it() -> None:
    _check(_built())
    _check(_built(instead=(_constraints(("a.lab.internal",), ("10.9.0.0/16",)), True)))


_USAGE_WITHOUT_CRL = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

FAULTY: dict[str, tuple[Callable[[], bytes], str]] = {
    "another key": (lambda: _built(key=_OTHER), "another key"),
    "short RSA key": (lambda: _built(key=rsa.generate_private_key(65537, 2048)), "rsa-2048"),
    "X25519 key": (lambda: _built(key=x25519.X25519PrivateKey.generate()), "unsupported kind"),
    "no subject": (lambda: _built(subject=None), "subject is empty"),
    "expired": (lambda: _built(after=NOW - 1), "expired"),
    "not yet valid": (lambda: _built(before=NOW + 1), "valid only from"),
    "longer than its root": (lambda: _built(after=NOW + 3 * DAY), "ends after its root"),
    "no basicConstraints": (lambda: _built(without=x509.BasicConstraints), "not for a CA"),
    "no CA": (
        lambda: _built(instead=(x509.BasicConstraints(ca=False, path_length=None), True)),
        "not for a CA",
    ),
    "basicConstraints not critical": (
        lambda: _built(instead=(x509.BasicConstraints(ca=True, path_length=0), False)),
        "basicConstraints is not critical",
    ),
    "no pathLen": (
        lambda: _built(instead=(x509.BasicConstraints(ca=True, path_length=None), True)),
        "pathLenConstraint is None",
    ),
    "pathLen 1": (
        lambda: _built(instead=(x509.BasicConstraints(ca=True, path_length=1), True)),
        "pathLenConstraint is 1",
    ),
    "no keyUsage": (lambda: _built(without=x509.KeyUsage), "keyUsage is missing"),
    "no cRLSign": (lambda: _built(instead=(_USAGE_WITHOUT_CRL, True)), "cRLSign"),
    "no SKI": (lambda: _built(without=x509.SubjectKeyIdentifier), "subject key identifier is missing"),
    "short SKI": (lambda: _built(instead=(x509.SubjectKeyIdentifier(b"s" * 8), False)), "8 octets"),
    "EKU": (
        lambda: _built(extra=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)),
        "extendedKeyUsage",
    ),
    "unknown critical extension": (
        lambda: _built(
            extra=(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
        ),
        "1.2.3.4",
    ),
    "no AKI": (lambda: _built(without=x509.AuthorityKeyIdentifier), "authority key identifier"),
    "another AKI": (
        lambda: _built(instead=(x509.AuthorityKeyIdentifier(b"x" * 20, None, None), False)),
        "authority key identifier",
    ),
    "no name constraints": (lambda: _built(without=x509.NameConstraints), "no name constraints"),
    "constraints not critical": (
        lambda: _built(instead=(_constraints(("lab.internal",), ("10.0.0.0/8",)), False)),
        "name constraints are not critical",
    ),
    "wider DNS": (
        lambda: _built(instead=(_constraints(("internal",), ("10.0.0.0/8",)), True)),
        "'internal', which its root does not",
    ),
    "wider addresses": (
        lambda: _built(instead=(_constraints(("lab.internal",), ("0.0.0.0/0",)), True)),
        "'0.0.0.0/0', which its root does not",
    ),
    "DNS unconstrained": (
        lambda: _built(instead=(_constraints((), ("10.0.0.0/8",)), True)),
        "DNS names unconstrained",
    ),
    "addresses unconstrained": (
        lambda: _built(instead=(_constraints(("lab.internal",), ()), True)),
        "IP addresses unconstrained",
    ),
    "another root's name": (lambda: _built(issuer="Other Root"), "not signed by a root"),
    "signed by another": (lambda: _built(signing_key=_OTHER), "not signed by a root"),
    "a signature that is none": (
        lambda: _resigned(_built()),
        "not signed by a root",
    ),
}


def _resigned(certificate: bytes) -> bytes:
    """The signature's last octet changed: the form is right, the signature is not."""
    return certificate[:-1] + bytes((certificate[-1] ^ 1,))


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_of_an_intermediate_is_named(name: str) -> None:
    make, said = FAULTY[name]
    with pytest.raises(Refused) as caught:
        _check(make())
    assert caught.value.code is Code.ISSUER_CERTIFICATE_INVALID
    assert said in str(caught.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(Refused) as caught:
        _check(_built(key=_OTHER, subject=None, after=NOW - 1, without=x509.KeyUsage, issuer="Nobody"))
    assert len(caught.value.reasons) == 5


def test_what_the_root_excludes_must_be_excluded() -> None:
    root = _root([x509.DNSName("secret.lab.internal"), x509.IPAddress(IPv4Network("10.66.0.0/16"))])
    with pytest.raises(Refused) as caught:
        _check(_built(), root)
    assert len(caught.value.reasons) == 2
    _check(_built(instead=(_constraints(("open.lab.internal",), ("10.1.0.0/16",)), True)), root)


def test_a_roots_key_does_not_become_an_intermediates() -> None:
    here = lab()
    with pytest.raises(Refused, match="root's own key"):
        _intermediate(spki=here.root_signer.public_key)


_domains = st.lists(
    st.sampled_from(["", "a", "b", "x.a", "y.x.a", ".a", ".x.a", "xa", "c"]), max_size=3, unique=True
)
_ranges = st.lists(
    st.sampled_from(
        [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "11.0.0.0/8",
            "::/0",
            "fd00::/8",
            "fd00::/16",
        ]
    ),
    max_size=3,
    unique=True,
).map(lambda texts: tuple(ip_network(text) for text in texts))
_any_constraints = st.builds(
    Constraints,
    permitted_dns=_domains.map(lambda found: tuple(one for one in found if one)),
    permitted_ip=_ranges,
    excluded_dns=_domains.map(tuple),
    excluded_ip=_ranges,
)
_HOSTS = ("a", "b", "c", "x.a", "y.x.a", "z.y.x.a", "z.a", "xa", "q.xa", "q.b", "other")
_ADDRESSES = ("10.0.0.1", "10.1.0.1", "10.1.2.3", "11.0.0.1", "9.0.0.1", "fd00::1", "fdff::1", "fe80::1")
_PROBES = (
    *(f"dns:{wild}{name}" for wild in ("", "*.") for name in _HOSTS),
    *(f"ip:{address}" for address in _ADDRESSES),
)


def _refused_names(constraints: Constraints) -> set[str]:
    found = set()
    for name in _PROBES:
        reasons = Reasons()
        check_inside((name,), constraints, reasons)
        if reasons:
            found.add(name)
    return found


@settings(max_examples=1500)
@given(inner=_any_constraints, outer=_any_constraints)
def test_constraints_that_pass_allow_nothing_that_the_roots_refuse(
    inner: Constraints, outer: Constraints
) -> None:
    passes = not wider(inner, outer)
    event(f"passes: {passes}")
    if passes:
        assert _refused_names(outer) <= _refused_names(inner)


@given(constraints=_any_constraints)
def test_equal_constraints_pass_where_both_kinds_are_limited(constraints: Constraints) -> None:
    said = wider(constraints, constraints)
    assert all("unconstrained" in one for one in said)


def test_what_is_no_certificate_is_refused() -> None:
    whole = _built()
    for data in (b"", whole[:-1], whole + b"\x00", b"-----BEGIN CERTIFICATE-----", lab().signer.public_key):
        with pytest.raises(Refused) as caught:
            _check(data)
        assert caught.value.code is Code.ISSUER_CERTIFICATE_INVALID
        with pytest.raises(Refused):
            pki_issuer.spki_of(data)


def test_a_key_identifier_is_that_of_rfc_7093() -> None:
    spki = lab().signer.public_key
    parsed = load_der_public_key(spki)
    assert isinstance(parsed, ec.EllipticCurvePublicKey)
    point = parsed.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(point)
    assert key_identifier(spki) == digest.finalize()[:20]
