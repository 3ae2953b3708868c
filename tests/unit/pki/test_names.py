"""Names, patterns and name constraints."""

from __future__ import annotations

import datetime as dt
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from quicklime.errors import Code, Reasons, Refused
from quicklime.pki.names import (
    NAMES_MAX,
    Constraints,
    canonical,
    check_inside,
    check_pattern,
    constraints_of,
    matches,
    name_constraints_der,
    parse_name,
    san_der,
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web.internal", "dns:web.internal"),
        ("WEB.Internal", "dns:web.internal"),
        ("dns:web.internal", "dns:web.internal"),
        ("DNS:web.internal", "dns:web.internal"),
        ("*.internal", "dns:*.internal"),
        ("localhost", "dns:localhost"),
        ("a-b.c1.internal", "dns:a-b.c1.internal"),
        ("1a.internal", "dns:1a.internal"),
        ("10.internal", "dns:10.internal"),
        ("a.1b", "dns:a.1b"),
        ("x--y.internal", "dns:x--y.internal"),  # reserved only in third and fourth place
        ("xn--mnchen-3ya.internal", "dns:xn--mnchen-3ya.internal"),
        ("xn--e1afmkfd.internal", "dns:xn--e1afmkfd.internal"),
        ("a" * 63 + ".internal", "dns:" + "a" * 63 + ".internal"),
        (".".join(["a" * 49] * 5) + ".abc", "dns:" + ".".join(["a" * 49] * 5) + ".abc"),
        ("10.0.0.1", "ip:10.0.0.1"),
        ("ip:10.0.0.1", "ip:10.0.0.1"),
        ("fd00::1", "ip:fd00::1"),
        ("FD00:0:0:0:0:0:0:1", "ip:fd00::1"),
        ("IP:fd00::0:1", "ip:fd00::1"),
        ("::1", "ip:::1"),
    ],
)
def test_names_have_one_form(text: str, name: str) -> None:
    assert parse_name(text) == name
    assert parse_name(name) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("dns:", "is empty"),
        (".", "ends in a dot"),
        ("web.internal.", "ends in a dot"),
        (".internal", "empty label"),
        ("a..internal", "empty label"),
        ("*", "bare wildcard"),
        ("*.", "ends in a dot"),
        ("*internal", "wildcard elsewhere"),
        ("w*b.internal", "wildcard elsewhere"),
        ("a.*.internal", "wildcard elsewhere"),
        ("*.*.internal", "wildcard elsewhere"),
        ("**.internal", "wildcard elsewhere"),
        ("a" * 64 + ".internal", "label of 64 characters"),
        (".".join(["a" * 49] * 5) + ".abcd", "has 254 characters"),
        ("a" * 600, "too long"),
        ("-web.internal", "inner hyphens"),
        ("web-.internal", "inner hyphens"),
        ("web-", "inner hyphens"),
        ("web_1.internal", "inner hyphens"),
        ("web/1.internal", "inner hyphens"),
        ("a b.internal", "a space"),
        ("web.internal\n", "control character"),
        ("web\0.internal", "control character"),
        ("web\x1b[31m.internal", "control character"),
        ("münchen.internal", "perhaps 'xn--mnchen-3ya.internal'"),
        ("w\u0435b.internal", "is not ASCII, expected A-labels"),
        ("\u212a.internal", "is not ASCII"),  # the Kelvin sign, whose lower case is an ASCII k
        ("ab--c.internal", "reserved label"),
        ("xn--.internal", "inner hyphens"),
        ("xn--a.internal", "no valid A-label"),
        ("xn--web-.internal", "inner hyphens"),
        ("xn--internal-.internal", "inner hyphens"),
        ("xn--9999999999.internal", "no valid A-label"),
        ("xn--wb-nlc.internal", "mixes Cyrillic and Latin letters"),  # Latin w, Cyrillic e, Latin b
        ("dns:10.0.0.1", "is an IP address"),
        ("dns:1.2.3", "ends in a number"),
        ("web.123", "ends in a number"),
        ("web.0x7f", "ends in a number"),
        ("10.0.0.256", "ends in a number"),
        ("ip:web.internal", "no IP address"),
        ("ip:10.0.0.01", "no IP address"),
        ("ip:10.0.0", "no IP address"),
        ("ip:10.0.0.0/8", "no IP address"),
        ("fe80::1%eth0", "has a zone"),
        ("::ffff:10.0.0.1", "expected 10.0.0.1"),
        ("[fd00::1]", "no IP address"),
        ("web.internal:443", "no IP address"),
    ],
)
def test_malformed_names_are_refused(text: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_name(text)
    assert caught.value.code == Code.NAME_MALFORMED
    detail = caught.value.reasons[0].detail
    assert words in detail
    assert detail.isascii()
    assert detail.isprintable()
    assert len(detail) < 400


def test_an_a_label_that_stands_for_ascii_is_refused() -> None:
    # "-" at the end makes punycode of pure ASCII; idna reports it as it likes, but never lets it pass
    for label in ("xn--abc-.internal", "xn--abc.internal", "XN--ABC-.internal"):
        with pytest.raises(Refused) as caught:
            parse_name(label)
        assert caught.value.code == Code.NAME_MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "ada@web.internal",
        "email:ada@web.internal",
        "https://web.internal/",
        "uri:spiffe://x",
        "URI:a",
        "rid:1.2.3",
    ],
)
def test_other_types_are_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_name(text)
    assert caught.value.code == Code.NAME_TYPE_REFUSED


@given(st.text(max_size=300) | st.from_regex(r"[a-z0-9.*:_\-]{0,80}", fullmatch=True))
@example("xn--\U0010ffff")
@example("xn--99999999999999999999999999999999999999999999999999999999999")
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = parse_name(text)
    except Refused:
        return
    assert parse_name(name) == name
    assert name.isascii()
    assert name == name.lower()


@given(st.ip_addresses())
def test_every_address_but_mapped_ones_is_a_name(address: object) -> None:
    if getattr(address, "ipv4_mapped", None) is None:
        assert parse_name(str(address)) == f"ip:{address}"


def test_canonical_is_sorted_and_without_repetition() -> None:
    assert canonical(["b.internal", "A.internal", "10.0.0.1", "dns:b.internal"]) == (
        "dns:a.internal",
        "dns:b.internal",
        "ip:10.0.0.1",
    )


def test_every_fault_among_names_is_told() -> None:
    with pytest.raises(Refused) as caught:
        canonical(["web.internal", "a b", "ada@internal"])
    assert [(reason.code, reason.field) for reason in caught.value.reasons] == [
        (Code.NAME_MALFORMED, "names[1]"),
        (Code.NAME_TYPE_REFUSED, "names[2]"),
    ]
    with pytest.raises(Refused) as caught:
        canonical(["web.internal"] * (NAMES_MAX + 1))
    assert caught.value.code == Code.NAMES_TOO_MANY


def test_san_is_what_another_encoder_writes() -> None:
    names = canonical(["a.internal", "*.b.internal", "10.0.0.1", "fd00::1"])
    other = x509.SubjectAlternativeName(
        [
            x509.DNSName("*.b.internal"),
            x509.DNSName("a.internal"),
            x509.IPAddress(ip_address("10.0.0.1")),
            x509.IPAddress(ip_address("fd00::1")),
        ]
    )
    assert san_der(names) == other.public_bytes()


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("web.internal", "dns:web.internal", True),
        ("WEB.internal", "dns:web.internal", True),
        ("dns:web.internal", "dns:web.internal", True),
        ("web.internal", "dns:a.web.internal", False),
        ("*.internal", "dns:web.internal", True),
        ("*.internal", "dns:*.internal", True),
        ("dns:*.internal", "dns:web.internal", True),
        ("*.internal", "dns:a.b.internal", False),
        ("*.internal", "dns:*.b.internal", False),
        ("*.internal", "dns:internal", False),
        ("*.internal", "dns:webinternal", False),
        ("**.internal", "dns:web.internal", True),
        ("**.internal", "dns:a.b.internal", True),
        ("**.internal", "dns:*.b.internal", True),
        ("**.internal", "dns:internal", False),
        ("**.internal", "dns:notinternal", False),
        ("**", "dns:anything.example", True),
        ("**", "ip:10.0.0.1", False),
        ("ip:10.0.0.0/8", "ip:10.1.2.3", True),
        ("10.0.0.0/8", "ip:10.1.2.3", True),
        ("ip:10.0.0.0/8", "ip:11.1.2.3", False),
        ("ip:10.0.0.0/8", "ip:fd00::1", False),
        ("ip:10.0.0.0/8", "dns:web.internal", False),
        ("ip:fd00::/8", "ip:fd00::1", True),
        ("ip:10.0.0.1", "ip:10.0.0.1", True),
        ("10.0.0.1", "ip:10.0.0.1", True),
        ("*", "dns:internal", False),
        ("", "dns:internal", False),
        ("*.*.internal", "dns:a.b.internal", False),
    ],
)
def test_patterns(pattern: str, name: str, *, expected: bool) -> None:
    assert matches(pattern, name) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "***",
        "**.",
        "a.**.internal",
        "*.*.internal",
        "**.*.internal",
        "ip:10.0.0.1/8",
        "10.0.0.0/33",
        "ip:**",
        "a b",
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        check_pattern(text)
    assert caught.value.code == Code.NAME_MALFORMED


@pytest.mark.parametrize(
    "text", ["web.internal", "*.internal", "**.internal", "**", "ip:10.0.0.0/8", "fd00::/8", "ip:::1"]
)
def test_what_is_a_pattern_passes(text: str) -> None:
    assert check_pattern(text) == text


HOME = Constraints(
    permitted_dns=("internal", "localhost"),
    permitted_ip=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    excluded_dns=("secret.internal",),
    excluded_ip=(ip_network("10.9.0.0/16"),),
)


@pytest.mark.parametrize(
    ("name", "constraints", "inside"),
    [
        ("dns:internal", HOME, True),
        ("dns:web.internal", HOME, True),
        ("dns:a.b.internal", HOME, True),
        ("dns:*.internal", HOME, False),  # covers the excluded secret.internal
        ("dns:*.web.internal", HOME, True),
        ("dns:*.secret.internal", HOME, False),
        ("dns:secret.internal", HOME, False),
        ("dns:a.secret.internal", HOME, False),
        ("dns:notinternal", HOME, False),
        ("dns:internal.example", HOME, False),
        ("dns:localhost", HOME, True),
        ("ip:10.1.2.3", HOME, True),
        ("ip:10.9.2.3", HOME, False),
        ("ip:11.1.2.3", HOME, False),
        ("ip:fd00::1", HOME, True),
        ("ip:fe80::1", HOME, False),
        ("ip:11.1.2.3", Constraints(permitted_dns=("internal",)), True),
        ("dns:example", Constraints(permitted_ip=(ip_network("10.0.0.0/8"),)), True),
        ("ip:fd00::1", Constraints(permitted_ip=(ip_network("10.0.0.0/8"),)), False),
        ("dns:web.internal", Constraints(excluded_dns=("",)), False),
        ("dns:*.internal", Constraints(permitted_dns=("internal",)), True),
        ("dns:*.internal", Constraints(permitted_dns=("web.internal",)), False),
        ("dns:internal", Constraints(permitted_dns=(".internal",)), False),
        ("dns:web.internal", Constraints(permitted_dns=(".internal",)), True),
        ("dns:internal", Constraints(excluded_dns=(".internal",)), False),
        ("dns:anything", Constraints(), True),
    ],
)
def test_constraints(name: str, constraints: Constraints, *, inside: bool) -> None:
    reasons = Reasons()
    check_inside(("dns:localhost", name), constraints, reasons)
    assert [(reason.code, reason.field) for reason in reasons if reason.field == "names[1]"] == (
        [] if inside else [(Code.NAME_OUTSIDE_ISSUER, "names[1]")]
    )


def _bearer(value: bytes) -> x509.Certificate:
    """A certificate with nameConstraints of this value."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
    )
    if value:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), value)
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256())


def test_constraints_written_are_the_constraints_read() -> None:
    value = name_constraints_der(
        ["internal", "Home.Arpa", "internal"], ["192.168.0.0/16", "ip:10.0.0.0/8", "fd00::/8"]
    )
    assert constraints_of(_bearer(value)) == Constraints(
        permitted_dns=("home.arpa", "internal"),
        permitted_ip=(ip_network("10.0.0.0/8"), ip_network("192.168.0.0/16"), ip_network("fd00::/8")),
    )


def test_a_type_without_permission_is_excluded_whole() -> None:
    only_dns = constraints_of(_bearer(name_constraints_der(["internal"], [])))
    assert only_dns == Constraints(
        permitted_dns=("internal",), excluded_ip=(ip_network("0.0.0.0/0"), ip_network("::/0"))
    )
    only_ip = constraints_of(_bearer(name_constraints_der([], ["10.0.0.0/8"])))
    assert only_ip == Constraints(permitted_ip=(ip_network("10.0.0.0/8"),), excluded_dns=("",))
    for name, constraints in (("ip:10.0.0.1", only_dns), ("ip:::1", only_dns), ("dns:internal", only_ip)):
        reasons = Reasons()
        check_inside((name,), constraints, reasons)
        assert reasons


def test_no_constraints_and_other_types_are_read() -> None:
    assert constraints_of(_bearer(b"")) == Constraints()
    directory = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]))
    value = x509.NameConstraints([directory, x509.RFC822Name("example")], None).public_bytes()
    assert constraints_of(_bearer(value)).other_types == ("directoryName", "rfc822Name")


@pytest.mark.parametrize("domain", ["*.internal", "inter nal", "internal.", "10.0.0.1", ""])
def test_what_is_no_domain_makes_no_constraint(domain: str) -> None:
    with pytest.raises(Refused):
        name_constraints_der([domain], [])


@pytest.mark.parametrize("ip_range", ["10.0.0.1/8", "web", "10.0.0.0/64", "::ffff:0:0/96"])
def test_what_is_no_range_makes_no_constraint(ip_range: str) -> None:
    with pytest.raises(Refused):
        name_constraints_der(["internal"], [ip_range])
