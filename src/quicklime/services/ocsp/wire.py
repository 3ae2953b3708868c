"""Answers as values: for one request alone, kept here, or put aside for other responders. No I/O."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from quicklime.pki import ocsp
from quicklime.web.status_message import Whole

SHELF = "ocsp-answers"
# an answer is signed anew once this part of its life is over
FRESH_NUMERATOR, FRESH_DENOMINATOR = 1, 2


class Answer(msgspec.Struct, kw_only=True, eq=False):
    """A response and how long it may be kept; ``this_update`` is 0 for what nobody may keep. ``kept`` is where it is."""

    body: bytes
    kind: str
    this_update: int = 0
    next_update: int = 0
    etag: str = ""
    kept: Kept | None = None

    @property
    def cacheable(self) -> bool:
        return self.this_update > 0

    @property
    def fresh_until(self) -> int:
        """When another is to be signed in its place."""
        life = self.next_update - self.this_update
        return self.this_update + life * FRESH_NUMERATOR // FRESH_DENOMINATOR


MALFORMED = Answer(body=ocsp.MALFORMED_REQUEST, kind="malformed")
UNAUTHORIZED = Answer(body=ocsp.UNAUTHORIZED, kind="unauthorized")
TRY_LATER = Answer(body=ocsp.TRY_LATER, kind="try-later")


class Kept:
    """The answer without nonce about one CertID, beside the status that it tells.

    ``place`` is where the status stands in the view; ``asked`` says whether anybody wanted it since it was signed;
    ``whole`` is the answer as HTTP has it.
    """

    __slots__ = ("answer", "asked", "fresh_until", "place", "status", "whole")

    def __init__(self, place: bytes) -> None:
        self.place = place
        self.status = b""
        self.answer = TRY_LATER
        self.fresh_until = 0
        self.asked = False
        self.whole: Whole | None = None

    def renew(self, answer: Answer, status: bytes) -> None:
        self.answer, self.status, self.fresh_until, self.asked = answer, status, answer.fresh_until, False
        answer.kept = self


class _Shelved(msgspec.Struct, frozen=True, array_like=True):
    status: bytes
    body: bytes
    this_update: int
    next_update: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Shelved).decode


def lasting(body: bytes, kind: str, this_update: int, next_update: int) -> Answer:
    """An answer that may be kept."""
    etag = sha256(body).hexdigest()[:32]
    return Answer(body=body, kind=kind, this_update=this_update, next_update=next_update, etag=etag)


def for_shelf(answer: Answer, status: bytes) -> bytes:
    return _encode(_Shelved(status, answer.body, answer.this_update, answer.next_update))


def from_shelf(value: bytes | None, status: bytes, kind: str) -> Answer | None:
    """The answer that was put aside; None where there is none, or it tells another status than ``status``."""
    found = None if value is None else _shelved(value)
    if found is None or found.status != status:
        return None
    return lasting(found.body, kind, found.this_update, found.next_update)


def ended(value: bytes, now: int) -> bool:
    found = _shelved(value)
    return found is None or now >= found.next_update


def _shelved(value: bytes) -> _Shelved | None:
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return None  # another version's: as good as none
