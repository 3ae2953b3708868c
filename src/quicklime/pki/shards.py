"""Which CRL a certificate is on: a function of its serial and of what its own bytes say, so that it never changes.

RFC 5280, Section 4.2.1.13: the certificate names its CRL distribution point. ``/crl/ISSUER.crl`` is the one list of an
issuer that is not divided, ``/crl/ISSUER/SHARDS/SHARD.crl`` one of several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

CRL_POINTS: Final = "2.5.29.31"
CRL_SHARDS_MAX: Final = 1024

_SHARD: Final = re.compile(rb"/([1-9][0-9]{0,3})/[0-9]{1,4}\.crl")
_BASE_OCTETS_MAX: Final = 500
_NAME_OCTETS: Final = len("/crl/") + 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which certificates a CRL is about: those of ``issuer`` that name list ``shard`` of ``shards`` as theirs."""

    issuer: str
    shards: int = 1
    shard: int = 0

    @property
    def is_plain(self) -> bool:
        """The list of an issuer whose certificates are not divided."""
        return self.shards == 1


def shard_of(serial: str, shards: int) -> int:
    """Which of ``shards`` lists ``serial`` (hex) belongs to: its last four octets, which are random, modulo ``shards``."""
    return int(serial[-8:], 16) % shards if shards > 1 else 0


def point_named(tbs: bytes) -> tuple[str, int] | None:
    """(base URL, number of lists) as the CRLDP in this TBSCertificate says; None where it names no list of ours.

    It is read from what is signed, so that it stays what it was, whatever the operator changes later.
    """
    # names have no slash: the only places where these octets can stand are URLs, and the CRLDP's is the last of them
    place = tbs.rfind(b"/crl/")
    start = tbs.rfind(b"http://", 0, place) if place > 0 else -1
    if start < 0 or place - start > _BASE_OCTETS_MAX:
        return None
    shards = shards_at(tbs, place)
    try:
        return None if shards is None else (tbs[start:place].decode("ascii"), shards)
    except UnicodeDecodeError:
        return None


def shards_named(tbs: bytes) -> int:
    """The number of lists alone; 1 where the certificate names none, which is then on the plain list."""
    place = tbs.rfind(b"/crl/")
    return (shards_at(tbs, place) or 1) if place > 0 else 1


def shards_at(tbs: bytes, place: int) -> int | None:
    """The number of lists that the path at ``place`` names; None where it is not one of ours."""
    end = place + _NAME_OCTETS
    if tbs.startswith(b".crl", end):
        return 1
    found = _SHARD.match(tbs, end)
    if found is None:
        return None
    shards = int(found[1])
    return shards if shards <= CRL_SHARDS_MAX else None
