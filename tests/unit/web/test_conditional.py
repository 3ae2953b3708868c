"""Conditions and ranges as RFC 9110 has them, over bytes and over files alike."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quicklime.web.conditional import Representation, answer
from quicklime.web.status_message import Part, Request, Response

BODY = bytes(range(100))
LATER, THEN, EARLIER = (
    formatdate(when, usegmt=True) for when in (1_790_000_001, 1_790_000_000, 1_789_999_999)
)


class Held:
    def read(self, start: int, octets: int) -> bytes:
        return (b"before" + BODY)[start : start + octets]


def octets(response: Response) -> bytes:
    body = response.body
    return body.source.read(body.start, body.octets) if isinstance(body, Part) else body


def ask(method: str = "GET", body: Any = BODY, **headers: str) -> Response:
    found = Representation(
        media_type="application/pkix-crl",
        body=body,
        etag="now",
        last_modified=1_790_000_000,
        headers=(("cache-control", "public"),),
    )
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return answer(Request(method=method, target=b"/x", headers=given, body=b""), found)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"if_none_match": '"now"'}, 304),
        ({"if_none_match": '"old", W/"now"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"old"'}, 200),
        ({"if_none_match": "now"}, 200),
        ({"if_none_match": '"old"', "if_modified_since": LATER}, 200),  # RFC 9110, Section 13.1.3
        ({"if_modified_since": THEN}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": EARLIER}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_modified_since": "Mon, 99 Foo 99999 99:99:99 GMT"}, 200),
        ({"if_match": '"now"'}, 200),
        ({"if_match": 'W/"now"'}, 412),
        ({"if_match": '"old"'}, 412),
        ({"if_match": "*"}, 200),
        ({"if_match": '"now"', "if_none_match": '"now"'}, 304),
        ({"if_unmodified_since": EARLIER}, 412),
        ({"if_unmodified_since": THEN}, 200),
        ({"if_match": '"now"', "if_unmodified_since": EARLIER}, 200),
        ({"if_none_match": '"now"', "range": "bytes=0-1"}, 304),
    ],
)
def test_conditions(headers: dict[str, str], status: int) -> None:
    response = ask(**headers)
    assert response.status == status
    names = dict(response.headers)
    if status in (200, 304):
        assert (names["etag"], names["cache-control"]) == ('"now"', "public")
    if status == 304:
        assert octets(response) == b""


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-1000", (0, 100)),
        ("BYTES=1-2", (1, 3)),
        ("bytes= 1-2 ", (1, 3)),
    ],
)
@pytest.mark.parametrize("body", [BODY, Part(Held(), 6, 100)], ids=["bytes", "file"])
def test_a_range(body: bytes | Part, wanted: str, span: tuple[int, int]) -> None:
    response = ask(body=body, range=wanted)
    assert (response.status, octets(response)) == (206, BODY[slice(*span)])
    assert dict(response.headers)["content-range"] == f"bytes {span[0]}-{span[1] - 1}/100"
    assert dict(response.headers)["etag"] == '"now"'


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=1-2,4-5",
        "bytes=5-4",
        "bytes=",
        "bytes=-",
        "lines=1-2",
        "bytes=a-b",
        "bytes=1-2-3",
        "bytes=" + "9" * 30 + "-",
    ],
)
def test_what_is_no_single_range_gets_the_whole(wanted: str) -> None:
    response = ask(range=wanted)
    assert (response.status, octets(response)) == (200, BODY)


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=999999999999999999-"])
def test_a_range_beyond_the_end_is_told_the_length(wanted: str) -> None:
    response = ask(range=wanted)
    assert (response.status, dict(response.headers)["content-range"]) == (416, "bytes */100")


@pytest.mark.parametrize(
    ("validator", "status"),
    [('"now"', 206), ('"old"', 200), ('W/"now"', 200), (THEN, 200), (LATER, 200), ("now", 200)],
)
def test_if_range_gives_the_part_of_the_same_version_alone(validator: str, status: int) -> None:
    response = ask(range="bytes=50-", if_range=validator)
    assert (response.status, octets(response)) == (status, BODY[50:] if status == 206 else BODY)


def test_head_knows_no_ranges() -> None:
    assert ask(method="HEAD", range="bytes=0-1").status == 200


@given(
    st.text(st.characters(codec="latin-1"), max_size=40),
    st.sampled_from(["range", "if_range", "if_match", "if_none_match", "if_modified_since"]),
)
def test_no_header_makes_it_fail(text: str, name: str) -> None:
    given = {name.replace("_", "-").encode(): text.encode("latin-1"), b"range": b"bytes=1-"} | (
        {b"range": text.encode("latin-1")} if name == "range" else {}
    )
    found = Representation(media_type="x", body=BODY, etag="now", last_modified=1, headers=())
    response = answer(Request(method="GET", target=b"/", headers=given, body=b""), found)
    assert response.status in (200, 206, 304, 412, 416)
