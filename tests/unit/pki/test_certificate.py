"""The bytes of a certificate: equal to what another encoder makes of the same, and checked again before they leave."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from quicklime.errors import Fault, InvariantBroken
from quicklime.pki import algorithms, der
from quicklime.pki.certificate import (
    IssuerFacts,
    Template,
    URLs,
    assemble_certificate,
    check_issued,
    issuer_id,
    key_identifier,
    key_usage,
    serial_from_entropy,
    tbs_of,
)
from quicklime.pki.profile import BUILTIN, Profile
from tests.support.lab import DAY, NOW, URLS, lab, subscriber_key

_BUILDERS_KEY = ec.generate_private_key(ec.SECP256R1())
EVERYTHING = Profile(
    name="everything",
    validity_seconds=DAY,
    validity_seconds_max=DAY,
    key_usage=(
        "digitalSignature",
        "contentCommitment",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
    ),
    extended_key_usage=("serverAuth", "clientAuth", "codeSigning", "1.3.6.1.4.1.32473.1.99999"),
)
PROFILES = {**BUILTIN, "everything": EVERYTHING}

_labels = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(
    lambda one: "--" not in one
)
_dns = st.builds(lambda *labels: "dns:" + ".".join(labels), _labels, _labels, st.just("lab.internal"))
_long = st.builds(
    lambda labels: "dns:" + ".".join([*labels, "lab.internal"]), st.lists(_labels, min_size=5, max_size=8)
)
_wild = _dns.map(lambda name: "dns:*." + name[4:])
_ip = st.one_of(
    st.integers(0, 2**24 - 1).map(lambda host: f"ip:{IPv4Address((10 << 24) + host)}"),
    st.integers(0, 2**120 - 1).map(lambda host: f"ip:{IPv6Address((0xFD << 120) + host)}"),
)
_names = st.lists(st.one_of(_dns, _long, _wild, _ip), min_size=1, max_size=12, unique=True).map(
    lambda names: tuple(sorted(names))
)
# 1950 is the first year of UTCTime, and what an issuer's validity would say is not the template's business
_times = st.integers(0, int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()))


def _by_cryptography(
    facts: IssuerFacts,
    profile: Profile,
    urls: URLs,
    *,
    serial: str,
    not_before: int,
    not_after: int,
    spki: bytes,
    names: tuple[str, ...],
) -> bytes:
    """The TBSCertificate of the same, by the builder of `cryptography`; the algorithm is that of a P-256 key."""
    public_key = load_der_public_key(spki)
    dns = [name[4:] for name in names if name.startswith("dns:")]
    text = dns[0] if dns and len(dns[0]) <= 64 else None
    if not names:
        text = "Quicklime OCSP responder"
    subject = x509.Name([] if text is None else [x509.NameAttribute(NameOID.COMMON_NAME, text)])
    bits = {usage: usage in profile.key_usage for usage in EVERYTHING.key_usage}
    rsa = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" in spki[:40]
    curve = b"\x2a\x86\x48\xce\x3d\x02\x01" in spki[:40]
    issuer = x509.load_der_x509_certificate(facts.certificate)
    responder = "OCSPSigning" in profile.extended_key_usage
    uri = x509.UniformResourceIdentifier
    ca_issuers = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, uri(f"{urls.base_url}/issuers/{facts.issuer}.cer")
    )
    ocsp = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, uri(f"{urls.base_url}/ocsp"))
    crl = x509.DistributionPoint([uri(f"{urls.base_url}/crl/{facts.issuer}.crl")], None, None, None)
    oids = {
        "serverAuth": "1.3.6.1.5.5.7.3.1",
        "clientAuth": "1.3.6.1.5.5.7.3.2",
        "codeSigning": "1.3.6.1.5.5.7.3.3",
        "OCSPSigning": "1.3.6.1.5.5.7.3.9",
    }
    builder = (
        x509.CertificateBuilder()
        .serial_number(int(serial, 16))
        .issuer_name(issuer.subject)
        .subject_name(subject)
        .not_valid_before(datetime.fromtimestamp(not_before, UTC))
        .not_valid_after(datetime.fromtimestamp(not_after, UTC))
        .public_key(public_key)  # type: ignore[arg-type]
        .add_extension(
            x509.KeyUsage(
                digital_signature=bits["digitalSignature"],
                content_commitment=bits["contentCommitment"],
                key_encipherment=bits["keyEncipherment"] and rsa,
                data_encipherment=bits["dataEncipherment"] and rsa,
                key_agreement=bits["keyAgreement"] and curve,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage(
                [ObjectIdentifier(oids.get(one, one)) for one in profile.extended_key_usage]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier(bytes.fromhex(facts.issuer), None, None), critical=False)
        .add_extension(
            x509.AuthorityInformationAccess([ca_issuers] if responder else [ocsp, ca_issuers]), critical=False
        )
    )
    if responder:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    else:
        builder = builder.add_extension(x509.CRLDistributionPoints([crl]), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier(key_identifier(spki)), critical=False)
    if names:
        general: list[x509.GeneralName] = [
            x509.DNSName(name[4:]) if name.startswith("dns:") else x509.IPAddress(ip_address(name[3:]))
            for name in names
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=text is None)
    return builder.sign(_BUILDERS_KEY, hashes.SHA256()).tbs_certificate_bytes


@settings(max_examples=400)
@given(
    profile=st.sampled_from(list(PROFILES.values())),
    key_type=st.sampled_from(algorithms.KEY_TYPES),
    entropy=st.binary(min_size=20, max_size=20),
    times=st.tuples(_times, _times),
    names=_names,
    data=st.data(),
)
def test_the_bytes_are_those_of_another_encoder(
    profile: Profile,
    key_type: str,
    entropy: bytes,
    times: tuple[int, int],
    names: tuple[str, ...],
    data: st.DataObject,
) -> None:
    facts = lab().facts
    if profile.internal:
        names = data.draw(st.sampled_from([(), names]))
    serial, not_before, not_after = serial_from_entropy(entropy), min(times), max(times)
    spki = subscriber_key(key_type)
    ours = Template(facts, profile, URLS).tbs(
        serial=serial, not_before=not_before, not_after=not_after, spki=spki, names=names
    )
    theirs = _by_cryptography(
        facts,
        profile,
        URLS,
        serial=serial,
        not_before=not_before,
        not_after=not_after,
        spki=spki,
        names=names,
    )
    assert ours == theirs


@pytest.mark.parametrize("key_type", [one for one in algorithms.ISSUER_KEY_TYPES if one != "rsa-4096"])
def test_what_an_issuer_signs_is_read_again_and_verifies(key_type: str) -> None:
    here = lab(key_type)
    parsed = x509.load_der_x509_certificate(here.sign(here.tbs()))
    parsed.verify_directly_issued_by(x509.load_der_x509_certificate(here.intermediate))
    x509.load_der_x509_certificate(here.intermediate).verify_directly_issued_by(
        x509.load_der_x509_certificate(here.root)
    )


def test_a_subject_that_would_not_fit_is_left_empty_and_the_names_are_critical() -> None:
    long = "a" * 60 + ".lab.internal"
    for names in (("ip:10.0.0.1",), (f"dns:{long}",)):
        parsed = x509.load_der_x509_certificate(lab().sign(lab().tbs(names=names)))
        assert not list(parsed.subject)
        assert parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_a_certificate_for_nobody_is_not_made() -> None:
    with pytest.raises(Fault, match="no names"):
        lab().tbs(names=())


@given(st.binary(min_size=20, max_size=20))
def test_a_serial_is_positive_and_of_twenty_octets(octets: bytes) -> None:
    serial = serial_from_entropy(octets)
    assert len(serial) == 40
    assert 0x40 <= int(serial[:2], 16) <= 0x7F
    # 158 bits of the entropy are in it
    assert int(serial, 16) % 2**158 == int.from_bytes(octets, "big") % 2**158


@pytest.mark.parametrize("serial", ["", "00" * 20, "3f" + "00" * 19, "80" + "00" * 19, "40" * 19, "40" * 21])
def test_no_other_serial_is_taken(serial: str) -> None:
    with pytest.raises(Fault, match="serial"):
        Template(lab().facts, BUILTIN["server"], URLS).tbs(
            serial=serial,
            not_before=NOW,
            not_after=NOW,
            spki=subscriber_key("ed25519"),
            names=("dns:a.lab.internal",),
        )
    with pytest.raises(Fault, match="entropy"):
        serial_from_entropy(bytes(19))


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ({0}, "03020780"),
        ({0, 2}, "030205a0"),
        ({5, 6}, "03020106"),
        ({4}, "03020308"),
        ({8}, "0303070080"),
        ({7}, "03020001"),
    ],
)
def test_key_usage_has_no_trailing_zero_bits(bits: set[int], expected: str) -> None:
    assert key_usage(frozenset(bits)).hex() == expected


def test_urls_do_not_double_a_slash() -> None:
    urls = URLs("http://pki.example/")
    assert urls.ocsp() == "http://pki.example/ocsp"
    assert urls.crl("ab") == "http://pki.example/crl/ab.crl"
    assert urls.issuer("ab") == "http://pki.example/issuers/ab.cer"
    assert urls.root("ab") == "http://pki.example/roots/ab.cer"


# --- read again -----------------------------------------------------------------------------------------------------


def test_the_facts_are_those_of_the_certificate() -> None:
    here = lab()
    parsed = x509.load_der_x509_certificate(here.intermediate)
    assert here.facts.issuer == issuer_id(here.intermediate)
    assert here.facts.subject_der == parsed.subject.public_bytes()
    assert here.facts.spki == here.signer.public_key
    assert here.facts.not_after == int(parsed.not_valid_after_utc.timestamp())
    assert here.facts.constraints.permitted_dns == ("example.test", "lab.internal")
    assert tbs_of(here.intermediate) == parsed.tbs_certificate_bytes


def test_what_is_no_issuer_has_no_facts() -> None:
    leaf = lab().sign(lab().tbs())
    with pytest.raises(Fault):
        IssuerFacts.of(leaf[:-3])
    with pytest.raises(Fault):
        issuer_id(b"")


def test_every_octet_of_what_was_signed_counts() -> None:
    here = lab()
    tbs = here.tbs()
    certificate = here.sign(tbs)
    for place in range(0, len(certificate), 3):
        changed = bytearray(certificate)
        changed[place] ^= 1
        with pytest.raises(InvariantBroken):
            check_issued(bytes(changed), tbs, here.facts)


def test_another_plan_another_key_or_another_algorithm_is_noticed() -> None:
    here, other = lab(), lab("ecdsa-p384")
    tbs = here.tbs()
    certificate = here.sign(tbs)
    with pytest.raises(InvariantBroken, match="planned"):
        check_issued(certificate, here.tbs(seed=b"other"), here.facts)
    stranger = assemble_certificate(tbs, here.signer.algorithm, here.root_signer.sign(tbs))
    with pytest.raises(InvariantBroken, match="not by issuer"):
        check_issued(stranger, tbs, here.facts)
    swapped = assemble_certificate(tbs, other.signer.algorithm, here.signer.sign(tbs))
    with pytest.raises(InvariantBroken, match="algorithm"):
        check_issued(swapped, tbs, here.facts)
    with pytest.raises(InvariantBroken):
        check_issued(certificate + b"\x00", tbs, here.facts)
    with pytest.raises(InvariantBroken):
        check_issued(assemble_certificate(tbs, here.signer.algorithm, b""), tbs, here.facts)


def test_algorithms_are_not_mixed() -> None:
    key = load_der_public_key(subscriber_key("ecdsa-p256"))
    with pytest.raises(Fault, match="expected that of"):
        algorithms.verify(key, b"", b"", algorithms.RSA_SHA256)
    with pytest.raises(Fault, match="unsupported"):
        algorithms.kind_of(ec.generate_private_key(ec.SECP521R1()).public_key())
    # RFC 5758, Section 3.2, and RFC 4055, Section 5: absent there, NULL here
    assert algorithms.ECDSA_SHA256.hex() == "300a06082a8648ce3d040302"
    assert algorithms.RSA_SHA256.hex() == "300d06092a864886f70d01010b0500"
    assert der.contents(algorithms.ED25519) == bytes.fromhex("06032b6570")
