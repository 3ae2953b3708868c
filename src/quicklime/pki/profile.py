"""Profiles: what kind of certificate, for how long, for which names and keys, and who may ask for it.

Invariant: a ``Profile`` that exists is one that can be issued under: whatever it says was checked when it was made, and
no profile makes an authority. RFC 5280, Sections 4.2.1.3 and 4.2.1.12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from quicklime.errors import Refused
from quicklime.pki.names import check_pattern

DAY: Final = 86_400
HOUR: Final = 3_600

# Bit numbers of RFC 5280, Section 4.2.1.3. Left out: keyCertSign and cRLSign are for authorities, encipherOnly and
# decipherOnly say nothing without a key agreement that nobody here offers.
KEY_USAGES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "digitalSignature": 0,
        "contentCommitment": 1,
        "keyEncipherment": 2,
        "dataEncipherment": 3,
        "keyAgreement": 4,
    }
)
OCSP_SIGNING: Final = "1.3.6.1.5.5.7.3.9"
# RFC 5280, Section 4.2.1.12
EXTENDED_KEY_USAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "serverAuth": "1.3.6.1.5.5.7.3.1",
        "clientAuth": "1.3.6.1.5.5.7.3.2",
        "codeSigning": "1.3.6.1.5.5.7.3.3",
        "emailProtection": "1.3.6.1.5.5.7.3.4",
        "OCSPSigning": OCSP_SIGNING,
    }
)
# anyExtendedKeyUsage would undo the others; timeStamping must be critical and alone (RFC 3161, Section 2.3), which no
# profile here can say.
_REFUSED_USAGES: Final = frozenset({"2.5.29.37.0", "1.3.6.1.5.5.7.3.8"})

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_OID = re.compile(
    r"(?:[01]\.(?:[0-9]|[1-3][0-9])|2\.(?:0|[1-9][0-9]{0,8}))(?:\.(?:0|[1-9][0-9]{0,18})){1,30}"
)
_KEY_TYPE = re.compile(r"ecdsa-p(?:256|384)|rsa-[2-8][0-9]{3}|ed25519|ml-dsa-(?:44|65|87)")

VALIDITY_SECONDS_MIN: Final = 60
VALIDITY_SECONDS_MOST: Final = 3_650 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of certificate. Empty ``allowed_name_patterns``, ``key_types`` or ``requesters`` limit nothing.

    ``extended_key_usage`` holds names of RFC 5280 or dotted object identifiers. ``requesters`` are roles, labels of
    tokens, or kinds of identity. ``internal`` profiles are for Quicklime's own certificates alone. Raises ValueError
    naming every fault.
    """

    name: str
    validity_seconds: int
    validity_seconds_max: int
    key_usage: tuple[str, ...] = ("digitalSignature",)
    extended_key_usage: tuple[str, ...]
    allowed_name_patterns: tuple[str, ...] = ()
    key_types: tuple[str, ...] = ()
    requesters: tuple[str, ...] = ()
    wildcard_allowed: bool = False
    renewal_grace_seconds: int = 0
    backdate_seconds: int = 300
    internal: bool = False

    def __post_init__(self) -> None:
        faults = tuple(self._faults())
        if faults:
            raise ValueError(f"profile {self.name[:64]!r}: " + "; ".join(faults))

    @property
    def is_responder(self) -> bool:
        """Whether its certificates sign OCSP answers (RFC 6960, Section 4.2.2.2)."""
        return OCSP_SIGNING in self.extended_key_usage_oids

    @property
    def extended_key_usage_oids(self) -> tuple[str, ...]:
        return tuple(EXTENDED_KEY_USAGES.get(usage, usage) for usage in self.extended_key_usage)

    def _faults(self) -> Iterator[str]:
        if not _NAME.fullmatch(self.name):
            yield "name is not 1 to 64 of a-z, 0-9, '.', '_' and '-', letters or digits at both ends"
        yield from self._faults_of_times()
        yield from self._faults_of_usages()
        for pattern in self.allowed_name_patterns:
            try:
                check_pattern(pattern)
            except Refused as refused:
                yield f"allowed_name_patterns: {refused.reasons[0].detail}"
        for key_type in self.key_types:
            if not _KEY_TYPE.fullmatch(key_type):
                yield f"key_types: {key_type[:64]!r}, expected for instance 'ecdsa-p256', 'rsa-3072' or 'ml-dsa-65'"

    def _faults_of_times(self) -> Iterator[str]:
        if not VALIDITY_SECONDS_MIN <= self.validity_seconds_max <= VALIDITY_SECONDS_MOST:
            yield (
                f"validity_seconds_max is {self.validity_seconds_max}, "
                f"expected {VALIDITY_SECONDS_MIN} to {VALIDITY_SECONDS_MOST}"
            )
        if not VALIDITY_SECONDS_MIN <= self.validity_seconds <= self.validity_seconds_max:
            yield (
                f"validity_seconds is {self.validity_seconds}, "
                f"expected {VALIDITY_SECONDS_MIN} to validity_seconds_max ({self.validity_seconds_max})"
            )
        if not 0 <= self.backdate_seconds < self.validity_seconds:
            yield f"backdate_seconds is {self.backdate_seconds}, expected 0 to less than validity_seconds"
        if not 0 <= self.renewal_grace_seconds <= VALIDITY_SECONDS_MOST:
            yield f"renewal_grace_seconds is {self.renewal_grace_seconds}, expected 0 to {VALIDITY_SECONDS_MOST}"

    def _faults_of_usages(self) -> Iterator[str]:
        unknown = [usage[:64] for usage in self.key_usage if usage not in KEY_USAGES]
        if unknown:
            yield f"key_usage: {unknown!r}, expected some of {list(KEY_USAGES)!r}"
        # Every key type that is supported signs; the other usages fall away where a key can't do them.
        if "digitalSignature" not in self.key_usage:
            yield "key_usage lacks 'digitalSignature', which is all that an EC, Ed25519 or ML-DSA key can be used for"
        if not self.extended_key_usage:
            yield "extended_key_usage is empty: the certificate would be good for everything"
        oids = self.extended_key_usage_oids
        for usage, oid in zip(self.extended_key_usage, oids, strict=True):
            if not _OID.fullmatch(oid):
                yield (
                    f"extended_key_usage: {usage[:64]!r}, "
                    f"expected one of {list(EXTENDED_KEY_USAGES)!r} or an object identifier"
                )
            if oid in _REFUSED_USAGES:
                yield f"extended_key_usage: {usage!r} is not for subscribers"
            # Whoever holds such a certificate answers for every other one.
            if oid == OCSP_SIGNING and not self.internal:
                yield f"extended_key_usage: {usage!r} is for Quicklime's own responders alone"
        if len(set(oids)) != len(oids) or len(set(self.key_usage)) != len(self.key_usage):
            yield "a usage stands twice"


_MONTH: Final = 30 * DAY
_QUARTER: Final = 90 * DAY

SERVER: Final = Profile(
    name="server",
    validity_seconds=_MONTH,
    validity_seconds_max=_QUARTER,
    extended_key_usage=("serverAuth",),
    wildcard_allowed=True,
)
CLIENT: Final = Profile(
    name="client", validity_seconds=_MONTH, validity_seconds_max=_QUARTER, extended_key_usage=("clientAuth",)
)
PEER: Final = Profile(
    name="peer",
    validity_seconds=_MONTH,
    validity_seconds_max=_QUARTER,
    extended_key_usage=("serverAuth", "clientAuth"),
)
# RFC 6960, Section 4.2.2.2.1: with ocsp-nocheck nobody asks for its status, so it does not live long.
OCSP_RESPONDER: Final = Profile(
    name="ocsp-responder",
    validity_seconds=7 * DAY,
    validity_seconds_max=14 * DAY,
    extended_key_usage=("OCSPSigning",),
    backdate_seconds=HOUR,
    internal=True,
)

BUILTIN: Final[Mapping[str, Profile]] = MappingProxyType(
    {profile.name: profile for profile in (SERVER, CLIENT, PEER, OCSP_RESPONDER)}
)
