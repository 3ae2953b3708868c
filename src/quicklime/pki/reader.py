"""Strict reading of DER from strangers (ITU-T X.690, Sections 8 to 11), before anything else looks at it.

Invariant: what ``check_der`` let pass is one value and nothing after it; every length is definite and minimal, every tag short
form, nothing is nested deeper than ``DEPTH_MAX``, and each universal primitive value is spelled the only way DER has. After it,
``der.children`` and ``der.contents`` cut such data apart without surprises. It does not recurse, and takes time linear in the
octets. The order inside a SET OF is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable

DEPTH_MAX = 32
VALUES_MAX = 2000
OID_OCTETS_MAX = 64


class NotDER(ValueError):
    """The octets are no DER, or exceed a limit; the text says what and at which octet, and quotes nothing."""


def check_der(data: bytes, *, depth_max: int = DEPTH_MAX, values_max: int = VALUES_MAX) -> None:
    """Raises NotDER unless ``data`` is exactly one value in strict DER."""
    position, count, size = 0, 0, len(data)
    if not size:
        raise NotDER("nothing at all, expected one DER value")
    ends = [size]
    while ends:
        if position == ends[-1]:
            ends.pop()
            continue
        count += 1
        if count > values_max:
            raise NotDER(f"more than {values_max} values")
        end = ends[-1]
        if position + 2 <= end and data[position + 1] < 0x80 and data[position] in _PLAIN_TAGS:
            tag, begin = data[position], position + 2
            stop = begin + data[position + 1]
            if stop > end:
                raise NotDER(f"value at octet {position} is cut off")
        else:
            tag, begin, stop = _header(data, position, end)
        if len(ends) == 1 and stop != size:
            raise NotDER(f"{size - stop} octets after the end of the value")
        if tag & 0x20:
            if tag < 0x40 and tag != 0x30 and tag != 0x31:
                raise NotDER(f"constructed value of tag {tag:#04x} at octet {position}")
            if len(ends) > depth_max:
                raise NotDER(f"nested deeper than {depth_max}")
            ends.append(stop)
            position = begin
            continue
        if tag < 0x40:
            check = _PRIMITIVES.get(tag)
            if check is None:
                raise NotDER(f"tag {tag:#04x} at octet {position} is none that belongs here")
            check(data, begin, stop)
        position = stop


# one octet, universal or context-specific
_PLAIN_TAGS = frozenset(tag for tag in range(256) if tag & 0x1F != 0x1F and tag & 0xC0 in (0x00, 0x80))


def _header(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Tag, begin and end of the contents of the value at ``position``, all of it before ``end``."""
    if position + 2 > end:
        raise NotDER(f"value at octet {position} is cut off")
    tag, length = data[position], data[position + 1]
    begin = position + 2
    if tag & 0x1F == 0x1F or 0x40 <= tag < 0x80 or tag >= 0xC0:
        raise NotDER(f"tag {tag:#04x} at octet {position} is none that belongs here")
    if length >= 0x80:
        # definite lengths in as few octets as can be: X.690, Section 10.1
        many = length & 0x7F
        if many == 0:
            raise NotDER(f"indefinite length at octet {position}")
        if many > 4:
            raise NotDER(f"length of {many} octets at octet {position}")
        length = int.from_bytes(data[begin : begin + many], "big")
        begin += many
        if begin > end:
            raise NotDER(f"value at octet {position} is cut off")
        if length < 0x80 or length < 1 << (8 * (many - 1)):
            raise NotDER(f"length at octet {position} is not in its shortest form")
    if begin + length > end:
        raise NotDER(f"value at octet {position} is cut off")
    return tag, begin, begin + length


def _boolean(data: bytes, begin: int, end: int) -> None:
    if end - begin != 1 or data[begin] not in (0x00, 0xFF):
        raise NotDER(f"BOOLEAN at octet {begin} is neither 00 nor FF")


def _integer(data: bytes, begin: int, end: int) -> None:
    # the first nine bits are not all alike: X.690, Section 8.3.2
    if begin == end:
        raise NotDER(f"INTEGER at octet {begin} is empty")
    if end - begin > 1 and data[begin] in (0x00, 0xFF) and (data[begin] ^ data[begin + 1]) < 0x80:
        raise NotDER(f"INTEGER at octet {begin} is not in its shortest form")


def _bit_string(data: bytes, begin: int, end: int) -> None:
    # unused bits are zero: X.690, Section 11.2.1
    if begin == end or data[begin] > 7 or (end - begin == 1 and data[begin]):
        raise NotDER(f"BIT STRING at octet {begin} is malformed")
    if data[begin] and data[end - 1] & ((1 << data[begin]) - 1):
        raise NotDER(f"BIT STRING at octet {begin} has unused bits that are set")


def _null(data: bytes, begin: int, end: int) -> None:  # noqa: ARG001 - one shape for all
    if begin != end:
        raise NotDER(f"NULL at octet {begin} is not empty")


def _oid(data: bytes, begin: int, end: int) -> None:
    # no arc begins with 80, the last is complete: X.690, Section 8.19.2
    octets = data[begin:end]
    if not octets or octets[-1] & 0x80:
        raise NotDER(f"OBJECT IDENTIFIER at octet {begin} is malformed")
    if len(octets) > OID_OCTETS_MAX:
        raise NotDER(f"OBJECT IDENTIFIER at octet {begin} has more than {OID_OCTETS_MAX} octets")
    if 0x80 in octets:
        before = 0
        for octet in octets:
            if octet == 0x80 and before < 0x80:
                raise NotDER(f"OBJECT IDENTIFIER at octet {begin} is not in its shortest form")
            before = octet


def _utf8(data: bytes, begin: int, end: int) -> None:
    try:
        data[begin:end].decode("utf-8")
    except UnicodeDecodeError:
        raise NotDER(f"UTF8String at octet {begin} is no UTF-8") from None


def _ascii(data: bytes, begin: int, end: int) -> None:
    if not data[begin:end].isascii():
        raise NotDER(f"string at octet {begin} is not ASCII")


_PRINTABLE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 '()+,-./:=?")


def _printable(data: bytes, begin: int, end: int) -> None:
    if not _PRINTABLE.issuperset(data[begin:end]):
        raise NotDER(f"PrintableString at octet {begin} holds a character that it can't")


def _two_octets(data: bytes, begin: int, end: int) -> None:  # noqa: ARG001 - one shape for all
    if (end - begin) % 2:
        raise NotDER(f"BMPString at octet {begin} has an odd number of octets")


def _anything(data: bytes, begin: int, end: int) -> None:
    """The octets of these mean something only to who knows the field."""


_PRIMITIVES: dict[int, Callable[[bytes, int, int], None]] = {
    0x01: _boolean,
    0x02: _integer,
    0x03: _bit_string,
    0x04: _anything,  # OCTET STRING
    0x05: _null,
    0x06: _oid,
    0x0A: _integer,  # ENUMERATED
    0x0C: _utf8,
    0x12: _ascii,  # NumericString
    0x13: _printable,
    0x14: _anything,  # TeletexString
    0x16: _ascii,  # IA5String
    0x17: _ascii,  # UTCTime
    0x18: _ascii,  # GeneralizedTime
    0x1A: _ascii,  # VisibleString
    0x1C: _anything,  # UniversalString
    0x1E: _two_octets,
}
