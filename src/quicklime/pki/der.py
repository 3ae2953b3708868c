"""The few DER pieces that are put together by hand (ITU-T X.690, Section 10).

Only *writing*, and cutting values apart that our own parser (``cryptography``) has accepted or that we wrote.
Anything from outside is parsed by ``cryptography`` first.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from quicklime.errors import Fault

NULL = b"\x05\x00"
GENERALIZED_TIME_FROM_YEAR = 2050


def tlv(tag: int, value: bytes) -> bytes:
    """One DER value: tag octet, definite length in its shortest form, contents."""
    return header(tag, len(value)) + value


def header(tag: int, length: int) -> bytes:
    """What stands before ``length`` octets of contents."""
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, b"".join(parts))


def explicit(number: int, value: bytes) -> bytes:
    """``[number] EXPLICIT value``."""
    return tlv(0xA0 | number, value)


def integer(value: int) -> bytes:
    """A non-negative INTEGER; a leading zero octet keeps the sign (X.690, Section 8.3)."""
    if value < 0:
        raise Fault(f"negative integer {value}")
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def enumerated(value: int) -> bytes:
    return tlv(0x0A, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def boolean_true() -> bytes:
    """DEFAULT FALSE is never encoded in DER, so TRUE is the only BOOLEAN there is to write."""
    return b"\x01\x01\xff"


def octet_string(value: bytes) -> bytes:
    return tlv(0x04, value)


def bit_string(value: bytes) -> bytes:
    """A BIT STRING of whole octets."""
    return tlv(0x03, b"\x00" + value)


@lru_cache(maxsize=256)
def object_identifier(dotted: str) -> bytes:
    arcs = [int(arc) for arc in dotted.split(".")]
    contents = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | (arc & 0x7F))
        contents += bytes(reversed(octets))
    return tlv(0x06, bytes(contents))


def time(unix_seconds: int) -> bytes:
    """Time of a certificate or CRL: UTCTime through 2049, GeneralizedTime after (RFC 5280, Section 4.1.2.5)."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    if moment.year < GENERALIZED_TIME_FROM_YEAR:
        return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return generalized_time(unix_seconds)


def generalized_time(unix_seconds: int) -> bytes:
    """GeneralizedTime without fraction, in Zulu (RFC 5280, Section 4.1.2.5.2)."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return tlv(0x18, (f"{moment.year:04d}" + moment.strftime("%m%d%H%M%SZ")).encode())


def split(data: bytes, start: int = 0) -> tuple[int, int, int]:
    """The value at ``start``: (tag, where its contents begin, where it ends). Definite lengths only.

    Raises Fault where ``data`` does not hold the whole value.
    """
    if start + 2 > len(data):
        raise Fault("DER value cut off")
    tag, first = data[start], data[start + 1]
    begin = start + 2
    if first == 0x80 or first == 0xFF:
        raise Fault("indefinite length in DER")
    if first < 0x80:
        length = first
    else:
        count = first & 0x7F
        length = int.from_bytes(data[begin : begin + count], "big")
        begin += count
    if begin + length > len(data):
        raise Fault("DER value cut off")
    return tag, begin, begin + length


def children(data: bytes) -> list[bytes]:
    """The values, each whole, inside the one constructed value ``data``."""
    _, begin, end = split(data)
    found = []
    while begin < end:
        # nearly all values are short: their length is one octet
        if begin + 2 <= end and data[begin + 1] < 0x80:
            stop = begin + 2 + data[begin + 1]
        else:
            _, _, stop = split(data, begin)
        if stop > end:
            raise Fault("DER value longer than what holds it")
        found.append(data[begin:stop])
        begin = stop
    return found


def contents(data: bytes) -> bytes:
    """The contents octets of the one value ``data``."""
    _, begin, end = split(data)
    return data[begin:end]
