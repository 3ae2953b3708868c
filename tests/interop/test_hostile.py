"""A running authority among people who mean it ill: the corpus of hostile requests and hostile HTTP, over real connections.

Whatever is sent gets its documented problem, never a 5xx; afterwards the server is the one it was, and the log holds nothing
but what was refused, told as audit facts.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.house.tree import ROOT
from tests.support.hostile import load_cases
from tests.support.stack import Stack, running

REFUSED = "quicklime.request.refused.v1"
ISSUED = "quicklime.certificate.issued.v1"
# one certificate and two tokens, to reach for
MADE = ("quicklime.certificate.planned.v1", ISSUED, "quicklime.token.created.v1")
TYPE = "urn:quicklime:error:"
BODY_OCTETS_MAX = 262_144


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An authority for this module alone. What the tests leave in its log are audit facts, and what they say they made."""
    with running(tmp_path_factory.mktemp("target")) as stack:
        before = len(stack.events())
        yield stack
        new = stack.events()[before:]
        assert {event["type"] for event in new} <= {REFUSED, *MADE}
        assert sum(event["type"] == ISSUED for event in new) <= 1
        for event in new:
            if event["type"] == REFUSED:
                # codes and who asked; nothing of what was sent that could be more than a name
                fact = stack.data_of(event)
                assert set(fact) <= {
                    "operation",
                    "requester",
                    "codes",
                    "detail",
                    "names",
                    "refused_at",
                    "serial",
                }
                assert len(json.dumps(fact)) < 2048
        assert stack.told("log", "verify")["faults"] == []


@pytest.fixture(scope="module")
def statuses() -> dict[str, int]:
    """Status by code, as the reference says."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\d+) \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE
    )
    return {code: int(status) for code, status in rows}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    answers: int = 1


@pytest.fixture(autouse=True)
def unharmed(target: Stack) -> Iterator[None]:
    """No fault is told by the server, and it goes on serving, in the same process."""
    told = target.log_file.stat().st_size
    assert target.process is not None
    pid = target.process.pid
    yield
    assert target.is_alive()
    assert target.process.pid == pid
    with target.client() as client:
        assert client.get("/health/ready").status_code == 200
    said = target.log_file.read_bytes()[told:]
    assert b"Traceback" not in said
    assert b"request failed" not in said
    # nothing of theirs steers the terminal of who reads the lines
    assert not set(said) & (set(range(0x20)) - {0x0A}), said
    assert target.admin.encode() not in said


def _problem(answer: httpx.Response | Answer, statuses: dict[str, int]) -> list[str]:
    """The codes of a problem document that is as the reference says."""
    status = answer.status if isinstance(answer, Answer) else answer.status_code
    body = answer.body if isinstance(answer, Answer) else answer.content
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(body)
    codes = [reason["code"] for reason in problem["reasons"]]
    assert problem["type"] == f"{TYPE}{codes[0]}"
    assert problem["status"] == status == statuses[codes[0]]
    assert problem["instance"] == f"urn:quicklime:request:{answer.headers['quicklime-request-id']}"
    assert len(body) < 65_536
    return codes


# --- hostile certification requests ---------------------------------------------------------------------------------


def test_every_hostile_csr_is_refused_as_documented(target: Stack, statuses: dict[str, int]) -> None:
    cases = load_cases()
    assert len(cases) >= 200
    wrong = []
    with target.client() as client:
        for case in cases:
            answer = client.post(
                "/v1/certificates?profile=server",
                content=case.data,
                headers={"content-type": "application/pkcs10"},
            )
            codes = tuple(_problem(answer, statuses))
            # what is larger than any body is not read so far that anything else could be found
            if codes != (("request-too-large",) if len(case.data) > BODY_OCTETS_MAX else case.codes):
                wrong.append((case.name, codes, case.codes))
    assert wrong == []


def test_hostile_csrs_in_json_and_in_cfssls_words(target: Stack, statuses: dict[str, int]) -> None:
    """The same checks, whatever the wrapping: a sample of each family of the corpus, in base64 and in PEM inside JSON."""
    families: dict[str, int] = {}
    with target.client() as client:
        for case in load_cases():
            family = case.name.partition(":")[0]
            in_der = case.data[:1] == b"\x30" and len(case.data) < 60_000
            if not in_der or families.setdefault(family, 0) >= 3:
                continue
            families[family] += 1
            text = b64encode(case.data).decode()
            answer = client.post("/v1/certificates", json={"csr": text})
            assert tuple(_problem(answer, statuses)) == case.codes, case.name
            body = f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
            answer = client.post("/api/v1/cfssl/sign", json={"certificate_request": body})
            assert answer.status_code == 400, case.name
            envelope = answer.json()
            assert (envelope["success"], envelope["result"]) == (False, None)
            said = tuple(error["message"].partition(":")[0] for error in envelope["errors"])
            assert said == case.codes, case.name
    assert len(families) >= 10, families


# --- hostile JSON and headers ---------------------------------------------------------------------------------------

DEEP = 100_000
BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "request-malformed"),
    "null": (b"null", "request-malformed"),
    "a number": (b"7", "request-malformed"),
    "a list": (b"[]", "request-malformed"),
    "cut off": (b'{"csr": "', "request-malformed"),
    "two documents": (b'{"csr": "x"} {"csr": "y"}', "request-malformed"),
    "nested deep": (b"[" * DEEP, "request-malformed"),
    "nested deep and closed": (b'{"csr":' + b"[" * DEEP + b"]" * DEEP + b"}", "request-malformed"),
    "objects nested deep": (b'{"csr":' * 30_000, "request-malformed"),
    "a member twice": (b'{"csr": "x", "csr": "y"}', "request-malformed"),
    "an unknown member": (b'{"csr": "x", "admin": true}', "request-malformed"),
    "a prototype": (b'{"csr": "x", "__proto__": {"role": "admin"}}', "request-malformed"),
    "the wrong type": (b'{"csr": {"$ne": null}}', "request-malformed"),
    "names of numbers": (b'{"csr": "x", "names": [1, 2]}', "request-malformed"),
    "a NUL": (b'{"csr": "\\u0000"}', "request-malformed"),
    "half a surrogate": (b'{"csr": "\\ud800"}', "request-malformed"),
    "stray octets": (b'{"csr": "\xff\xfe"}', "request-malformed"),
    "UTF-16": ('{"csr": "x"}'.encode("utf-16"), "request-malformed"),
    "a byte order mark": (b'\xef\xbb\xbf{"csr": "x"}', "request-malformed"),
    "a huge number": (b'{"csr": "x", "validity_seconds": ' + b"9" * 5000 + b"}", "request-malformed"),
    "an infinite number": (b'{"csr": "x", "validity_seconds": 1e999}', "request-malformed"),
    "no number": (b'{"csr": "x", "validity_seconds": NaN}', "request-malformed"),
    "comments": (b'{"csr": "x" /* */}', "request-malformed"),
    "a name of a megaoctet": (b'{"csr": "x", "names": ["' + b"a" * 1_000_000 + b'"]}', "request-too-large"),
    "spaces over the limit": (b" " * (BODY_OCTETS_MAX + 1), "request-too-large"),
}


@pytest.mark.parametrize("name", BODIES)
def test_hostile_json(target: Stack, statuses: dict[str, int], name: str) -> None:
    body, code = BODIES[name]
    with target.client() as client:
        for path in ("/v1/certificates", "/v1/tokens"):
            answer = client.post(path, content=body, headers={"content-type": "application/json"})
            assert _problem(answer, statuses)[0] == code, path
        answer = client.post("/api/v1/cfssl/sign", content=body)
        assert answer.status_code == 413 if code == "request-too-large" else answer.status_code == 400


@pytest.mark.parametrize(
    ("media_type", "code"),
    [
        ("application/xml", "media-type-unsupported"),
        ("text/plain", "media-type-unsupported"),
        ("application/x-www-form-urlencoded", "media-type-unsupported"),
        ("multipart/form-data; boundary=x", "media-type-unsupported"),
        ("application/jose+json", "media-type-unsupported"),
        ("application/json/application/pkcs10", "media-type-unsupported"),
        ("*/*", "media-type-unsupported"),
        ("", "media-type-unsupported"),
        ("a" * 8000, "media-type-unsupported"),
        ("application/pkcs10", "csr-malformed"),
        ("APPLICATION/PKCS10; charset=x", "csr-malformed"),
    ],
)
def test_wrong_media_types(target: Stack, statuses: dict[str, int], media_type: str, code: str) -> None:
    with target.client() as client:
        answer = client.post("/v1/certificates", content=b"{}", headers={"content-type": media_type})
    assert _problem(answer, statuses) == [code]


def test_a_body_that_is_packed_is_not_unpacked(target: Stack, statuses: dict[str, int]) -> None:
    with target.client() as client:
        answer = client.post(
            "/v1/certificates",
            content=b"\x1f\x8b\x08" + bytes(100),
            headers={"content-type": "application/json", "content-encoding": "gzip"},
        )
    assert _problem(answer, statuses) in (["request-malformed"], ["media-type-unsupported"])


@pytest.mark.parametrize(
    ("authorization", "codes"),
    [
        (("Basic dTpw",), {"unauthenticated"}),
        (("{token}",), {"unauthenticated"}),
        (("Bearer",), {"unauthenticated"}),
        (("Bearer ",), {"unauthenticated"}),
        (("Bearer  ",), {"unauthenticated"}),
        (("Bearer x",), {"token-unknown"}),
        (("Bearer {token}x",), {"token-unknown"}),
        (("Bearer {token}, Bearer {token}",), {"token-unknown", "unauthenticated"}),
        (("Bearer \u00e4\u00f6",), {"token-unknown", "unauthenticated"}),
        (("Bearer " + "a" * 20_000,), {"unauthenticated"}),
        (("Digest username=admin",), {"unauthenticated"}),
        (("Bearer {token}", "Bearer {token}"), {"unauthenticated"}),
        (("Bearer {token}", "Bearer x"), {"unauthenticated"}),
        (("Bearer x", "Bearer {token}"), {"unauthenticated"}),
        (("Basic dTpw", "Bearer {token}"), {"unauthenticated"}),
    ],
)
def test_tokens_in_wrong_forms(
    target: Stack, statuses: dict[str, int], authorization: tuple[str, ...], codes: set[str]
) -> None:
    headers = [f"Authorization: {one.format(token=target.admin)}" for one in authorization]
    answer = _raw(target, _request("GET /v1/certificates", *headers))
    assert answer is not None
    assert answer.headers["www-authenticate"].startswith("Bearer")
    (code,) = _problem(answer, statuses)
    assert code in codes


def test_who_is_asking_is_told_by_nothing_else(target: Stack, statuses: dict[str, int]) -> None:
    """Neither the address, nor what proxies add, nor cookies, nor the query."""
    headers = {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-user": "admin",
        "x-remote-user": "admin",
        "x-client-cert": "MII",
        "ssl-client-verify": "SUCCESS",
        "cookie": f"token={target.admin}; session=admin",
        "x-http-method-override": "GET",
    }
    with target.client(None) as client:
        for path in ("/v1/certificates", f"/v1/certificates?access_token={target.admin}", "/metrics"):
            assert _problem(client.get(path, headers=headers), statuses) == ["unauthenticated"]


# --- hostile HTTP ---------------------------------------------------------------------------------------------------


def _raw(target: Stack, sent: bytes, *, seconds: float = 10.0) -> Answer | None:
    """What comes back to exactly these octets; None where the server says nothing and ends the connection."""
    context = ssl.create_default_context(cafile=str(target.root))
    with (
        socket.create_connection(("127.0.0.1", target.api_port), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        got = b""
        try:
            connection.sendall(sent)
            while octets := connection.recv(65_536):
                got += octets
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass
    head, _, body = got.partition(b"\r\n\r\n")
    if not head:
        return None
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    return Answer(int(line.split()[1]), headers, body, got.count(b"HTTP/1.1 "))


def _request(line: str, *headers: str, body: bytes = b"", host: str = "Host: authority\r\n") -> bytes:
    rest = "".join(f"{one}\r\n" for one in headers)
    return f"{line} HTTP/1.1\r\n{host}Connection: close\r\n{rest}\r\n".encode("latin-1") + body


GET, POST = "GET /health/live", "POST /v1/certificates"
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
SMUGGLED = b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
BROKEN: dict[str, tuple[bytes, int]] = {
    "octets": (bytes(range(32)) + b"\r\n\r\n", 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS inside TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "HTTP/0.9": (b"GET /health/live\r\n\r\n", 400),
    "HTTP/3.7": (b"GET /health/live HTTP/3.7\r\nHost: x\r\n\r\n", 400),
    "no Host": (_request(GET, host=""), 400),
    "two Hosts": (_request(GET, "Host: other"), 400),
    "line ends of one octet": (b"GET /health/live HTTP/1.1\nHost: x\n\n", 400),
    "a header over two lines": (_request(GET, "X: a\r\n b"), 400),
    "a NUL in a header": (_request(GET, "X: a\x00b"), 400),
    "a NUL in the target": (_request("GET /v1/\x00"), 400),
    "a space in front of a colon": (_request(POST, JSON, "Transfer-Encoding : chunked", body=SMUGGLED), 400),
    "a method that there is not": (_request("BREW /coffee"), 400),
    "a method of five thousand letters": (_request("A" * 5000 + " /"), 400),
    "CONNECT": (_request("CONNECT db.internal:5432"), 400),
    "two lengths": (_request(POST, JSON, "Content-Length: 2", "Content-Length: 9", body=b"{}"), 400),
    "two lengths in one": (_request(POST, JSON, "Content-Length: 2, 9", body=b"{}"), 400),
    "a length and chunks": (_request(POST, JSON, "Content-Length: 5", CHUNKED, body=SMUGGLED), 400),
    "chunks and a length": (_request(POST, JSON, CHUNKED, "Content-Length: 5", body=SMUGGLED), 400),
    "chunked twice": (_request(POST, JSON, "Transfer-Encoding: chunked, chunked", body=SMUGGLED), 400),
    "chunked and not": (_request(POST, JSON, CHUNKED, "Transfer-Encoding: identity", body=SMUGGLED), 400),
    "another coding": (_request(POST, JSON, "Transfer-Encoding: xchunked", body=SMUGGLED), 400),
    "a length below nothing": (_request(POST, JSON, "Content-Length: -1"), 400),
    "a length with a sign": (_request(POST, JSON, "Content-Length: +2", body=b"{}"), 400),
    "a length in hexadecimal": (_request(POST, JSON, "Content-Length: 0x2", body=b"{}"), 400),
    "a length beyond all": (_request(POST, JSON, "Content-Length: 9" + "9" * 30, body=b"{}"), 400),
    "a chunk without a size": (_request(POST, JSON, CHUNKED, body=b"zz\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk beyond all": (_request(POST, JSON, CHUNKED, body=b"f" * 18 + b"\r\n{}"), 400),
    "a target of 40 000 octets": (_request("GET /" + "a" * 40_000), 431),
    "a header of 100 000 octets": (_request(GET, "X: " + "a" * 100_000), 431),
    "two hundred headers": (_request(GET, *(f"X{number}: y" for number in range(200))), 431),
    "ten thousand headers": (_request(GET, *(f"X{number}: y" for number in range(10_000))), 431),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_request_ends_the_connection(target: Stack, name: str) -> None:
    sent, status = BROKEN[name]
    answer = _raw(target, sent)
    assert answer is not None
    # one answer, whatever was hidden behind the first request
    assert (answer.status, answer.answers) == (status, 1)
    assert answer.headers["connection"] == "close"
    assert b"smuggled" not in answer.body


MISPLACED: dict[str, tuple[bytes, str]] = {
    "nothing there": (_request("GET /nothing"), "not-found"),
    "the whole server": (_request("OPTIONS *"), "not-found"),
    "a way out": (_request("GET /v1/../../etc/passwd"), "not-found"),
    "a way out, encoded": (_request("GET /v1/%2e%2e/%2e%2e/etc/passwd"), "not-found"),
    "two slashes": (_request("GET //health/live"), "not-found"),
    "a slash too many": (_request("GET /health/live/"), "not-found"),
    "a NUL, encoded": (_request("GET /v1/certificates/%00/status"), "certificate-unknown"),
    "half a percent": (_request("GET /v1/certificates/%zz/status"), "certificate-unknown"),
    "a serial of other digits": (
        _request(f"GET /v1/certificates/{'%D9%A1' * 40}/status"),
        "certificate-unknown",
    ),
    "TRACE": (_request("TRACE /health/live"), "method-not-allowed"),
    "PUT": (_request("PUT /v1/certificates", "Content-Length: 0"), "method-not-allowed"),
    "PROPFIND": (_request("PROPFIND /v1/certificates"), "method-not-allowed"),
    "a length far beyond the limit": (_request(POST, JSON, "Content-Length: 99999999"), "request-too-large"),
    "chunks beyond the limit": (
        _request(POST, JSON, CHUNKED, body=(b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 5 + b"0\r\n\r\n"),
        "request-too-large",
    ),
    "many small chunks": (
        _request(POST, JSON, CHUNKED, body=b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"),
        "request-malformed",
    ),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_what_leads_nowhere_is_refused(target: Stack, statuses: dict[str, int], name: str) -> None:
    sent, code = MISPLACED[name]
    headers = f"Authorization: Bearer {target.admin}\r\n\r\n".encode()
    answer = _raw(target, sent.replace(b"\r\n\r\n", b"\r\n" + headers, 1))
    assert answer is not None
    assert answer.answers == 1
    assert _problem(answer, statuses) == [code]


def test_forms_that_http_allows_are_served(target: Stack) -> None:
    for sent in (
        _request("GET https://elsewhere.example/health/live"),
        b"GET /health/live HTTP/1.0\r\n\r\n",
        _request(GET, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        _request(GET, "Upgrade: websocket", "Sec-WebSocket-Key: AAAA", "Sec-WebSocket-Version: 13"),
    ):
        answer = _raw(target, sent)
        assert answer is not None
        assert (answer.status, answer.body) == (200, b'{"status":"live"}')


def test_requests_sent_together_are_answered_in_their_order(target: Stack) -> None:
    sent = b"".join(f"GET /nothing-{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for n in range(20))
    answer = _raw(target, sent + _request(GET))
    assert answer is not None
    assert answer.answers == 21
    told = re.findall(rb'"detail":"nothing at \'/nothing-(\d+)\'","instance"', answer.body)
    assert [int(n) for n in told] == list(range(20))


def test_a_body_that_never_comes_keeps_nobody_waiting(target: Stack) -> None:
    """Slow and silent clients, a hundred of them, while others are served."""
    context = ssl.create_default_context(cafile=str(target.root))
    slow = []
    for number in range(100):
        connection = context.wrap_socket(
            socket.create_connection(("127.0.0.1", target.api_port), timeout=10), server_hostname="127.0.0.1"
        )
        begun = (b"", b"GET /heal", _request(POST, JSON, "Content-Length: 100", body=b"{"))[number % 3]
        connection.sendall(begun)
        slow.append(connection)
    silent = [socket.create_connection(("127.0.0.1", target.api_port), timeout=10) for _ in range(50)]
    with target.client() as client:
        for _ in range(20):
            assert client.get("/v1/certificates").status_code == 200
    for connection in slow:
        connection.close()
    for plain in silent:
        plain.close()


def test_a_client_that_leaves_in_the_middle_leaves_no_trace(target: Stack) -> None:
    context = ssl.create_default_context(cafile=str(target.root))
    for number in range(20):
        with (
            socket.create_connection(("127.0.0.1", target.api_port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(_request(POST, JSON, f"Content-Length: {100 + number}", body=b'{"csr": "'))
    time.sleep(0.2)


# --- other people's certificates ------------------------------------------------------------------------------------


def _csr(name: str) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    made = builder.add_extension(names, critical=False).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()
    )
    return made.public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def two(target: Stack) -> tuple[str, str, str]:
    """A certificate of one requester, and the tokens of that one and of another, who may have other names."""
    mine, other = target.token("a.lab.internal"), target.token("b.lab.internal")
    with target.client(mine) as client:
        answer = client.post("/v1/certificates", json={"csr": _csr("a.lab.internal").decode()})
    assert answer.status_code == 201
    return str(answer.json()["serial"]), mine, other


def test_nobody_reaches_for_what_is_not_theirs(
    two: tuple[str, str, str], target: Stack, statuses: dict[str, int]
) -> None:
    serial, mine, other = two
    here = f"/v1/certificates/{serial}"
    with target.client(mine) as client:
        assert client.get(here).status_code == 200
    absent = "ab" * 20
    with target.client(other) as client:
        # what is not theirs looks like what is not there
        for path in (here, here.upper().replace("/V1/CERTIFICATES", "/v1/certificates")):
            refused, missing = client.get(path), client.get(f"/v1/certificates/{absent}")
            assert _problem(refused, statuses) == _problem(missing, statuses) == ["certificate-unknown"]
        assert _problem(client.get("/v1/certificates"), statuses) == ["forbidden"]
        assert _problem(client.get("/v1/tokens"), statuses) == ["forbidden"]
        assert _problem(client.post("/v1/tokens", json=_token("admin")), statuses) == ["forbidden"]
        assert _problem(client.delete("/v1/tokens/whatever"), statuses) == ["forbidden"]
        assert _problem(client.get("/metrics"), statuses) == ["forbidden"]
        for body in ({}, {"reason": "keyCompromise"}):
            answer = client.post(f"{here}/revocation", json=body)
            assert _problem(answer, statuses) == ["forbidden"]
        for secret in ("AAAA", "A" * 43, ""):
            answer = client.post(f"{here}/revocation", json={"secret": secret})
            assert _problem(answer, statuses)[0] in {"revocation-proof-invalid", "request-malformed"}
        answer = client.post(f"{here}/revocation", json={"signature": "AAAA"})
        assert _problem(answer, statuses) == ["revocation-proof-invalid"]
        renewal = {"csr": _csr("a.lab.internal").decode(), "signature": "AAAA"}
        assert _problem(client.post(f"{here}/renewals", json=renewal), statuses) == [
            "renewal-signature-invalid"
        ]
        answer = client.post("/v1/certificates", json={"csr": _csr("a.lab.internal").decode()})
        assert _problem(answer, statuses) == ["name-not-allowed"]
        body = {"serial": str(int(serial, 16)), "authority_key_id": "", "reason": "superseded"}
        answer = client.post("/api/v1/cfssl/revoke", json=body)
        assert answer.json()["errors"][0]["code"] == 7100
        answer = client.post("/api/v1/cfssl/certinfo", json={"serial": str(int(serial, 16))})
        assert answer.json()["errors"][0]["code"] == 1000
        answer = client.get("/v1/lineages?name=a.lab.internal")
        assert _problem(answer, statuses) == ["forbidden"]
    with target.client(mine) as client:
        assert client.get(f"{here}/status").json()["status"] == "good"


def _token(role: str) -> dict[str, object]:
    return {"role": role, "names": ["**"], "profiles": ["server"], "lifetime_seconds": 3600}


def test_a_reserved_idempotency_key_is_the_requesters_own(
    two: tuple[str, str, str], target: Stack, statuses: dict[str, int]
) -> None:
    """Another requester with the same key does not get the first one's certificate, nor learns that there is one."""
    serial, _, other = two
    with target.client(other) as client:
        answer = client.post(
            "/v1/certificates",
            json={"csr": _csr("a.lab.internal").decode()},
            headers={"idempotency-key": serial},
        )
    assert _problem(answer, statuses) == ["name-not-allowed"]


# --- the status port ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (_, status) in BROKEN.items()
        if name
        not in {
            # left to RFC 9112's lenience there: no request is told apart by its host, nor has two readers
            "no Host",
            "two Hosts",
            "HTTP/0.9",
            "CONNECT",
            "TLS inside TLS",
        }
    ],
)
def test_the_status_port_takes_it_as_coolly(target: Stack, name: str) -> None:
    sent, status = BROKEN[name]
    with socket.create_connection(("127.0.0.1", target.status_port), timeout=10) as connection:
        got = b""
        try:
            connection.sendall(sent)
            while octets := connection.recv(65_536):
                got += octets
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert got == b"" or int(got.split()[1]) == status
    assert got.count(b"HTTP/1.1 ") <= 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ocsp/", 400),
        ("/ocsp/%00", 400),
        ("/ocsp/" + "A" * 8000, 400),
        ("/crl/../../etc/passwd", 404),
        ("/crl/%2e%2e%2fissuing.pem", 404),
        ("/crl/.crl", 404),
        ("/issuers/x.cer", 404),
        ("/", 404),
    ],
)
def test_hostile_paths_at_the_status_port(target: Stack, path: str, status: int) -> None:
    answer = _plain(target, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    # RFC 6960, Section 4.2.1: malformedRequest is an answer of OCSP, in 200
    malformed = b"\x30\x03\x0a\x01\x01"
    assert answer.status in {status, 414} or (answer.status == 200 and answer.body == malformed)


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x30\x84\xff\xff\xff\xff", b"0" * 5000, b"\x30\x80" * 4000])
def test_hostile_ocsp_requests(target: Stack, body: bytes) -> None:
    head = f"POST /ocsp HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/ocsp-request\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = _plain(target, head.encode() + body)
    assert (answer.status, answer.body) == (200, b"\x30\x03\x0a\x01\x01")


def _plain(target: Stack, sent: bytes) -> Answer:
    with socket.create_connection(("127.0.0.1", target.status_port), timeout=10) as connection:
        connection.sendall(sent)
        got = b""
        while octets := connection.recv(65_536):
            got += octets
    head, _, body = got.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]), {}, body)
