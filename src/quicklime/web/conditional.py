"""Conditional and range requests for what has a strong validator: RFC 9110, Sections 13 and 14.

A client that has the bytes already gets 304, one that was cut off fetches the rest, and one whose part is of another version
gets the whole of the new one. Several ranges at once are answered with the whole (RFC 9110, Section 14.2: a server may).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Final

from quicklime.web.status_message import Part, Request, Response, failure

_ETAGS: Final = re.compile(r'(W/)?"([^"]*)"')
# RFC 9110, Section 14.1.2; no number is longer than any length of ours
_RANGE: Final = re.compile(
    r"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Representation:
    """What is there now. ``etag`` without its quotes, the same for the same bytes alone; ``last_modified`` in UNIX seconds."""

    media_type: str
    body: bytes | Part
    etag: str
    last_modified: int
    headers: tuple[tuple[str, str], ...] = ()


def answer(request: Request, found: Representation) -> Response:
    """The response to a GET or HEAD for ``found``: 200, 206, 304, 412 or 416."""
    about = (
        *found.headers,
        ("last-modified", formatdate(found.last_modified, usegmt=True)),
        ("etag", f'"{found.etag}"'),
        ("accept-ranges", "bytes"),
    )
    status = _precondition(request, found)
    if status == 304:
        return Response(status=304, headers=about)
    if status is not None:
        return failure(status)
    length = len(found.body)
    asked = _asked(request, found, length)
    if asked is None:
        return Response(media_type=found.media_type, body=found.body, headers=about)
    start, end = asked
    if start >= end:
        # RFC 9110, Section 15.5.17
        return failure(416, ("content-range", f"bytes */{length}"))
    span = ("content-range", f"bytes {start}-{end - 1}/{length}")
    return Response(
        status=206, media_type=found.media_type, body=_part(found.body, start, end), headers=(*about, span)
    )


def _precondition(request: Request, found: Representation) -> int | None:
    """RFC 9110, Section 13.2.2, in its order; None where the request is to be carried out."""
    if_match = _header(request, b"if-match")
    if if_match is not None:
        if not _lists(if_match, found.etag, weak=False):
            return 412
    elif (date := _date(_header(request, b"if-unmodified-since"))) is not None and date < found.last_modified:
        return 412
    if_none_match = _header(request, b"if-none-match")
    if if_none_match is not None:
        return 304 if _lists(if_none_match, found.etag, weak=True) else None
    date = _date(_header(request, b"if-modified-since"))
    return 304 if date is not None and found.last_modified <= date else None


def _asked(request: Request, found: Representation, length: int) -> tuple[int, int] | None:
    """(first, one past the last) octet; None for the whole; an empty span where nothing of it is there."""
    header = _header(request, b"range")
    # RFC 9110, Section 14.2: Range means nothing in other methods
    if header is None or request.method != "GET":
        return None
    # RFC 9110, Section 13.1.5: the strong comparison. A date is not strong here: two lists may be of one second.
    if_range = _header(request, b"if-range")
    if if_range is not None and if_range.strip() != f'"{found.etag}"':
        return None
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, length - int(suffix)), length
    if last and int(last) < int(first):
        return None  # RFC 9110, Section 14.1.1: invalid, and so ignored
    return int(first), min(int(last) + 1, length) if last else length


def _part(body: bytes | Part, start: int, end: int) -> bytes | Part:
    if isinstance(body, Part):
        return Part(body.source, body.start + start, end - start)
    return body[start:end]


def _header(request: Request, name: bytes) -> str | None:
    found = request.headers.get(name)
    return None if found is None else found.decode("latin-1")


def _lists(header: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags has this one (RFC 9110, Section 8.8.3.2), or is ``*``."""
    return header.strip() == "*" or any(
        tag == etag and (weak or not prefix) for prefix, tag in _ETAGS.findall(header)
    )


def _date(header: str | None) -> int | None:
    """An HTTP date in UNIX seconds; None where it is none (RFC 9110, Section 13.1.3: then it is ignored)."""
    try:
        return None if header is None else int(parsedate_to_datetime(header).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
