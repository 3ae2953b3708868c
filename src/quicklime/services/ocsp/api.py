"""OCSP over HTTP: ``POST /ocsp`` and ``GET /ocsp/<base64>`` (RFC 6960, Appendix A.1; RFC 5019, Sections 5 and 6).

Whatever is wrong with a request is told in OCSP's own words under 200; HTTP's errors are for HTTP's faults.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import unquote_to_bytes

from quicklime.services.ocsp.responder import Responder
from quicklime.services.ocsp.wire import Answer, Kept
from quicklime.web.status_message import Handler, Request, Response, encoded, failure

PREFIX = b"/ocsp"
REQUEST_MEDIA_TYPE = "application/ocsp-request"
MEDIA_TYPE = "application/ocsp-response"


def handler(responder: Responder, clock: Callable[[], int]) -> Handler:
    """Answers what is asked under ``/ocsp``."""

    def _lasting(answer: Answer, request: Request) -> Response:
        """An answer that may be kept, conditional requests included (RFC 9110, Section 13)."""
        kept = answer.kept
        assert kept is not None
        if not isinstance(kept.whole, _Whole):
            kept.whole = _Whole(responder, kept, clock)
        headers = kept.whole.headers(answer)
        if request.method == "POST" or not (
            b"if-none-match" in request.headers or b"if-modified-since" in request.headers
        ):
            return Response(media_type=MEDIA_TYPE, body=answer.body, headers=headers, whole=kept.whole)
        if _is_known(request, answer):
            return Response(status=304, headers=headers)
        return Response(media_type=MEDIA_TYPE, body=answer.body, headers=headers)

    def handle(request: Request) -> Response:
        if request.method == "POST":
            if request.target != PREFIX and request.target.partition(b"?")[0].rstrip(b"/") != PREFIX:
                return failure(404)
            if not _is_asking(request.headers.get(b"content-type", b"")):
                return failure(415, ("accept-post", REQUEST_MEDIA_TYPE))
            asked = request.body
        elif request.method in {"GET", "HEAD"}:
            asked = _from_path(request.target)
        else:
            return failure(405, ("allow", "GET, HEAD, POST"))
        answer = responder.answer(asked, request.address)
        if not answer.cacheable:
            return Response(media_type=MEDIA_TYPE, body=answer.body, headers=_NO_STORE)
        return _lasting(answer, request)

    return handle


_NO_STORE = (("cache-control", "no-store"),)


def _is_asking(media_type: bytes) -> bool:
    return (
        media_type == REQUEST_MEDIA_TYPE.encode()
        or media_type.partition(b";")[0].strip().lower() == REQUEST_MEDIA_TYPE.encode()
    )


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


def _is_known(request: Request, answer: Answer) -> bool:
    """Whether the client has this answer already (RFC 9110, Sections 13.1.2 and 13.1.3)."""
    known = request.headers.get(b"if-none-match")
    if known is not None:
        tags = {tag.strip().removeprefix("W/") for tag in known.decode("latin-1").split(",")}
        return "*" in tags or f'"{answer.etag}"' in tags
    # a date can't tell an answer from one of the same second that said good: who asks by date about what was revoked
    # gets all of it
    try:
        since = parsedate_to_datetime(request.headers[b"if-modified-since"].decode("ascii"))
    except ValueError:
        return False
    return answer.kind == "good" and answer.this_update <= since.timestamp()


class _Whole:
    """A kept answer with its head, in octets that are made once a second at most."""

    __slots__ = ("_answer", "_clock", "_kept", "_lasting", "_octets", "_responder", "_second")

    def __init__(self, responder: Responder, kept: Kept, clock: Callable[[], int]) -> None:
        self._responder = responder
        self._kept = kept
        self._clock = clock
        self._answer: Answer | None = None
        self._lasting: tuple[tuple[str, str], ...] = ()
        self._second = 0
        self._octets = b""

    def headers(self, answer: Answer) -> tuple[tuple[str, str], ...]:
        """The headers of ``answer`` now. RFC 5019, Section 6.2: it is kept for no longer than it is good."""
        if answer is not self._answer:
            self._answer, self._second = answer, 0
            self._lasting = (
                ("expires", formatdate(answer.next_update, usegmt=True)),
                ("last-modified", formatdate(answer.this_update, usegmt=True)),
                ("etag", f'"{answer.etag}"'),
            )
        age = max(0, answer.next_update - self._clock())
        return (("cache-control", f"max-age={age}, public, no-transform, must-revalidate"), *self._lasting)

    def octets(self) -> bytes | None:
        kept, now = self._kept, self._clock()
        if not self._responder.is_current(kept, now):
            return None
        if now != self._second or kept.answer is not self._answer:
            self._octets = encoded(
                Response(media_type=MEDIA_TYPE, body=kept.answer.body, headers=self.headers(kept.answer))
            )
            self._second = now
        self._responder.note(kept)
        return self._octets
