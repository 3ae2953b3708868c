"""The form of a name: parsing, the one canonical spelling, and DER.

Invariant: whatever ``parse_name`` returned is in canonical form, and parses to itself.

Standards: RFC 5280, Section 4.2.1.6 (subjectAltName); RFC 1123, Section 2.1 (host names); RFC 5890, Section 2.3.1 (labels);
RFC 5891 (IDNA 2008); RFC 5952 (IPv6 text); RFC 9525, Section 6.3 (wildcards).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import idna

from quicklime.errors import Code, Reasons, Refused
from quicklime.pki import der

NAMES_MAX = 100  # of one certificate
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


def malformed(text: str, why: str) -> Refused:
    return Refused(Code.NAME_MALFORMED, f"name {quoted(text)} {why}")


def parse_name(text: str) -> str:
    """The typed, canonical form of ``text``, which may lack the type: ``WEB.internal`` becomes ``dns:web.internal``.

    Raises Refused: ``name-malformed``; ``name-type-refused`` for a mail address, a URI or another type.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        raise malformed(text, f"is too long, expected at most {DNS_CHARACTERS_MAX} characters")
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
        raise malformed(text, "is no IP address, expected for instance 10.0.0.1 or fd00::1") from None
    return _check_address(address)


def _check_address(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise malformed(
                str(address), "has a zone, expected an address that means the same on every machine"
            )
        # two spellings of one address would pass two different constraints
        if address.ipv4_mapped is not None:
            raise malformed(str(address), f"is an IPv4 address inside IPv6, expected {address.ipv4_mapped}")
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
        raise malformed(text, f"has {len(name)} characters, expected at most {DNS_CHARACTERS_MAX}")
    _check_characters(text)
    labels = name.split(".")
    if labels[-1] == "":
        raise malformed(text, "ends in a dot, expected none")
    hosts = labels[1:] if labels[0] == "*" else labels
    if not hosts:
        raise malformed(text, "is a bare wildcard, expected a domain after it")
    for label in hosts:
        _check_label(text, label)
    # a resolver may take such a name for an address: RFC 1123, Section 2.1
    if _NUMERIC.fullmatch(hosts[-1]):
        why = "is an IP address, expected it as an IP name" if _is_address(text) else "ends in a number"
        raise malformed(text, f"{why}, not a DNS name")
    return name


def _check_characters(text: str) -> None:
    if not text:
        raise malformed(text, "is empty, expected a DNS name")
    if not text.isascii():
        raise malformed(text, f"is not ASCII, expected A-labels{_hint(text)}")
    if not text.isprintable() or " " in text:
        raise malformed(text, "holds a control character or a space, expected a DNS name")


def _hint(text: str) -> str:
    """The A-labels (RFC 5890, Section 2.3.2.1) that the writer of U-labels may have meant, where there are any."""
    if (
        len(text) > SHOWN_CHARACTERS_MAX
    ):  # the tables of UTS 46 are slow, and a hundred such names may come at once
        return ""
    try:
        meant = check_dns(idna.encode(text, uts46=True).decode("ascii"))
    except (idna.IDNAError, UnicodeError, IndexError, Refused):
        return ""
    return f", perhaps '{meant}'"


def _check_label(text: str, label: str) -> None:
    if not label:
        raise malformed(text, "has an empty label")
    if len(label) > LABEL_CHARACTERS_MAX:
        raise malformed(
            text, f"has a label of {len(label)} characters, expected at most {LABEL_CHARACTERS_MAX}"
        )
    if "*" in label:
        raise malformed(text, "has a wildcard elsewhere than as its whole first label")
    if not _LABEL.fullmatch(label):
        raise malformed(text, f"has label {quoted(label)}, expected letters, digits and inner hyphens")
    # "--" in third and fourth place is reserved, and only "xn" has a meaning: RFC 5890, Section 2.3.1
    if label[2:4] == "--":
        if not label.startswith("xn--"):
            raise malformed(text, f"has the reserved label {quoted(label)}")
        _check_a_label(text, label)


def _check_a_label(text: str, label: str) -> None:
    """An A-label stands for one valid U-label, in its only spelling (RFC 5891, Section 5.4)."""
    try:
        meant = idna.decode(label, strict=True)
        again = idna.encode(meant, strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError, IndexError, OverflowError):
        raise malformed(text, f"has label {quoted(label)}, which is no valid A-label of IDNA 2008") from None
    if meant.isascii() or again != label:
        raise malformed(
            text, f"has label {quoted(label)}, which stands for {quoted(meant)}, written {quoted(again)}"
        )
    scripts = {unicodedata.name(character, "").partition(" ")[0] for character in meant} & _LOOKALIKE
    if len(scripts) > 1:
        mixed = " and ".join(script.title() for script in sorted(scripts))
        raise malformed(text, f"has label {quoted(label)}, which mixes {mixed} letters")


def canonical(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` parsed, sorted, each once.

    Raises Refused for every one that is no name (``field`` is ``names[i]``), or ``names-too-many``.
    """
    given = tuple(names)
    if len(given) > NAMES_MAX:
        raise Refused(
            Code.NAMES_TOO_MANY,
            f"request has {len(given)} names, expected at most {NAMES_MAX}",
            field="names",
        )
    reasons = Reasons()
    found = set()
    for place, text in enumerate(given):
        with reasons.catching(f"names[{place}]"):
            found.add(parse_name(text))
    reasons.raise_if_any()
    return tuple(sorted(found))


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


def plain_dns(text: str) -> str:
    """``text`` in lower case, where it is a DNS name without wildcard. Raises Refused."""
    name = check_dns(text)
    if name.startswith("*."):
        raise malformed(text, "has a wildcard, expected a domain")
    return name


def network_of(text: str) -> Network:
    """The range that ``text`` (``10.0.0.0/8``) writes. Raises Refused, also where host bits are set."""
    try:
        network = ip_network(text)
    except ValueError:
        raise malformed(
            text, "is no range of IP addresses, expected for instance 10.0.0.0/8, no bit set past the prefix"
        ) from None
    _check_address(network.network_address)
    return network


def domain_of(text: str) -> str:
    """``text`` as a domain without wildcard, in lower case, as name constraints hold it. Raises Refused."""
    return plain_dns(text[4:] if text[:4].lower() == "dns:" else text)
