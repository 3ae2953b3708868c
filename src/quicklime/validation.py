"""Does the requester hold the name? What to expect, which addresses may be asked, and whether an answer is the proof. Pure.

Asking is an adapter's work: the ports (``Resolver``, ``Prober``) stand here, beside what judges their answers. An answer is a
stranger's: of its text only a short, escaped piece is ever shown.

Standards: RFC 8555, Section 8 (challenges); RFC 8737 (tls-alpn-01); RFC 8738 (IP identifiers); RFC 8659 and RFC 8657 (CAA).
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Protocol

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from quicklime.pki import der

HTTP_01: Final = "http-01"
DNS_01: Final = "dns-01"
TLS_ALPN_01: Final = "tls-alpn-01"
METHODS: Final = (HTTP_01, DNS_01, TLS_ALPN_01)

ALPN_PROTOCOL: Final = "acme-tls/1"
CHALLENGE_PATH: Final = "/.well-known/acme-challenge/"
SHOWN_CHARACTERS_MAX: Final = 120
BODY_OCTETS_MAX: Final = 16 * 1024
TXT_RECORDS_MAX: Final = 100
CNAMES_MAX: Final = 8
REDIRECTS_MAX: Final = 5

# id-pe-acmeIdentifier: RFC 8737, Section 6.1
_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Unanswered(Exception):
    """Nobody answered, or not in the protocol. ``type`` is the last part of the ACME error: ``dns``, ``connection``, ``tls``."""

    def __init__(self, type: str, detail: str) -> None:
        super().__init__(detail)
        self.type = type


class CAARecord(msgspec.Struct, frozen=True):
    """RFC 8659, Section 4.1. ``value`` as in the record, escaped to ASCII."""

    flags: int
    tag: str
    value: str


class Fetched(msgspec.Struct, frozen=True):
    """An HTTP response: ``location`` of a redirect, ``body`` cut at ``BODY_OCTETS_MAX``."""

    status: int
    location: str | None
    body: bytes


class Resolver(Protocol):
    """Asks a recursive resolver. Each raises Unanswered (``dns``) for anything but an answer, or the word that there is none."""

    @property
    def address(self) -> str: ...

    async def addresses(self, name: str) -> Sequence[str]:
        """A and AAAA; empty where the name has none."""
        ...

    async def texts(self, name: str) -> Sequence[str]:
        """TXT records, each with its strings joined, CNAMEs followed; empty where there are none."""
        ...

    async def caa(self, name: str) -> Sequence[CAARecord]:
        """The CAA records at exactly this name; empty where there are none."""
        ...


class Prober(Protocol):
    """Talks to an address that was checked before: nothing here resolves a name. Raises Unanswered."""

    async def fetch(self, *, scheme: str, address: str, port: int, host: str, target: str) -> Fetched:
        """GET ``target``. No redirect is followed; a certificate is not looked at."""
        ...

    async def alpn_certificate(self, *, address: str, port: int, server_name: str) -> bytes:
        """The leaf (DER) of a handshake that agreed on ``acme-tls/1``."""
        ...


# --- what the client has to show ------------------------------------------------------------------------------------


def key_authorization(token: str, thumbprint: bytes) -> str:
    """RFC 8555, Section 8.1."""
    return f"{token}.{_base64url(thumbprint)}"


def dns_value(token: str, thumbprint: bytes) -> str:
    """What the TXT record of dns-01 holds (RFC 8555, Section 8.4)."""
    return _base64url(sha256(key_authorization(token, thumbprint).encode("ascii")).digest())


def dns_challenge_name(name: str) -> str:
    """Where the TXT record of dns-01 stands (RFC 8555, Section 8.4); ``name`` without wildcard."""
    return f"_acme-challenge.{name}"


def methods_for(name: str, *, wildcard: bool, allowed: Iterable[str]) -> tuple[str, ...]:
    """Which challenges can prove this typed name.

    A wildcard is proved in DNS alone, because the other methods prove one host; an address never (RFC 8738, Section 7).
    """
    possible = {DNS_01} if wildcard else {HTTP_01, TLS_ALPN_01} if name.startswith("ip:") else set(METHODS)
    return tuple(method for method in METHODS if method in possible and method in set(allowed))


def server_name_of(name: str) -> str:
    """The server name of tls-alpn-01's handshake: of an address its reverse name (RFC 8738, Section 6)."""
    if name.startswith("ip:"):
        return ip_address(name[3:]).reverse_pointer
    return name[4:]


def host_of(name: str) -> str:
    """The Host of http-01: an IPv6 address in brackets (RFC 8738, Section 5)."""
    bare = name.partition(":")[2]
    return f"[{bare}]" if ":" in bare else bare


# --- who may be asked -----------------------------------------------------------------------------------------------

# Never, whatever a policy says: the metadata services of clouds, and what stands for another address or for none.
_NEVER: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
) + tuple(
    IPv6Network(text)
    for text in (
        "::/128",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/32",
        "2002::/16",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "fd00:ec2::254/128",
    )
)


def why_unreachable(text: str, served: Iterable[Network]) -> str | None:
    """Why the validator does not dial this address; None where it does.

    ``served`` are the networks that the operator serves: of addresses that are not public only these are dialled.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return f"{_shown(text)} is no IP address"
    if any(address in network for network in _NEVER if network.version == address.version):
        return f"{address} is an address that is never dialled"
    if any(address in network for network in served if network.version == address.version):
        return None
    if address.is_global and not address.is_multicast:
        return None
    return f"{address} is not public, and not in acme.validation.networks"


# --- is it the proof? -----------------------------------------------------------------------------------------------


def why_not_body(fetched: Fetched, expected: str) -> str | None:
    """RFC 8555, Section 8.3: the body is the key authorization, whitespace may follow."""
    if fetched.status != 200:
        return f"answered with status {fetched.status}, expected 200"
    if hmac.compare_digest(fetched.body.rstrip(b" \t\r\n"), expected.encode("ascii")):
        return None
    return "the answer is not the key authorization of this account and token"


def why_not_texts(texts: Sequence[str], expected: str) -> str | None:
    """RFC 8555, Section 8.4: one of the TXT records holds the digest."""
    if any(hmac.compare_digest(text.encode(), expected.encode()) for text in texts[:TXT_RECORDS_MAX]):
        return None
    return f"{len(texts)} TXT records, none with the digest of this account and token"


def why_not_certificate(certificate: bytes, name: str, expected: str) -> str | None:
    """RFC 8737, Section 3: one name, and the critical digest of the key authorization. The chain does not matter."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        alternative = parsed.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        identifier = parsed.extensions.get_extension_for_oid(_ACME_IDENTIFIER)
        issued_by_itself = parsed.issuer == parsed.subject
        if issued_by_itself:
            parsed.verify_directly_issued_by(parsed)
    except x509.ExtensionNotFound:
        return "the certificate lacks subjectAltName or acmeIdentifier"
    except Exception:  # noqa: BLE001  a stranger's certificate fails in as many ways as there are
        return "the certificate can't be read, or its signature is not its own"
    if not issued_by_itself:
        return "the certificate is not self-signed"
    assert isinstance(alternative, x509.SubjectAlternativeName)
    if [_general(one) for one in alternative] != [name]:
        return f"the certificate does not bear exactly the name {name!r}"
    if not identifier.critical:
        return "acmeIdentifier is not critical"
    assert isinstance(identifier.value, x509.UnrecognizedExtension)
    digest = sha256(expected.encode("ascii")).digest()
    # the whole value, so that nothing stands after the OCTET STRING
    if not hmac.compare_digest(identifier.value.value, der.octet_string(digest)):
        return "acmeIdentifier is not the digest of this account and token"
    return None


def _general(name: x509.GeneralName) -> str:
    if isinstance(name, x509.DNSName):
        return f"dns:{name.value.lower()}"
    if isinstance(name, x509.IPAddress):
        return f"ip:{name.value}"
    return "other"


# --- may we issue for it? -------------------------------------------------------------------------------------------

_ISSUER_CRITICAL: Final = 0x80


def why_caa_forbids(
    records: Sequence[CAARecord],
    *,
    identities: Iterable[str],
    wildcard: bool,
    account_url: str,
    method: str,
) -> str | None:
    """What in the relevant record set forbids issuing (RFC 8659, Section 4); None where nothing does.

    ``identities`` are the domain names by which records call us; ``account_url`` and ``method`` are what RFC 8657 can bind.
    """
    known = {"issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"}
    for record in records:
        if record.tag.lower() not in known and record.flags & _ISSUER_CRITICAL:
            return f"CAA has the critical property {_shown(record.tag)}, which is not known here"
    tags = [record.tag.lower() for record in records]
    tag = "issuewild" if wildcard and "issuewild" in tags else "issue"
    relevant = [record.value for record in records if record.tag.lower() == tag]
    if not relevant:
        return None
    ours = {one.lower() for one in identities}
    for value in relevant:
        parsed = _issue_value(value)
        if parsed is None:
            continue
        domain, parameters = parsed
        if domain in ours and _parameters_allow(parameters, account_url, method):
            return None
    named = ", ".join(_shown(value) for value in relevant[:4])
    return f"CAA ({tag}) names {named}; none of it means this authority and account"


def _issue_value(value: str) -> tuple[str, list[tuple[str, str]]] | None:
    """(issuer domain name, parameters) of RFC 8659, Section 4.2; None where the value is malformed: it then allows nobody."""
    domain, *rest = value.split(";")
    parameters = []
    for part in rest:
        piece = part.strip(" \t")
        if not piece:
            continue
        name, equals, content = piece.partition("=")
        if not equals or not name.strip().isalnum():
            return None
        parameters.append((name.strip().lower(), content.strip()))
    return domain.strip(" \t").lower().rstrip("."), parameters


def _parameters_allow(parameters: list[tuple[str, str]], account_url: str, method: str) -> bool:
    """RFC 8657, Sections 3 and 4: both exact; one that stands twice fits nobody."""
    accounts = [content for name, content in parameters if name == "accounturi"]
    methods = [content for name, content in parameters if name == "validationmethods"]
    if len(accounts) > 1 or len(methods) > 1:
        return False
    if accounts and accounts[0] != account_url:
        return False
    return not methods or method in methods[0].split(",")


def caa_names(name: str) -> tuple[str, ...]:
    """Where CAA is looked for, in order: the name itself and its parents, without the root (RFC 8659, Section 3)."""
    labels = name.removeprefix("*.").split(".")
    return tuple(".".join(labels[place:]) for place in range(len(labels)))


def shown(octets: bytes) -> str:
    """A short, harmless piece of what a stranger said, for evidence."""
    return _shown(octets[: SHOWN_CHARACTERS_MAX * 2].decode("utf-8", "replace"))


def _shown(text: str) -> str:
    escaped = ascii(text)[1:-1]
    return escaped[:SHOWN_CHARACTERS_MAX] + ("..." if len(escaped) > SHOWN_CHARACTERS_MAX else "")


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
