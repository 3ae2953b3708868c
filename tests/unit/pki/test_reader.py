"""The strict reader lets pass what DER is, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quicklime.pki import der
from quicklime.pki.reader import DEPTH_MAX, VALUES_MAX, NotDER, check_der
from tests.support.hostile import nested

VALUE = st.one_of(
    st.integers(0, 1 << 300).map(der.integer),
    st.binary(max_size=300).map(der.octet_string),
    st.binary(max_size=300).map(der.bit_string),
    st.text(max_size=100).map(lambda text: der.tlv(0x0C, text.encode())),
    st.binary(max_size=100).map(lambda octets: der.tlv(0x82, octets)),
    st.sampled_from(
        [der.NULL, der.boolean_true(), der.object_identifier("2.5.29.17"), der.object_identifier("1.2.128.1")]
    ),
)
TREE = st.recursive(
    VALUE,
    lambda inner: st.lists(inner, max_size=5).flatmap(
        lambda values: st.sampled_from([0x30, 0x31, 0xA0]).map(lambda tag: der.tlv(tag, b"".join(values)))
    ),
    max_leaves=20,
)


@given(TREE)
def test_what_the_writer_writes_is_read(value: bytes) -> None:
    check_der(value)
    if value[0] & 0x20:
        assert b"".join(der.children(value)) == der.contents(value)


@given(TREE, st.binary(min_size=1, max_size=5))
def test_nothing_may_follow(value: bytes, after: bytes) -> None:
    with pytest.raises(NotDER):
        check_der(value + after)


@given(TREE, st.integers(0, 1 << 16))
def test_nothing_may_be_missing(value: bytes, cut: int) -> None:
    with pytest.raises(NotDER):
        check_der(value[: cut % len(value)])


@given(st.binary(max_size=200))
def test_any_octets_are_der_or_not_der(octets: bytes) -> None:
    try:
        check_der(octets)
    except NotDER as refused:
        text = str(refused)
        assert text.isascii()
    else:
        assert der.split(octets)[2] == len(octets)


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        ("", "nothing at all"),
        ("30", "cut off"),
        ("3005", "cut off"),
        ("3080", "indefinite"),
        ("308180" + "00" * 128, "none that belongs"),
        ("30810100", "shortest"),
        ("3082000100", "shortest"),
        ("3085010000000000", "5 octets"),
        ("30ff", "127 octets"),
        ("1f8101", "none that belongs"),
        ("4100", "none that belongs"),
        ("c100", "none that belongs"),
        ("0000", "none that belongs"),
        ("2400", "constructed"),
        ("1000", "none that belongs"),
        ("0100", "BOOLEAN"),
        ("010101", "BOOLEAN"),
        ("0200", "empty"),
        ("02020001", "shortest"),
        ("0202ffff", "shortest"),
        ("0300", "BIT STRING"),
        ("030108", "BIT STRING"),
        ("030101", "BIT STRING"),
        ("03020101", "unused bits"),
        ("050100", "NULL"),
        ("0600", "malformed"),
        ("060181", "malformed"),
        ("06028001", "shortest"),
        ("0603558001", "shortest"),
        ("0641" + "81" * 64 + "01", "more than 64"),
        ("0c01ff", "UTF-8"),
        ("130140", "PrintableString"),
        ("1601ff", "ASCII"),
        ("1e0100", "BMPString"),
    ],
)
def test_what_is_not_der(octets: str, words: str) -> None:
    with pytest.raises(NotDER, match=words):
        check_der(bytes.fromhex(octets))


@pytest.mark.parametrize(
    "octets",
    [
        "3000",
        "010100",
        "0101ff",
        "020100",
        "02020080",
        "0202ff7f",
        "03020780",
        "030100",
        "0500",
        "0603551d11",
        "060388370a",
        "a000",
    ],
)
def test_what_is_der(octets: str) -> None:
    check_der(bytes.fromhex(octets))


def test_depth_and_number_of_values_are_bounded() -> None:
    check_der(nested(DEPTH_MAX))
    check_der(der.sequence(*[der.NULL] * (VALUES_MAX - 1)))
    with pytest.raises(NotDER, match="deeper"):
        check_der(nested(DEPTH_MAX + 1))
    with pytest.raises(NotDER, match="more than"):
        check_der(der.sequence(*[der.NULL] * VALUES_MAX))
    with pytest.raises(NotDER):
        check_der(nested(100_000))
