"""Values as HTTP shows and takes them."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from quicklime.errors import Code, Refused
from quicklime.web.render import (
    accepted,
    base64url,
    body_of,
    media_type,
    moment,
    octets_of,
    pem,
    serial_of,
    timestamp,
)
from tests.support.lab import lab

JSON, PEM, DER = "application/json", "application/pem-certificate-chain", "application/pkix-cert"


def request(*headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "headers": raw})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("APPLICATION/JSON", JSON),
        ("application/pkix-cert", DER),
        ("application/pkix-cert, application/json", JSON),
        ("application/json;q=0.1, application/pkix-cert", DER),
        ("application/json;q=0.1,application/pkix-cert;q=0.2,application/pem-certificate-chain;q=0.15", DER),
        ("text/html, */*;q=0.1", JSON),
        ("*/*;q=0.1, application/pkix-cert", DER),
        # the most specific range decides: RFC 9110, Section 12.5.1
        ("application/*;q=1, application/json;q=0", PEM),
        ("*/*, application/json;q=0, application/pem-certificate-chain;q=0", DER),
        ("application/pkix-cert; charset=x; q=0.5, text/plain", DER),
        ("application/json; q=9", JSON),
        ("application/json;q=x, application/pkix-cert;q=0.1", DER),
        ("application/json;q=nan, application/pkix-cert;q=0.1", DER),
        (" , application/pkix-cert ,", DER),
    ],
)
def test_the_form_that_the_client_prefers(accept: str, form: str) -> None:
    assert accepted(request(("accept", accept)), (JSON, PEM, DER)) == form


def test_without_a_word_the_best_is_given() -> None:
    assert accepted(request(), (JSON, PEM, DER)) == JSON


def test_several_lines_are_one_list() -> None:
    # RFC 9110, Section 5.3
    found = accepted(request(("accept", "text/html"), ("accept", "application/pkix-cert")), (JSON, PEM, DER))
    assert found == DER


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "text/*", "", "*", "*/json", "application"]
)
def test_what_can_not_be_given_is_refused(accept: str) -> None:
    with pytest.raises(Refused) as refused:
        accepted(request(("accept", accept)), (JSON, PEM, DER))
    assert refused.value.code == Code.NOT_ACCEPTABLE


@given(st.text(max_size=60))
def test_whatever_is_accepted_it_is_a_form_or_a_refusal(accept: str) -> None:
    asked = request(("accept", accept.encode("latin-1", "ignore").decode("latin-1")))
    found: str = ""
    try:
        found = accepted(asked, (JSON, PEM))
    except Refused as refused:
        found = refused.code
    assert found in {JSON, PEM, Code.NOT_ACCEPTABLE}


@given(st.binary(max_size=100))
def test_base64_is_taken_in_both_alphabets_padded_or_not(octets: bytes) -> None:
    assert octets_of(base64url(octets), "x") == octets
    for text in (b64encode(octets).decode(), urlsafe_b64encode(octets).decode()):
        assert octets_of(text, "x") == octets
        assert octets_of(text.rstrip("="), "x") == octets
        assert octets_of(f"  {text}\n", "x") == octets


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a===",
        "ab!c",
        "a-b!c",
        "+_==",
        "AA AA",
        "AA\nAA",
        "AAA\u00e4",
        "\ud800",
        "A=AA",
        "-A=A",
        "_*__",
        "-\u00e4--",
    ],
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        octets_of(text, "secret")
    assert refused.value.code == Code.REQUEST_MALFORMED
    assert refused.value.reasons[0].field == "secret"
    assert refused.value.reasons[0].detail == "not base64"  # it may be a secret with a slip of the pen


@pytest.mark.parametrize(
    ("text", "serial"),
    [("4F" * 20, "4f" * 20), (":".join(["4f"] * 20), "4f" * 20), ("0" * 40, "0" * 40)],
)
def test_a_serial_in_the_forms_of_other_programs(text: str, serial: str) -> None:
    assert serial_of(text) == serial


@pytest.mark.parametrize(
    "text", ["", "4f", "4f" * 21, "g" * 40, "٤" * 40, "0x" + "4" * 38, "4f " * 13 + "4", "İ" * 20]
)
def test_what_is_no_serial_is_unknown(text: str) -> None:
    with pytest.raises(Refused) as refused:
        serial_of(text)
    assert refused.value.code == Code.CERTIFICATE_UNKNOWN


@given(st.integers(0, 4_102_444_800))
def test_a_time_reads_back(unix_seconds: int) -> None:
    assert moment(timestamp(unix_seconds), "at") == unix_seconds
    assert timestamp(unix_seconds) == datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("text", "unix_seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T12:00:00+01:00", 1_769_857_200),
        ("2026-01-31T11:00:00.9Z", 1_769_857_200),
    ],
)
def test_times_with_their_offset(text: str, unix_seconds: int) -> None:
    assert moment(text, "at") == unix_seconds


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-01-31", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "1769857200", "x" * 5000],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        moment(text, "at")
    assert refused.value.code == Code.REQUEST_MALFORMED
    assert len(refused.value.reasons[0].detail) < 200


def test_pem_is_what_another_library_writes() -> None:
    for der in (lab().root, lab().intermediate):
        assert pem(der) == x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("header", "found"),
    [("Application/JSON; charset=utf-8", JSON), ("", ""), (" application/pkcs10 ;x", "application/pkcs10")],
)
def test_the_media_type_is_bare(header: str, found: str) -> None:
    assert media_type(request(("content-type", header))) == found


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    text: str = ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"number": "1"}',
        b'{"number": 1, "more": 1}',
        b"\xff\xfe",
        b'{"number": NaN}',
        b'{"number":' + b"[" * 100_000,
    ],
)
def test_a_body_of_another_shape_is_refused_with_the_member(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        body_of(body, Shape)
    assert refused.value.code == Code.REQUEST_MALFORMED
    detail = refused.value.reasons[0].detail
    assert detail.startswith("body: ")
    assert detail[6].islower()
    assert len(detail) < 300


def test_the_detail_names_the_member() -> None:
    with pytest.raises(Refused) as refused:
        body_of(b'{"number": "1"}', Shape)
    assert "$.number" in refused.value.reasons[0].detail
