"""Values as HTTP shows and takes them: times, base64, PEM, JSON bodies, and what the client accepts."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from quicklime.errors import Code, Refused

Body = TypeVar("Body")

SERIAL_CHARACTERS = 40
JSON_MEDIA_TYPE = "application/json"
ACCEPT_CHARACTERS_MAX = 1000
_FROM_URL_SAFE = str.maketrans("-_", "+/")

_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=1024)
def timestamp(unix_seconds: int) -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str, field: str) -> int:
    """UNIX seconds of an RFC 3339 time with its offset. Raises Refused (``request-malformed``)."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError
        return int(found.timestamp())
    except (ValueError, OverflowError):
        raise Refused(
            Code.REQUEST_MALFORMED,
            f"time {text[:64]!r}, expected RFC 3339 with an offset: '2026-01-31T12:00:00Z'",
            field=field,
        ) from None


def base64url(octets: bytes) -> str:
    """Without padding (RFC 4648, Section 5)."""
    return urlsafe_b64encode(octets).decode().rstrip("=")


def octets_of(text: str, field: str) -> bytes:
    """The octets of base64, either alphabet, padded or not. Raises Refused (``request-malformed``)."""
    bare = text.strip().rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    try:
        if "-" in bare or "_" in bare:
            if "+" in bare or "/" in bare:
                raise binascii.Error
            padded = padded.translate(_FROM_URL_SAFE)  # the library's own reader leaves out what is no base64
        return b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Code.REQUEST_MALFORMED, "not base64", field=field) from None


def pem(der: bytes, label: str = "CERTIFICATE") -> bytes:
    """Textual encoding with lines of 64 characters (RFC 7468, Section 2)."""
    text = b64encode(der).decode()
    lines = "\n".join([text[start : start + 64] for start in range(0, len(text), 64)])
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


pem_of_issuer = lru_cache(maxsize=64)(pem)
"""``pem`` for certificates that come again and again."""


def serial_of(text: str) -> str:
    """A serial from a path: 40 hexadecimal characters; upper case and colons are taken too. Raises Refused."""
    serial = text.replace(":", "").lower()
    if len(serial) != SERIAL_CHARACTERS or not set(serial) <= set("0123456789abcdef"):
        raise Refused(
            Code.CERTIFICATE_UNKNOWN,
            f"serial {text[:80]!r} is not {SERIAL_CHARACTERS} hexadecimal characters",
            field="serial",
        )
    return serial


def body_of(octets: bytes, shape: type[Body]) -> Body:
    """A JSON body as ``shape``. Raises Refused (``request-malformed``) naming the member."""
    try:
        return msgspec.json.decode(octets, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Code.REQUEST_MALFORMED, f"body: {_lower(str(error))}") from None


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(_encode(content), status, headers, JSON_MEDIA_TYPE)


def media_type(request: Request) -> str:
    """The bare media type of the body, in lower case; empty where none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def accepted(request: Request, offered: Sequence[str]) -> str:
    """Which of ``offered`` (the best first) the client prefers (RFC 9110, Section 12.5.1).

    Raises Refused (``not-acceptable``).
    """
    # several lines are one list: RFC 9110, Section 5.3
    lines = request.headers.getlist("accept")
    if not lines or lines == ["*/*"]:
        return offered[0]
    header = ",".join(lines)[:ACCEPT_CHARACTERS_MAX]
    ranges = [_range(part) for part in header.split(",")]
    best, best_quality = None, 0.0
    for one in offered:
        # the most specific range that fits decides
        fits = [(precise, quality) for kind, precise, quality in ranges if _fits(kind, one)]
        quality = max(fits)[1] if fits else 0.0
        if quality > best_quality:
            best, best_quality = one, quality
    if best is None:
        raise Refused(
            Code.NOT_ACCEPTABLE, f"nothing that is accepted can be given, expected one of {list(offered)!r}"
        )
    return best


def _range(part: str) -> tuple[str, int, float]:
    """(media range, how specific it is, quality)."""
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return kind, 0 if kind == "*/*" else 1 if kind.endswith("/*") else 2, quality


def _fits(kind: str, offered: str) -> bool:
    return kind in {"*/*", offered} or (kind.endswith("/*") and offered.startswith(kind[:-1]))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
