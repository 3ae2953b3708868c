"""Problem documents: every code has its entry, every reason is told, of a fault nothing leaves but an id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.responses import Response

from quicklime.errors import BrokenState, Code, Fault, InvariantBroken, Reason, Refused
from quicklime.log import AppendFailed, AppendUnknown, LogUnreadable
from quicklime.pki.signer import SignerUnavailable
from quicklime.web.problem import MEDIA_TYPE, REGISTRY, is_ours, refusal_of, respond

SECRET = "/var/lib/quicklime/log: PIN 1234"


def document(response: Response) -> dict[str, object]:
    assert response.media_type == MEDIA_TYPE
    found: dict[str, object] = json.loads(bytes(response.body))
    return found


def test_every_code_has_one_entry() -> None:
    assert set(REGISTRY) == set(Code)


@pytest.mark.parametrize("code", Code)
def test_an_entry_says_what_and_what_to_do(code: Code) -> None:
    entry = REGISTRY[code]
    assert 400 <= entry.status < 600
    assert entry.title[0].isupper()
    assert not entry.title.endswith(".")
    assert entry.remedy.endswith(".")
    # a fault of the requester is never told as ours, but for a profile that the operator wrote
    assert entry.status < 500 or entry.status == 503 or code == Code.LINT_FAILED


@pytest.mark.parametrize("code", Code)
def test_a_refusal_as_a_document(code: Code) -> None:
    response = respond(Refused(code, "what is wrong", field="names[3]"), "0123")
    found = document(response)
    assert response.status_code == found["status"] == REGISTRY[code].status
    assert found == {
        "type": f"urn:quicklime:error:{code}",
        "title": REGISTRY[code].title,
        "status": REGISTRY[code].status,
        "detail": "what is wrong",
        "instance": "urn:quicklime:request:0123",
        "reasons": [{"code": code, "detail": "what is wrong", "field": "names[3]"}],
    }
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)
    assert ("retry-after" in response.headers) == (response.status_code in {429, 503})


def test_every_reason_is_told_the_weightiest_first() -> None:
    refused = Refused.of(
        [
            Reason(Code.NAME_NOT_ALLOWED, "one", "names[0]"),
            Reason(Code.CSR_MALFORMED, "two", "csr"),
            Reason(Code.NAME_NOT_ALLOWED, "three"),
        ]
    )
    found = document(respond(refused))
    assert (found["status"], found["detail"]) == (403, "one")
    assert found["reasons"] == [
        {"code": "name-not-allowed", "detail": "one", "field": "names[0]"},
        {"code": "csr-malformed", "detail": "two", "field": "csr"},
        {"code": "name-not-allowed", "detail": "three"},
    ]
    assert "instance" not in found


def test_how_long_to_wait() -> None:
    assert respond(Refused(Code.RATE_LIMITED, "", retry_after_seconds=42)).headers["retry-after"] == "42"
    assert respond(Refused(Code.RENEWAL_IN_PROGRESS, "", retry_after_seconds=1)).headers["retry-after"] == "1"
    assert int(respond(Refused(Code.BUSY, "")).headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "error",
    [
        Fault(SECRET),
        InvariantBroken(SECRET),
        BrokenState(SECRET, hint=SECRET),
        ValueError(SECRET),
        OSError(2, SECRET, "/etc/shadow"),
        KeyError(SECRET),
    ],
)
def test_of_a_fault_nothing_leaves_but_the_id(error: Exception) -> None:
    response = respond(error, "0123")
    assert document(response) == {
        "type": "about:blank",
        "title": "Internal error",
        "status": 500,
        "detail": "the request failed for a reason of ours",
        "instance": "urn:quicklime:request:0123",
    }
    assert response.status_code == 500
    assert SECRET.encode() not in bytes(response.body)
    assert "retry-after" not in response.headers
    assert is_ours(error)
    assert refusal_of(error) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AppendFailed(SECRET), Code.LOG_UNAVAILABLE),
        (AppendUnknown(SECRET), Code.LOG_UNAVAILABLE),
        (LogUnreadable(SECRET), Code.LOG_UNAVAILABLE),
        (SignerUnavailable(SECRET), Code.ISSUER_UNAVAILABLE),
    ],
)
def test_that_a_retry_is_safe_is_told_where_the_log_or_the_key_is_away(error: Exception, code: Code) -> None:
    response = respond(error)
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert document(response)["type"] == f"urn:quicklime:error:{code}"
    assert SECRET.encode() not in bytes(response.body)
    assert is_ours(error)


def test_a_refusal_is_not_ours() -> None:
    assert not is_ours(Refused(Code.BUSY, ""))


def test_every_code_is_in_the_reference() -> None:
    reference = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"
    text = reference.read_text(encoding="utf-8")
    for code in Code:
        assert f"`{code}`" in text
