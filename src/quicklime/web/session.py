"""Sessions of the dashboard: a token is shown once, and a sealed cookie stands for it until it ends.

The cookie names the token and its own end, under an HMAC whose key lies with the authority's secrets; nothing is kept per
session, so every process knows every session. It carries no right of its own: each request looks up the token that it
names, so a token that is revoked, or has expired, ends its sessions at once.

Against a foreign page that makes the browser ask: ``SameSite=Strict``, and whatever changes something must carry the header
``quicklime-csrf``, which only our own page can learn. The prefix ``__Host-`` keeps the cookie to this host, this path and TLS.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

import msgspec
from starlette.requests import Request

from quicklime.errors import Code, Refused

COOKIE = "__Host-quicklime-session"
CSRF_HEADER = "quicklime-csrf"
SESSION_SECONDS_MAX = 12 * 3600
COOKIE_CHARACTERS_MAX = 1000
SAFE_METHODS = ("GET", "HEAD")


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    token: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """Seals and opens cookies. ``key`` is 32 octets of a secret that all processes share."""

    key: bytes

    def begin(self, token: str, expires_at: int) -> str:
        """The value of the cookie for ``token``, until ``expires_at`` (UNIX seconds)."""
        content = msgspec.msgpack.encode(_Sealed(token, expires_at))
        return f"{_text(content)}.{_text(self._seal(b'session', content))}"

    def is_shown(self, request: Request) -> bool:
        return bool(request.cookies.get(COOKIE))

    def token_of(self, request: Request, now: int) -> str:
        """The token's id. Raises Refused: ``unauthenticated`` where the cookie is not ours or has ended, ``forbidden``
        where a request that changes something lacks the header that our page sends.
        """
        content = self._opened(request.cookies.get(COOKIE, ""), now)
        if request.method not in SAFE_METHODS:
            shown = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(shown.encode(), self._csrf(content).encode()):
                raise Refused(
                    Code.FORBIDDEN, f"a session changes something only with the header {CSRF_HEADER!r}"
                )
        return msgspec.msgpack.decode(content, type=_Sealed).token

    def csrf_of(self, cookie: str, now: int) -> tuple[str, int]:
        """(the value of ``quicklime-csrf``, when the session ends). Raises Refused as ``token_of``."""
        content = self._opened(cookie, now)
        return self._csrf(content), msgspec.msgpack.decode(content, type=_Sealed).expires_at

    def _opened(self, cookie: str, now: int) -> bytes:
        ended = Refused(Code.UNAUTHENTICATED, "the session has ended: sign in again")
        if len(cookie) > COOKIE_CHARACTERS_MAX or not cookie.isascii():
            raise ended
        first, _, second = cookie.partition(".")
        try:
            content, seal = (urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (first, second))
        except ValueError:
            raise ended from None
        if not hmac.compare_digest(seal, self._seal(b"session", content)):
            raise ended
        if now >= msgspec.msgpack.decode(content, type=_Sealed).expires_at:
            raise ended
        return content

    def _csrf(self, content: bytes) -> str:
        return _text(self._seal(b"csrf", content))

    def _seal(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.new(self.key, purpose + b"\0" + content, sha256).digest()


def cookie_of(value: str, seconds: int) -> str:
    """The header ``set-cookie``; 0 seconds to forget it."""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"


def _text(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")
