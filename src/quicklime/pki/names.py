"""Names that certificates may bear: DNS names and IP addresses, typed, in one canonical form.

A name is a string: ``dns:web.internal``, ``dns:*.internal``, ``ip:10.0.0.1``, ``ip:fd00::1`` (RFC 5952 text). Names of any
other type are refused. Invariant: whatever ``parse_name`` returned is in canonical form, and parses to itself.

Standards: RFC 5280, Sections 4.2.1.6 and 4.2.1.10 (names, constraints); RFC 1123, Section 2.1 (host names); RFC 5890,
Section 2.3.1 (labels); RFC 5891 (IDNA 2008); RFC 5952 (IPv6 text); RFC 9525, Section 6.3 (wildcards).

Patterns, which grants and profiles are made of, with or without the type in front:

=====================  ==========================================================================================
``web.internal``       this name alone
``*.internal``         one label more (``web.internal``), and the literal wildcard name ``*.internal``
``**.internal``        one label or more (``a.b.internal``), wildcard names too; not ``internal`` itself
``**``                 every DNS name, meant for administrators
``ip:10.0.0.0/8``      every address of the range; ``ip:10.0.0.1`` this address alone
=====================  ==========================================================================================
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import idna
from cryptography import x509

from quicklime.errors import Code, Reasons, Refused
from quicklime.pki import der

DNS_CHARACTERS_MAX = 253
LABEL_CHARACTERS_MAX = 63
TEXT_CHARACTERS_MAX = 512
SHOWN_CHARACTERS_MAX = 80

TAG_DNS = 0x82
TAG_IP = 0x87

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# LDH labels (RFC 1123, Section 2.1), a wildcard only as the whole left-most label; the last label begins with a letter and
# has no reserved "--", so that a full match needs no second look. What does not match is examined label by label.
_PLAIN = re.compile(
    r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9]|-(?!-)){0,62}(?<!-)\.){0,126}[a-z](?:[a-z0-9]|-(?!-)){0,62}(?<!-)"
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_OTHER_TYPE = re.compile(
    r"(?:email|rfc822|rfc822name|uri|url|rid|dirname|othername|x400|edi)[:;]", re.IGNORECASE
)

# Alphabets whose letters look alike: one label holds letters of at most one of them (Unicode UTS 39, Section 5.2).
_LOOKALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})


def quoted(text: str) -> str:
    """``text`` fit for a message: escaped to ASCII, cut at 80 characters."""
    if len(text) > SHOWN_CHARACTERS_MAX:
        return f"{text[:SHOWN_CHARACTERS_MAX]!a}... ({len(text)} characters)"
    return ascii(text)


def _malformed(text: str, why: str) -> Refused:
    return Refused(Code.NAME_MALFORMED, f"name {quoted(text)} {why}")


def parse_name(text: str) -> str:
    """The typed, canonical form of ``text``, which may lack the type: ``WEB.internal`` becomes ``dns:web.internal``.

    Raises Refused: ``name-malformed``; ``name-type-refused`` for a mail address, a URI or another type.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        raise _malformed(text, f"is too long, expected at most {DNS_CHARACTERS_MAX} characters")
    plain = text.lower()
    if len(text) <= DNS_CHARACTERS_MAX and text.isascii() and _PLAIN.fullmatch(plain):
        return f"dns:{plain}"
    kind = text[:4].lower()
    if kind == "dns:":
        return f"dns:{check_dns(text[4:])}"
    if kind[:3] == "ip:":
        return f"ip:{_address(text[3:])}"
    if _OTHER_TYPE.match(text) or "@" in text or "://" in text:
        raise Refused(
            Code.NAME_TYPE_REFUSED,
            f"name {quoted(text)} is neither a DNS name nor an IP address, expected one of these",
        )
    if ":" in text or _is_address(text):
        return f"ip:{_address(text)}"
    return f"dns:{check_dns(text)}"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> Address:
    """The address that ``text`` writes. Raises Refused."""
    try:
        address = ip_address(text)
    except ValueError:
        raise _malformed(text, "is no IP address, expected for instance 10.0.0.1 or fd00::1") from None
    return _check_address(address)


def _check_address(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise _malformed(
                str(address), "has a zone, expected an address that means the same on every machine"
            )
        # two spellings of one address would pass two different constraints
        if address.ipv4_mapped is not None:
            raise _malformed(str(address), f"is an IPv4 address inside IPv6, expected {address.ipv4_mapped}")
    return address


def ip_name(octets: bytes) -> str:
    """The typed name of an iPAddress: 4 or 16 octets, network order (RFC 5280, Section 4.2.1.6). Raises Refused."""
    if len(octets) not in {4, 16}:
        raise Refused(Code.NAME_MALFORMED, f"IP address of {len(octets)} octets, expected 4 or 16")
    return f"ip:{_check_address(ip_address(octets))}"


def check_dns(text: str) -> str:
    """``text`` in lower case, where it is a DNS name that a certificate may bear, perhaps with a wildcard. Raises Refused."""
    name = text.lower() if text.isascii() else text
    if len(name) <= DNS_CHARACTERS_MAX and _PLAIN.fullmatch(name):
        return name
    if len(name) > DNS_CHARACTERS_MAX:
        raise _malformed(text, f"has {len(name)} characters, expected at most {DNS_CHARACTERS_MAX}")
    _check_characters(text)
    labels = name.split(".")
    if labels[-1] == "":
        raise _malformed(text, "ends in a dot, expected none")
    hosts = labels[1:] if labels[0] == "*" else labels
    if not hosts:
        raise _malformed(text, "is a bare wildcard, expected a domain after it")
    for label in hosts:
        _check_label(text, label)
    # a resolver may take such a name for an address: RFC 1123, Section 2.1
    if _NUMERIC.fullmatch(hosts[-1]):
        why = "is an IP address, expected it as an IP name" if _is_address(text) else "ends in a number"
        raise _malformed(text, f"{why}, not a DNS name")
    return name


def _check_characters(text: str) -> None:
    if not text:
        raise _malformed(text, "is empty, expected a DNS name")
    if not text.isascii():
        raise _malformed(text, f"is not ASCII, expected A-labels{_hint(text)}")
    if not text.isprintable() or " " in text:
        raise _malformed(text, "holds a control character or a space, expected a DNS name")


def _hint(text: str) -> str:
    """The A-labels (RFC 5890, Section 2.3.2.1) that the writer of U-labels may have meant, where there are any."""
    try:
        meant = check_dns(idna.encode(text, uts46=True).decode("ascii"))
    except (idna.IDNAError, UnicodeError, IndexError, Refused):
        return ""
    return f", perhaps '{meant}'"


def _check_label(text: str, label: str) -> None:
    if not label:
        raise _malformed(text, "has an empty label")
    if len(label) > LABEL_CHARACTERS_MAX:
        raise _malformed(
            text, f"has a label of {len(label)} characters, expected at most {LABEL_CHARACTERS_MAX}"
        )
    if "*" in label:
        raise _malformed(text, "has a wildcard elsewhere than as its whole first label")
    if not _LABEL.fullmatch(label):
        raise _malformed(text, f"has label {quoted(label)}, expected letters, digits and inner hyphens")
    # "--" in third and fourth place is reserved, and only "xn" has a meaning: RFC 5890, Section 2.3.1
    if label[2:4] == "--":
        if not label.startswith("xn--"):
            raise _malformed(text, f"has the reserved label {quoted(label)}")
        _check_a_label(text, label)


def _check_a_label(text: str, label: str) -> None:
    """An A-label stands for one valid U-label, in its only spelling (RFC 5891, Section 5.4)."""
    try:
        meant = idna.decode(label, strict=True)
        again = idna.encode(meant, strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError, IndexError, OverflowError):
        raise _malformed(text, f"has label {quoted(label)}, which is no valid A-label of IDNA 2008") from None
    if meant.isascii() or again != label:
        raise _malformed(
            text, f"has label {quoted(label)}, which stands for {quoted(meant)}, written {quoted(again)}"
        )
    scripts = {unicodedata.name(character, "").partition(" ")[0] for character in meant} & _LOOKALIKE
    if len(scripts) > 1:
        mixed = " and ".join(script.title() for script in sorted(scripts))
        raise _malformed(text, f"has label {quoted(label)}, which mixes {mixed} letters")


def canonical(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` parsed, sorted, each once. Raises Refused for the first that is no name."""
    return tuple(sorted({parse_name(name) for name in names}))


def address_of(name: str) -> Address | None:
    """The address of an ``ip:`` name in canonical form; None for a DNS name."""
    return ip_address(name[3:]) if name.startswith("ip:") else None


def san_der(names: Iterable[str]) -> bytes:
    """GeneralNames (RFC 5280, Section 4.2.1.6), the value inside subjectAltName's OCTET STRING, from canonical names."""
    parts = []
    for name in names:
        address = address_of(name)
        if address is None:
            parts.append(der.tlv(TAG_DNS, name[4:].encode("ascii")))
        else:
            parts.append(der.tlv(TAG_IP, address.packed))
    return der.sequence(*parts)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> tuple[str, str | Network]:
    """What ``pattern`` means: ("name", name), ("one", ".suffix"), ("deep", ".suffix") or ("range", network)."""
    if len(pattern) > TEXT_CHARACTERS_MAX:
        raise _malformed(pattern, "is too long for a pattern")
    text = pattern[4:] if pattern[:4].lower() == "dns:" else pattern
    if text == "**":
        return "deep", ""
    if text.startswith("**."):
        return "deep", "." + _plain_dns(text[3:])
    if text.startswith("*."):
        return "one", "." + _plain_dns(text[2:])
    bare = pattern[3:] if pattern[:3].lower() == "ip:" else pattern
    if "/" in bare:
        return "range", network_of(bare)
    return "name", parse_name(pattern)


def _plain_dns(text: str) -> str:
    name = check_dns(text)
    if name.startswith("*."):
        raise _malformed(text, "has a wildcard, expected a domain")
    return name


def network_of(text: str) -> Network:
    """The range that ``text`` (``10.0.0.0/8``) writes. Raises Refused, also where host bits are set."""
    try:
        network = ip_network(text)
    except ValueError:
        raise _malformed(
            text, "is no range of IP addresses, expected for instance 10.0.0.0/8, no bit set past the prefix"
        ) from None
    _check_address(network.network_address)
    return network


def domain_of(text: str) -> str:
    """``text`` as a domain without wildcard, in lower case, as name constraints hold it. Raises Refused."""
    return _plain_dns(text[4:] if text[:4].lower() == "dns:" else text)


def check_pattern(text: str) -> str:
    """``text`` where it is a pattern. Raises Refused (``name-malformed``, ``name-type-refused``)."""
    _compiled(text)
    return text


def matches(pattern: str, name: str) -> bool:
    """Whether the canonical ``name`` is one that ``pattern`` means. What is no pattern matches nothing."""
    try:
        kind, value = _compiled(pattern)
    except Refused:
        return False
    if isinstance(value, str):
        if kind == "name":
            return name == value
        if not name.startswith("dns:") or not name.endswith(value):
            return False
        first = name[4 : len(name) - len(value)]
        return bool(first) and (kind == "deep" or "." not in first)
    address = address_of(name)
    return address is not None and address in value


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """An issuer's name constraints (RFC 5280, Section 4.2.1.10), as parsed.

    Where no subtree of a type is permitted, every name of that type is, but those excluded. ``other_types`` are the ASN.1
    choices (``rfc822Name``, ``directoryName``...) that the constraints speak of besides; no name that Quicklime issues has
    such a type, but a subject is a directoryName.
    """

    permitted_dns: tuple[str, ...] = ()
    permitted_ip: tuple[Network, ...] = ()
    excluded_dns: tuple[str, ...] = ()
    excluded_ip: tuple[Network, ...] = ()
    other_types: tuple[str, ...] = ()

    @property
    def has_permitted_dns(self) -> bool:
        return bool(self.permitted_dns)

    @property
    def has_permitted_ip(self) -> bool:
        return bool(self.permitted_ip)


_CHOICES: dict[type[x509.GeneralName], str] = {
    x509.RFC822Name: "rfc822Name",
    x509.UniformResourceIdentifier: "uniformResourceIdentifier",
    x509.DirectoryName: "directoryName",
    x509.RegisteredID: "registeredID",
    x509.OtherName: "otherName",
}


def constraints_of(certificate: x509.Certificate) -> Constraints:
    """The name constraints that ``certificate`` puts on what it issues. Raises ValueError where they can't be read."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return Constraints()
    permitted = extension.permitted_subtrees or []
    excluded = extension.excluded_subtrees or []
    return Constraints(
        permitted_dns=tuple(base.value.lower() for base in permitted if isinstance(base, x509.DNSName)),
        permitted_ip=_networks(permitted),
        excluded_dns=tuple(base.value.lower() for base in excluded if isinstance(base, x509.DNSName)),
        excluded_ip=_networks(excluded),
        other_types=tuple(
            sorted({_CHOICES[type(base)] for base in (*permitted, *excluded) if type(base) in _CHOICES})
        ),
    )


def _networks(bases: Iterable[x509.GeneralName]) -> tuple[Network, ...]:
    values = (base.value for base in bases if isinstance(base, x509.IPAddress))
    return tuple(value for value in values if isinstance(value, IPv4Network | IPv6Network))


def check_inside(names: Iterable[str], constraints: Constraints, reasons: Reasons) -> None:
    """Add ``name-outside-issuer`` for each canonical name that makes a certificate of such an issuer invalid.

    ``field`` is ``names[i]``, ``i`` the place in ``names``.
    """
    for place, name in enumerate(names):
        address = address_of(name)
        if address is None:
            why = _outside_dns(name[4:], constraints)
        else:
            why = _outside_ip(address, constraints)
        if why:
            reasons.add(Code.NAME_OUTSIDE_ISSUER, f"name {quoted(name)} is {why}", f"names[{place}]")


def _outside_dns(name: str, constraints: Constraints) -> str:
    # "Any DNS name that can be constructed by simply adding zero or more labels to the left-hand side of the name
    # satisfies the name constraint": RFC 5280, Section 4.2.1.10
    permitted = constraints.permitted_dns
    if permitted and not any(_under(name, base) for base in permitted):
        return f"outside {permitted!r}"
    for base in constraints.excluded_dns:
        # a wildcard covers the names one label below its domain, among them perhaps the excluded one
        bare = base.removeprefix(".")
        if _under(name, bare) or (name.startswith("*.") and name[2:] == bare.partition(".")[2]):
            return f"inside {base!r}, which the issuer excludes"
    return ""


def _under(name: str, base: str) -> bool:
    """Whether ``name`` is ``base`` or ends in it at a label's edge; a base with a leading dot means what is below it."""
    if base.startswith("."):
        return name.endswith(base)
    return not base or name == base or name.endswith("." + base)


def _outside_ip(address: Address, constraints: Constraints) -> str:
    permitted = constraints.permitted_ip
    if permitted and not any(address in network for network in permitted):
        return f"outside {tuple(map(str, permitted))!r}"
    for network in constraints.excluded_ip:
        if address in network:
            return f"inside {str(network)!r}, which the issuer excludes"
    return ""


def name_constraints_der(domains: Iterable[str], ip_ranges: Iterable[str]) -> bytes:
    """NameConstraints (RFC 5280, Section 4.2.1.10) that permit ``domains`` with all below them, and ``ip_ranges``.

    A type that is not spoken of is unconstrained, so both are always written: where the operator names none of a type, all of
    it is excluded. Of the other types none is written: nothing issued here ever bears such a name, and verifiers differ in
    what they make of an empty mail or URI constraint inside a critical extension. Raises Refused.
    """
    permitted_dns = sorted({domain_of(domain) for domain in domains})
    permitted_ip = sorted(
        {network_of(text.removeprefix("ip:")) for text in ip_ranges},
        key=lambda network: (network.version, network),
    )
    permitted = [der.tlv(TAG_DNS, domain.encode("ascii")) for domain in permitted_dns]
    permitted += [_ip_base(network) for network in permitted_ip]
    excluded = [] if permitted_dns else [der.tlv(TAG_DNS, b"")]
    if not permitted_ip:
        excluded += [_ip_base(IPv4Network("0.0.0.0/0")), _ip_base(IPv6Network("::/0"))]
    parts = []
    if permitted:
        parts.append(der.explicit(0, b"".join(der.sequence(base) for base in permitted)))
    if excluded:
        parts.append(der.explicit(1, b"".join(der.sequence(base) for base in excluded)))
    return der.sequence(*parts)


def _ip_base(network: Network) -> bytes:
    """Address and mask, 8 or 32 octets (RFC 5280, Section 4.2.1.10)."""
    return der.tlv(TAG_IP, network.network_address.packed + network.netmask.packed)
