"""Name constraints of issuers: reading them, writing them, and whether a name is inside.

Invariant: a name that ``check_inside`` let pass makes no certificate of that issuer invalid, however a verifier reads the
doubtful cases (a leading dot, a wildcard over an excluded name).

Standard: RFC 5280, Section 4.2.1.10.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from cryptography import x509

from quicklime.errors import Code, Reasons
from quicklime.pki import der
from quicklime.pki.names.form import (
    TAG_DNS,
    TAG_IP,
    Address,
    Network,
    address_of,
    domain_of,
    network_of,
    quoted,
)


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
