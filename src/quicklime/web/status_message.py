"""What the status port takes and gives, as values; and an answer as the octets that are sent. RFC 9110, RFC 9112."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """``target`` is the path with its query, still percent-encoded; ``headers`` have lower-case names."""

    method: str
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    address: str = ""


class Source(Protocol):
    """Octets too many to be held for each client: they are read by slices, as fast as a client takes them."""

    def read(self, start: int, octets: int) -> bytes:
        """Exactly these; at once, since an event loop waits. Raises OSError."""
        ...


class Part(msgspec.Struct, frozen=True):
    """``octets`` of ``source`` from ``start`` on, as a body."""

    source: Source
    start: int
    octets: int

    def __len__(self) -> int:
        return self.octets


class Whole(Protocol):
    """An answer that is kept whole, head and body."""

    def octets(self) -> bytes | None:
        """The answer as it is sent now on a connection that stays open; None where the request must be asked anew."""
        ...


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """``whole`` has the same answer ready, for this request and for each that is the same octet for octet."""

    status: int = 200
    media_type: str = "text/plain; charset=utf-8"
    body: bytes | Part = b""
    headers: tuple[tuple[str, str], ...] = ()
    whole: Whole | None = None


Handler = Callable[[Request], Response]


def failure(status: int, *headers: tuple[str, str]) -> Response:
    """An answer that says no more than its status."""
    return Response(status=status, body=f"{HTTPStatus(status).phrase}\n".encode(), headers=headers)


def encoded(response: Response, *, keep: bool = True, head: bool = False) -> bytes:
    """The answer as it is sent, head and body; ``head`` leaves the body out."""
    status, body = response.status, response.body
    lines = _lines(status, response.media_type, response.headers, keep)
    if status == HTTPStatus.NOT_MODIFIED:
        return b"%sdate: %s\r\n\r\n" % (lines, date())
    here = b"" if head or isinstance(body, Part) else body  # the rest leaves by slices
    return b"%sdate: %s\r\ncontent-length: %d\r\n\r\n%s" % (lines, date(), len(body), here)


@lru_cache(maxsize=256)
def _lines(status: int, media_type: str, headers: tuple[tuple[str, str], ...], keep: bool) -> bytes:
    """The head of an answer, but for what differs from one answer to the next."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    if status != HTTPStatus.NOT_MODIFIED:
        lines.append(f"content-type: {media_type}")
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("x-content-type-options: nosniff")
    if not keep:
        lines.append("connection: close")
    return "\r\n".join([*lines, ""]).encode("ascii")


_date: tuple[int, bytes] = (0, b"")


def date() -> bytes:
    """The value of the Date header, made once a second."""
    global _date  # noqa: PLW0603  one word of cache
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True).encode())
    return _date[1]
