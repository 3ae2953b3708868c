"""The lint: silent over what the template makes, and a finding for every rule that is broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quicklime.pki import algorithms, der
from quicklime.pki.certificate import EMPTY_NAME, Template, common_name, extension, key_identifier, key_usage
from quicklime.pki.lint import lint
from quicklime.pki.names import Constraints, san_der
from quicklime.pki.profile import BUILTIN, OCSP_RESPONDER, Profile
from tests.support.lab import DAY, NOW, URLS, lab, subscriber_key

VERSION, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, SPKI, EXTENSIONS = range(8)
KEY_USAGE, EKU, BASIC, SAN = "2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.17"
AKI, SKI, AIA, CRL = "2.5.29.35", "2.5.29.14", "1.3.6.1.5.5.7.1.1", "2.5.29.31"
NO_CHECK = "1.3.6.1.5.5.7.48.1.5"


def _fields(tbs: bytes) -> list[bytes]:
    return der.children(tbs)


def _with(field: int, value: bytes, tbs: bytes | None = None) -> bytes:
    """The usual TBSCertificate with one field replaced."""
    fields = _fields(lab().tbs() if tbs is None else tbs)
    fields[field] = value
    return der.sequence(*fields)


def _extensions(tbs: bytes) -> dict[str, bytes]:
    found = {}
    for one in der.children(der.contents(_fields(tbs)[EXTENSIONS])):
        oid = der.children(one)[0]
        found[next(name for name in ALL if der.object_identifier(name) == oid)] = one
    return found


ALL = (KEY_USAGE, EKU, BASIC, SAN, AKI, SKI, AIA, CRL, NO_CHECK)


def _extended(changes: dict[str, bytes | None], *more: bytes, tbs: bytes | None = None) -> bytes:
    """The usual TBSCertificate with some extensions replaced, left out (None), or added."""
    tbs = lab().tbs() if tbs is None else tbs
    found = {**_extensions(tbs), **changes}
    every = [one for one in found.values() if one is not None]
    return _with(EXTENSIONS, der.explicit(3, der.sequence(*every, *more)), tbs)


def _rules(tbs: bytes) -> set[str]:
    return {finding.rule for finding in lint(tbs, lab().facts)}


# --- silent where nothing is wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key_type", algorithms.KEY_TYPES)
@pytest.mark.parametrize("profile", BUILTIN.values(), ids=BUILTIN)
def test_what_the_template_makes_is_clean(profile: Profile, key_type: str) -> None:
    for names in (
        ("dns:web.lab.internal", "ip:10.1.2.3", "ip:fd00::1"),
        ("ip:10.0.0.1",),
        ("dns:*.lab.internal",),
    ):
        tbs = lab().tbs(profile=profile, spki=subscriber_key(key_type), names=names)
        assert not lint(tbs, lab().facts)
    if profile.internal:
        assert not lint(lab().tbs(profile=profile, spki=subscriber_key(key_type), names=()), lab().facts)


@settings(max_examples=200)
@given(
    labels=st.lists(st.from_regex(r"[a-z][a-z0-9]{0,30}", fullmatch=True), max_size=6),
    hosts=st.lists(st.integers(0, 2**24 - 1), max_size=20, unique=True),
    start=st.integers(0, 1000 * DAY),
    seconds=st.integers(1, 90 * DAY),
)
def test_any_names_inside_the_constraints_are_clean(
    labels: list[str], hosts: list[int], start: int, seconds: int
) -> None:
    names = {f"ip:10.{host >> 16}.{host >> 8 & 255}.{host & 255}" for host in hosts}
    names.add("dns:" + ".".join([*labels, "lab.internal"]))
    tbs = lab().tbs(names=sorted(names), not_before=NOW + start, not_after=NOW + start + seconds - 1)
    assert not lint(tbs, lab().facts)


def test_the_year_2050_changes_the_encoding_of_a_time() -> None:
    facts = replace(lab().facts, not_after=2_600_000_000)
    at = 2_524_607_999  # 2049-12-31T23:59:59Z
    for start, end in ((at - 5, at), (at, at + 1), (at + 1, at + 5)):
        assert not lint(lab().tbs(not_before=start, not_after=end), facts)


# --- a finding for every rule ---------------------------------------------------------------------------------------


def _san(*general: bytes, critical: bool = False) -> dict[str, bytes | None]:
    return {SAN: extension(SAN, der.sequence(*general), critical=critical)}


def _dns(text: str) -> bytes:
    return der.tlv(0x82, text.encode())


WEB = _dns("web.lab.internal")
_uri = der.tlv(0x86, b"http://pki.lab.internal/x")


def _access(*methods: tuple[str, bytes]) -> dict[str, bytes | None]:
    parts = [der.sequence(der.object_identifier(oid), location) for oid, location in methods]
    return {AIA: extension(AIA, der.sequence(*parts))}


def _points(*parts: bytes) -> dict[str, bytes | None]:
    return {CRL: extension(CRL, der.sequence(*(der.sequence(part) for part in parts)))}


_FULL = der.tlv(0xA0, der.tlv(0xA0, _uri))
_OCSP, _CA_ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
_ocsp_usage: dict[str, bytes | None] = {
    EKU: extension(EKU, der.sequence(der.object_identifier("1.3.6.1.5.5.7.3.9")))
}


def _usages(*oids: str) -> dict[str, bytes | None]:
    return {EKU: extension(EKU, der.sequence(*map(der.object_identifier, oids)))}


def _key_usage(bits: set[int], *, critical: bool = True) -> dict[str, bytes | None]:
    return {KEY_USAGE: extension(KEY_USAGE, key_usage(frozenset(bits)), critical=critical)}


def _times(start: bytes, end: bytes) -> bytes:
    return _with(VALIDITY, der.sequence(start, end))


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    # the encoding
    "nothing": (lambda: b"", "encoding"),
    "noise": (lambda: b"\x30\x03\x02\x01\x00", "encoding"),
    "trailing octet": (lambda: lab().tbs() + b"\x00", "encoding"),
    "cut off": (lambda: lab().tbs()[:-1], "encoding"),
    "long length": (lambda: _with(SERIAL, b"\x02\x81\x14" + b"\x41" * 20), "encoding"),
    # the fields
    "version 1": (lambda: der.sequence(*_fields(lab().tbs())[1:]), "encoding"),
    "version 2": (lambda: _with(VERSION, der.explicit(0, der.integer(1))), "encoding"),
    "no extensions": (lambda: der.sequence(*_fields(lab().tbs())[:7]), "encoding"),
    "unique identifier": (
        lambda: der.sequence(*_fields(lab().tbs())[:7], der.tlv(0x81, b"\x00\x01"), _fields(lab().tbs())[7]),
        "encoding",
    ),
    "short serial": (lambda: _with(SERIAL, der.integer(7)), "serial"),
    "serial of 21 octets": (lambda: _with(SERIAL, der.tlv(0x02, b"\x00" + b"\xc1" * 20)), "serial"),
    "negative serial": (lambda: _with(SERIAL, der.tlv(0x02, b"\xc1" * 20)), "serial"),
    "low serial": (lambda: _with(SERIAL, der.tlv(0x02, b"\x31" * 20)), "serial"),
    "another algorithm": (lambda: _with(ALGORITHM, algorithms.ECDSA_SHA384), "signature-algorithm"),
    "NULL parameters": (
        lambda: _with(ALGORITHM, der.sequence(der.object_identifier("1.2.840.10045.4.3.2"), der.NULL)),
        "encoding",
    ),
    "another issuer": (lambda: _with(ISSUER, common_name("Lab Issuing CA")), "issuer-name"),
    "issuer of another string type": (
        lambda: _with(ISSUER, lab().facts.subject_der.replace(b"\x0c\x17", b"\x13\x17")),
        "issuer-name",
    ),
    "ends before it begins": (lambda: _times(der.time(NOW), der.time(NOW - 1)), "validity-order"),
    "begins before its issuer": (lambda: lab().tbs(not_before=NOW - DAY), "validity-outside-issuer"),
    "ends after its issuer": (lambda: lab().tbs(not_after=NOW + 1200 * DAY), "validity-outside-issuer"),
    "GeneralizedTime too early": (
        lambda: _times(der.generalized_time(NOW), der.time(NOW + DAY)),
        "time-encoding",
    ),
    "time without seconds": (lambda: _times(der.tlv(0x17, b"2609211200Z"), der.time(NOW + DAY)), "encoding"),
    "time with an offset": (
        lambda: _times(der.tlv(0x17, b"260921120000+0000"), der.time(NOW + DAY)),
        "encoding",
    ),
    "time with a fraction": (
        lambda: _times(der.time(NOW), der.tlv(0x18, b"20261001000000.5Z")),
        "encoding",
    ),
    # the key
    "unknown key algorithm": (
        lambda: _with(
            SPKI, der.sequence(der.sequence(der.object_identifier("1.2.3.4")), der.bit_string(b"x"))
        ),
        "key",
    ),
    "P-521": (
        lambda: _with(
            SPKI,
            der.sequence(
                der.sequence(
                    der.object_identifier("1.2.840.10045.2.1"), der.object_identifier("1.3.132.0.35")
                ),
                der.bit_string(b"\x04" + bytes(132)),
            ),
        ),
        "key",
    ),
    "the issuer's key": (lambda: lab().tbs(spki=lab().signer.public_key), "key"),
    "SKI of another key": (
        lambda: _extended({SKI: extension(SKI, der.octet_string(key_identifier(subscriber_key("ed25519"))))}),
        "subject-key-identifier",
    ),
    "no SKI": (lambda: _extended({SKI: None}), "subject-key-identifier"),
    "two SKI": (lambda: _extended({}, _extensions(lab().tbs())[SKI]), "subject-key-identifier"),
    # the names
    "no SAN": (lambda: _extended({SAN: None}), "names-missing"),
    "no SAN, though it looks like a responder's": (
        lambda: _with(SUBJECT, common_name("Quicklime OCSP responder"), _extended({SAN: None})),
        "names-missing",
    ),
    "two SAN": (lambda: _extended({}, _extensions(lab().tbs())[SAN]), "names-critical"),
    "empty SAN": (lambda: _extended(_san()), "names-encoding"),
    "name twice": (lambda: _extended(_san(WEB, WEB)), "names-encoding"),
    "trailing octet in SAN": (
        lambda: _extended({SAN: extension(SAN, der.sequence(WEB) + b"\x00")}),
        "names-encoding",
    ),
    "name of another length's form": (
        lambda: _extended(_san(b"\x82\x81\x10web.lab.internal")),
        "names-encoding",
    ),
    "SAN critical": (lambda: _extended(_san(WEB, critical=True)), "names-critical"),
    "SAN not critical with empty subject": (lambda: _with(SUBJECT, EMPTY_NAME), "names-critical"),
    "mail address": (lambda: _extended(_san(WEB, der.tlv(0x81, b"a@lab.internal"))), "name-type"),
    "URI": (lambda: _extended(_san(WEB, _uri)), "name-type"),
    "directoryName": (lambda: _extended(_san(WEB, der.tlv(0xA4, common_name("x")))), "name-type"),
    "upper case": (lambda: _extended(_san(WEB, _dns("WEB2.lab.internal"))), "name-syntax"),
    "NUL": (lambda: _extended(_san(WEB, _dns("a\x00.lab.internal"))), "name-syntax"),
    "not ASCII": (lambda: _extended(_san(WEB, _dns("ä.lab.internal"))), "name-syntax"),
    "trailing dot": (lambda: _extended(_san(WEB, _dns("a.lab.internal."))), "name-syntax"),
    "underscore": (lambda: _extended(_san(WEB, _dns("a_b.lab.internal"))), "name-syntax"),
    "inner wildcard": (lambda: _extended(_san(WEB, _dns("a.*.lab.internal"))), "name-syntax"),
    "empty name": (lambda: _extended(_san(WEB, _dns(""))), "name-syntax"),
    "five octets of address": (lambda: _extended(_san(WEB, der.tlv(0x87, bytes(5)))), "name-syntax"),
    "address with mask": (lambda: _extended(_san(WEB, der.tlv(0x87, bytes(8)))), "name-syntax"),
    "outside the domains": (lambda: lab().tbs(names=("dns:web.example.org",)), "name-outside-issuer"),
    "like a domain": (lambda: lab().tbs(names=("dns:evillab.internal",)), "name-outside-issuer"),
    "outside the ranges": (lambda: lab().tbs(names=("ip:192.0.2.1",)), "name-outside-issuer"),
    "another CN": (lambda: _with(SUBJECT, common_name("other.lab.internal")), "subject"),
    "CN and O": (
        lambda: _with(
            SUBJECT,
            der.sequence(
                der.children(common_name("web.lab.internal"))[0],
                der.tlv(0x31, der.sequence(der.object_identifier("2.5.4.10"), der.tlv(0x0C, b"Bank"))),
            ),
        ),
        "subject",
    ),
    # the extensions of the profile
    "unknown extension": (lambda: _extended({}, extension("1.2.3.4", der.NULL)), "extension"),
    "name constraints": (
        lambda: _extended({}, extension("2.5.29.30", _fields_of_constraints(), critical=True)),
        "extension",
    ),
    "poison": (
        lambda: _extended({}, extension("1.3.6.1.4.1.11129.2.4.3", der.NULL, critical=True)),
        "extension",
    ),
    "two keyUsages": (lambda: _extended({}, _extensions(lab().tbs())[KEY_USAGE]), "encoding"),
    "keyUsage not critical": (lambda: _extended(_key_usage({0}, critical=False)), "extension-critical"),
    "EKU critical": (
        lambda: _extended(
            {EKU: extension(EKU, der.sequence(der.object_identifier("1.3.6.1.5.5.7.3.1")), critical=True)}
        ),
        "extension-critical",
    ),
    "CA": (
        lambda: _extended({BASIC: extension(BASIC, der.sequence(der.boolean_true()), critical=True)}),
        "basic-constraints",
    ),
    "no basicConstraints": (lambda: _extended({BASIC: None}), "basic-constraints"),
    "no keyUsage": (lambda: _extended({KEY_USAGE: None}), "key-usage"),
    "keyCertSign": (lambda: _extended(_key_usage({0, 5})), "key-usage"),
    "cRLSign": (lambda: _extended(_key_usage({0, 6})), "key-usage"),
    "keyEncipherment with EC": (lambda: _extended(_key_usage({0, 2})), "key-usage"),
    "keyAgreement with Ed25519": (
        lambda: _extended(_key_usage({0, 4}), tbs=lab().tbs(spki=subscriber_key("ed25519"))),
        "key-usage",
    ),
    "encipherOnly": (lambda: _extended(_key_usage({0, 4, 7})), "key-usage"),
    "no usage": (
        lambda: _extended({KEY_USAGE: extension(KEY_USAGE, b"\x03\x01\x00", critical=True)}),
        "key-usage",
    ),
    "no EKU": (lambda: _extended({EKU: None}), "extended-key-usage"),
    "any EKU": (lambda: _extended(_usages("1.3.6.1.5.5.7.3.1", "2.5.29.37.0")), "extended-key-usage"),
    "EKU twice": (lambda: _extended(_usages("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.1")), "extended-key-usage"),
    "OCSP signing without nocheck": (lambda: _extended(_ocsp_usage), "ocsp-nocheck"),
    "nocheck without OCSP signing": (
        lambda: _extended({NO_CHECK: extension(NO_CHECK, der.NULL)}),
        "ocsp-nocheck",
    ),
    "OCSP signing and more": (
        lambda: _extended(_usages("1.3.6.1.5.5.7.3.9", "1.3.6.1.5.5.7.3.1"), extension(NO_CHECK, der.NULL)),
        "extended-key-usage",
    ),
    "no AKI": (lambda: _extended({AKI: None}), "authority-key-identifier"),
    "AKI of another issuer": (
        lambda: _extended({AKI: extension(AKI, der.sequence(der.tlv(0x80, bytes(20))))}),
        "authority-key-identifier",
    ),
    "no AIA": (lambda: _extended({AIA: None}), "authority-information"),
    "AIA without OCSP": (lambda: _extended(_access((_CA_ISSUERS, _uri))), "authority-information"),
    "AIA without caIssuers": (lambda: _extended(_access((_OCSP, _uri))), "authority-information"),
    "AIA over https": (
        lambda: _extended(_access((_OCSP, der.tlv(0x86, b"https://x.internal")), (_CA_ISSUERS, _uri))),
        "url",
    ),
    "AIA of a directoryName": (
        lambda: _extended(_access((_OCSP, der.tlv(0xA4, common_name("x"))), (_CA_ISSUERS, _uri))),
        "url",
    ),
    "no CRL point": (lambda: _extended({CRL: None}), "crl-points"),
    "two CRL points": (lambda: _extended(_points(_FULL, _FULL)), "crl-points"),
    "CRL point with reasons": (lambda: _extended(_points(_FULL + der.tlv(0x81, b"\x05\x20"))), "crl-points"),
    "CRL point of another issuer": (
        lambda: _extended(_points(_FULL + der.tlv(0xA2, der.tlv(0xA4, common_name("x"))))),
        "crl-points",
    ),
    "CRL point by ldap": (
        lambda: _extended(_points(der.tlv(0xA0, der.tlv(0xA0, der.tlv(0x86, b"ldap://x.internal"))))),
        "url",
    ),
}


def _fields_of_constraints() -> bytes:
    found = lab().facts.constraints_der
    assert found is not None
    return found


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    make, rule = BROKEN[name]
    assert rule in _rules(make())


def test_one_fault_is_one_finding() -> None:
    """What is tested above is seen for itself, and not because everything of the kind is refused."""
    for name in ("low serial", "another CN", "no AIA", "keyCertSign", "mail address", "outside the ranges"):
        make, rule = BROKEN[name]
        assert [finding.rule for finding in lint(make(), lab().facts)] == [rule], name


def test_every_rule_has_a_test() -> None:
    """The rules, as their findings name them in the source."""
    package = Path(der.__file__).parent
    sources = "".join((package / name).read_text() for name in ("lint.py", "lint_profile.py"))
    rules = set(re.findall(r'Finding\(\s*"([a-z-]+)"', sources))
    assert rules == {rule for _, rule in BROKEN.values()}


def test_a_finding_reads_as_a_sentence() -> None:
    (finding,) = lint(_with(SERIAL, der.integer(7)), lab().facts)
    assert str(finding) == "serial: serial 07, expected 20 octets from 0x40 (RFC 5280, Section 4.1.2.2)"


def test_all_findings_are_told_at_once() -> None:
    tbs = _with(SERIAL, der.integer(7), _extended({KEY_USAGE: None, AIA: None, **_san(_dns("x.org"))}))
    assert _rules(tbs) == {"serial", "key-usage", "authority-information", "name-outside-issuer", "subject"}


def test_an_issuer_without_constraints_limits_no_names() -> None:
    facts = replace(lab().facts, constraints=Constraints())
    assert not lint(lab().tbs(names=("dns:web.example.org", "ip:192.0.2.1")), facts)


def test_another_issuers_certificates_are_not_signed_by_mistake() -> None:
    other = lab("ecdsa-p384")
    assert {finding.rule for finding in lint(other.tbs(), lab().facts)} >= {
        "signature-algorithm",
        "issuer-name",
        "authority-key-identifier",
    }


def test_an_authority_is_never_clean() -> None:
    for certificate in (lab().root, lab().intermediate):
        tbs = der.children(certificate)[0]
        assert {"basic-constraints", "key-usage", "extended-key-usage"} <= _rules(tbs)


def test_a_responder_without_names_has_its_own() -> None:
    tbs = Template(lab().facts, OCSP_RESPONDER, URLS).tbs(
        serial="41" * 20, not_before=NOW, not_after=NOW + DAY, spki=subscriber_key("ecdsa-p256"), names=()
    )
    assert not lint(tbs, lab().facts)
    assert "names-missing" in _rules(_with(SUBJECT, common_name("somebody"), tbs))


@settings(max_examples=300)
@given(place=st.integers(0, 2000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_raises_and_is_found_outside_what_was_asked_for(place: int, bit: int) -> None:
    tbs = lab().tbs()
    changed = bytearray(tbs)
    changed[place % len(tbs)] ^= 1 << bit
    lint(bytes(changed), lab().facts)


@given(st.binary(max_size=300))
def test_noise_never_raises(noise: bytes) -> None:
    assert lint(noise, lab().facts)
    assert lint(_extended({}, noise), lab().facts) or not noise
    assert lint(_extended({SAN: extension(SAN, noise)}), lab().facts) or noise == san_der(
        ["dns:web.lab.internal"]
    )
    assert lint(_extended({AIA: extension(AIA, noise)}), lab().facts)
