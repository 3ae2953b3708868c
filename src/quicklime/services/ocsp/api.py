"""OCSP over HTTP: ``POST /ocsp`` and ``GET /ocsp/<base64>`` (RFC 6960, Appendix A.1; RFC 5019, Sections 5 and 6).

Whatever is wrong with a request is told in OCSP's own words under 200; HTTP's errors are for HTTP's faults.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import unquote_to_bytes

from quicklime.services.ocsp.responder import Answer, Responder
from quicklime.web.status_http import Handler, Request, Response, failure

PREFIX = b"/ocsp"
REQUEST_MEDIA_TYPE = "application/ocsp-request"
MEDIA_TYPE = "application/ocsp-response"


def handler(responder: Responder, clock: Callable[[], int]) -> Handler:
    """Answers what is asked under ``/ocsp``."""

    def handle(request: Request) -> Response:
        if request.method == "POST":
            if request.target.partition(b"?")[0].rstrip(b"/") != PREFIX:
                return failure(404)
            kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != REQUEST_MEDIA_TYPE.encode():
                return failure(415, ("accept-post", REQUEST_MEDIA_TYPE))
            return _response(responder.answer(request.body), request, clock())
        if request.method in {"GET", "HEAD"}:
            return _response(responder.answer(_from_path(request.target)), request, clock())
        return failure(405, ("allow", "GET, HEAD, POST"))

    return handle


def _from_path(target: bytes) -> bytes:
    """The request in a path. Empty, which no request is, where it is not base64.

    RFC 6960, Appendix A.1: base64, percent-encoded. Some clients leave '+' and '/' as they are, some add slashes.
    """
    text = unquote_to_bytes(target.removeprefix(PREFIX)).lstrip(b"/")
    # a '+' that something on the way took for a space
    text = text.replace(b" ", b"+")
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _response(answer: Answer, request: Request, now: int) -> Response:
    if answer.this_update is None or answer.next_update is None:
        return Response(media_type=MEDIA_TYPE, body=answer.body, headers=(("cache-control", "no-store"),))
    # RFC 5019, Section 6.2: for no longer than the answer is good
    headers = (
        (
            "cache-control",
            f"max-age={max(0, answer.next_update - now)}, public, no-transform, must-revalidate",
        ),
        ("expires", formatdate(answer.next_update, usegmt=True)),
        ("last-modified", formatdate(answer.this_update, usegmt=True)),
        ("etag", f'"{answer.etag}"'),
    )
    if request.method != "POST" and _is_known(request, answer.etag):
        return Response(status=304, headers=headers)
    return Response(media_type=MEDIA_TYPE, body=answer.body, headers=headers)


def _is_known(request: Request, etag: str) -> bool:
    """Whether the client has this answer already (RFC 9110, Section 13.1.2)."""
    known = request.headers.get(b"if-none-match", b"").decode("latin-1")
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return "*" in tags or f'"{etag}"' in tags
