"""Which CRL a certificate is on: a function of its serial and of what its own bytes say, so that it never changes.

RFC 5280, Section 4.2.1.13: the certificate names its CRL distribution point. ``/crl/ISSUER.crl`` is the one list of an
issuer that is not divided, ``/crl/ISSUER/SHARDS/SHARD.crl`` one of several.
"""

from __future__ import annotations

import re
from typing import Final

from quicklime.errors import Fault
from quicklime.pki import der

CRL_POINTS: Final = "2.5.29.31"
CRL_SHARDS_MAX: Final = 1024

_POINTS: Final = der.object_identifier(CRL_POINTS)
_PATH: Final = re.compile(rb"/crl/[0-9a-f]{40}/([1-9][0-9]{0,3})/[0-9]{1,4}\.crl")
_NAME_OCTETS: Final = len("/crl/") + 40


def shard_of(serial: str, shards: int) -> int:
    """Which of ``shards`` lists ``serial`` (hex) belongs to: its last four octets, which are random, modulo ``shards``."""
    return int(serial[-8:], 16) % shards if shards > 1 else 0


def shards_named(tbs: bytes) -> int:
    """Among how many lists the certificates were divided when this TBSCertificate was planned, as its own CRLDP says; else 1.

    It is read from what is signed, so that it stays what it was, whatever the operator changes later.
    """
    place = tbs.rfind(b"/crl/")
    # the plain list's name ends in ``.crl`` where the others go on: nearly always we are done here
    if place < 0 or tbs[place + _NAME_OCTETS : place + _NAME_OCTETS + 1] != b"/":
        return 1
    head = tbs.rfind(_POINTS, 0, place)
    if head < 0:
        return 1
    try:
        _, begin, end = der.split(tbs, head + len(_POINTS))
    except Fault:
        return 1
    found = _PATH.search(tbs, begin, end)
    shards = 1 if found is None else int(found[1])
    return shards if shards <= CRL_SHARDS_MAX else 1
