"""Names that certificates may bear: DNS names and IP addresses, typed, in one canonical form.

A name is a string: ``dns:web.internal``, ``dns:*.internal``, ``ip:10.0.0.1``, ``ip:fd00::1`` (RFC 5952 text). Names of any
other type are refused. ``form`` parses and encodes, ``patterns`` says which names a grant means, ``constraints`` which ones an
issuer can certify (RFC 5280, Sections 4.2.1.6 and 4.2.1.10).
"""

from quicklime.pki.names.constraints import Constraints, check_inside, constraints_of, name_constraints_der
from quicklime.pki.names.form import (
    DNS_CHARACTERS_MAX,
    NAMES_MAX,
    TAG_DNS,
    TAG_IP,
    Address,
    Network,
    address_of,
    canonical,
    check_dns,
    domain_of,
    ip_name,
    network_of,
    parse_name,
    quoted,
    san_der,
)
from quicklime.pki.names.patterns import check_pattern, matches

__all__ = [
    "DNS_CHARACTERS_MAX",
    "NAMES_MAX",
    "TAG_DNS",
    "TAG_IP",
    "Address",
    "Constraints",
    "Network",
    "address_of",
    "canonical",
    "check_dns",
    "check_inside",
    "check_pattern",
    "constraints_of",
    "domain_of",
    "ip_name",
    "matches",
    "name_constraints_der",
    "network_of",
    "parse_name",
    "quoted",
    "san_der",
]
