"""What proves a name, who may be asked, and what CAA allows: the judging, without a network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.pki import der
from quicklime.validation import (
    CAARecord,
    Fetched,
    caa_names,
    dns_value,
    host_of,
    key_authorization,
    methods_for,
    server_name_of,
    shown,
    why_caa_forbids,
    why_not_body,
    why_not_certificate,
    why_not_texts,
    why_unreachable,
)

THUMBPRINT = sha256(b"key").digest()
EXPECTED = key_authorization("token", THUMBPRINT)
URL = "https://ca.internal/acme/default/account/k3fq"


# --- who may be asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fd00::1",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::",
        "192.0.2.1",
        "2001:db8::1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "",
    ],
)
def test_addresses_that_are_not_dialled_unless_the_policy_serves_their_network(address: str) -> None:
    assert why_unreachable(address, ()) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_are_dialled(address: str) -> None:
    assert why_unreachable(address, ()) is None


@pytest.mark.parametrize(
    ("address", "network"),
    [("10.1.2.3", "10.0.0.0/8"), ("fd00::7", "fd00::/8"), ("127.0.0.1", "127.0.0.0/8")],
)
def test_a_network_that_is_served_is_dialled(address: str, network: str) -> None:
    assert why_unreachable(address, (ip_network(network),)) is None


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:10.0.0.1", "0.0.0.0"]
)
def test_what_is_never_dialled_whatever_the_policy_says(address: str) -> None:
    assert why_unreachable(address, (ip_network("0.0.0.0/0"), ip_network("::/0"))) is not None


# --- what is offered ------------------------------------------------------------------------------------------------


def test_methods_by_kind_of_name() -> None:
    every = ("http-01", "dns-01", "tls-alpn-01")
    assert methods_for("dns:a.internal", wildcard=False, allowed=every) == every
    assert methods_for("dns:a.internal", wildcard=True, allowed=every) == ("dns-01",)
    assert methods_for("ip:10.0.0.1", wildcard=False, allowed=every) == ("http-01", "tls-alpn-01")
    assert methods_for("dns:a.internal", wildcard=True, allowed=("http-01",)) == ()


def test_how_a_name_is_written_in_a_request() -> None:
    assert host_of("ip:fd00::1") == "[fd00::1]"
    assert host_of("ip:10.0.0.1") == "10.0.0.1"
    assert host_of("dns:web.internal") == "web.internal"
    assert server_name_of("dns:web.internal") == "web.internal"
    assert server_name_of("ip:10.0.0.1") == "1.0.0.10.in-addr.arpa"
    assert server_name_of("ip:fd00::1").endswith(".d.f.ip6.arpa")


# --- proofs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["", "\n", "\r\n", " \t\n"])
def test_the_key_authorization_and_whitespace_after_it(tail: str) -> None:
    assert (
        why_not_body(Fetched(status=200, location=None, body=f"{EXPECTED}{tail}".encode()), EXPECTED) is None
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"token", EXPECTED[:-1].encode(), f" {EXPECTED}".encode(), f"{EXPECTED}x".encode(), b"\xff" * 100],
)
def test_bodies_that_prove_nothing(body: bytes) -> None:
    assert why_not_body(Fetched(status=200, location=None, body=body), EXPECTED) is not None


def test_a_status_other_than_200_proves_nothing() -> None:
    assert why_not_body(Fetched(status=404, location=None, body=EXPECTED.encode()), EXPECTED) is not None


def test_one_of_the_texts_is_enough_and_a_thousand_are_not_read() -> None:
    value = dns_value("token", THUMBPRINT)
    assert why_not_texts(["other", value], value) is None
    assert why_not_texts([], value) is not None
    assert why_not_texts(["x"] * 1000 + [value], value) is not None
    assert why_not_texts([value.lower(), f" {value}", f"{value} ", f'"{value}"', "é"], value) is not None


def _certificate(
    names: list[x509.GeneralName] | None = None,
    *,
    digest: bytes | None = None,
    value: bytes | None = None,
    critical: bool = True,
    identifier: bool = True,
    issuer: str = "web",
    other_key: bool = False,
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = ec.generate_private_key(ec.SECP256R1()) if other_key else key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web")]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now - timedelta(days=300))
    )
    if names is None or names:
        wanted = [x509.DNSName("web.internal")] if names is None else names
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    if identifier:
        octets = der.octet_string(sha256(EXPECTED.encode()).digest() if digest is None else digest)
        extension = x509.UnrecognizedExtension(
            x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"), octets if value is None else value
        )
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def test_the_certificate_of_tls_alpn_01_also_when_it_expired() -> None:
    assert why_not_certificate(_certificate(), "dns:web.internal", EXPECTED) is None
    upper = _certificate([x509.DNSName("WEB.internal")])
    assert why_not_certificate(upper, "dns:web.internal", EXPECTED) is None
    address = _certificate([x509.IPAddress(ip_address("10.0.0.1"))])
    assert why_not_certificate(address, "ip:10.0.0.1", EXPECTED) is None


@pytest.mark.parametrize(
    "certificate",
    [
        _certificate([x509.DNSName("web.internal"), x509.DNSName("other.internal")]),
        _certificate([x509.DNSName("other.internal")]),
        _certificate([x509.DNSName("web.internal"), x509.IPAddress(ip_address("10.0.0.1"))]),
        _certificate([]),
        _certificate(critical=False),
        _certificate(identifier=False),
        _certificate(digest=bytes(32)),
        _certificate(digest=b""),
        _certificate(value=sha256(EXPECTED.encode()).digest()),
        _certificate(value=der.octet_string(sha256(EXPECTED.encode()).digest()) + b"\0"),
        _certificate(issuer="other"),
        _certificate(other_key=True),
        b"",
        b"\x30\x00",
    ],
    ids=range(14),
)
def test_certificates_that_prove_nothing(certificate: bytes) -> None:
    assert why_not_certificate(certificate, "dns:web.internal", EXPECTED) is not None


def test_what_a_stranger_said_is_shown_short_and_harmless() -> None:
    assert shown(b"\x1b[31m<script>\r\n\xff") == "\\x1b[31m<script>\\r\\n\\ufffd"
    assert len(shown(b"x" * 10_000)) < 200


# --- CAA ------------------------------------------------------------------------------------------------------------


def _why(*records: tuple[int, str, str], wildcard: bool = False, method: str = "http-01") -> str | None:
    return why_caa_forbids(
        [CAARecord(flags=flags, tag=tag, value=value) for flags, tag, value in records],
        identities=("ca.internal",),
        wildcard=wildcard,
        account_url=URL,
        method=method,
    )


def test_where_the_tree_is_climbed() -> None:
    assert caa_names("a.b.internal") == ("a.b.internal", "b.internal", "internal")
    assert caa_names("*.b.internal") == ("b.internal", "internal")


@pytest.mark.parametrize(
    "records",
    [
        [],
        [(0, "issue", "ca.internal")],
        [(0, "ISSUE", "CA.Internal")],
        [(0, "issue", " ca.internal ; ")],
        [(0, "issue", "other.example"), (0, "issue", "ca.internal")],
        [(0, "iodef", "mailto:x@example.com")],
        [(128, "iodef", "mailto:x@example.com")],
        [(0, "unknown", "x")],
        [(0, "issuewild", ";")],
        [(0, "issue", f"ca.internal; accounturi={URL}")],
        [(0, "issue", "ca.internal; validationmethods=dns-01,http-01")],
        [(0, "issue", "ca.internal; other=1")],
    ],
)
def test_records_that_allow(records: list[tuple[int, str, str]]) -> None:
    assert _why(*records) is None


@pytest.mark.parametrize(
    "records",
    [
        [(0, "issue", ";")],
        [(0, "issue", "")],
        [(0, "issue", "other.example")],
        [(0, "issue", "sub.ca.internal")],
        [(128, "unknown", "x")],
        [(0, "issue", "ca.internal"), (128, "future", "x")],
        [(0, "issue", "ca.internal; accounturi=https://ca.internal/acme/default/account/other")],
        [(0, "issue", f"ca.internal; accounturi={URL}; accounturi={URL}")],
        [(0, "issue", f"ca.internal; accounturi={URL}/")],
        [(0, "issue", "ca.internal; validationmethods=dns-01")],
        [(0, "issue", "ca.internal; malformed")],
    ],
)
def test_records_that_forbid(records: list[tuple[int, str, str]]) -> None:
    assert _why(*records) is not None


def test_issuewild_is_for_wildcards_alone_and_stands_before_issue() -> None:
    both = [(0, "issue", "ca.internal"), (0, "issuewild", "other.example")]
    assert _why(*both) is None
    assert _why(*both, wildcard=True) is not None
    assert _why((0, "issue", "other.example"), (0, "issuewild", "ca.internal"), wildcard=True) is None
    assert _why((0, "issue", "ca.internal"), wildcard=True) is None
