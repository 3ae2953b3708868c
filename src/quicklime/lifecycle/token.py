"""The life of a bearer token: created, used, revoked. Each use is the plan that names it; there is no counter elsewhere.

Invariant: a token with ``uses_max`` stands behind at most that many standing plans, by the log's order, however many
processes take requests at once.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from quicklime.errors import Code, Reason
from quicklime.events import (
    CertificateAbandoned,
    CertificatePlanned,
    CertificatePlannedV2,
    Event,
    Requester,
    Role,
    TokenCreated,
    TokenRevoked,
)


class Token(msgspec.Struct, frozen=True, array_like=True):
    token: str
    token_sha256: bytes
    role: Role
    label: str
    names: tuple[str, ...]
    profiles: tuple[str, ...]
    uses_max: int | None
    uses: int
    created_at: int
    expires_at: int
    created_by: Requester
    revoked_at: int | None = None


# The facts that this life judges, or is changed by.
CONCERNS: frozenset[type[Event]] = frozenset(
    {CertificatePlanned, CertificatePlannedV2, CertificateAbandoned, TokenCreated, TokenRevoked}
)


class Book(Protocol):
    def token(self, token: str) -> Token | None: ...

    def planned_with_token(self, serial: str) -> str | None:
        """The token that the open plan of this serial used, if any."""
        ...


def judge(book: Book, event: Event) -> Reason | None:
    """Why ``event`` does not stand, as far as tokens are concerned."""
    match event:
        case CertificatePlanned() if event.requester.kind == "token":
            token = book.token(event.requester.id)
            if token is None:
                return Reason(Code.TOKEN_UNKNOWN, f"token {event.requester.id!r} is not known")
            return why_unusable(token, event.planned_at)
        case TokenCreated() if book.token(event.token) is not None:
            return Reason(Code.BUSY, f"token id {event.token!r} is taken")
        case TokenRevoked() if book.token(event.token) is None:
            return Reason(Code.TOKEN_UNKNOWN, f"token {event.token!r} is not known")
        case _:
            return None


def why_unusable(token: Token, now: int) -> Reason | None:
    """Why the token opens nothing at ``now``; None where it does."""
    if token.revoked_at is not None:
        return Reason(Code.TOKEN_REVOKED, f"token {token.token!r} is revoked")
    if now >= token.expires_at:
        return Reason(Code.TOKEN_EXPIRED, f"token {token.token!r} expired")
    if token.uses_max is not None and token.uses >= token.uses_max:
        return Reason(
            Code.TOKEN_EXHAUSTED, f"token {token.token!r} was used {token.uses} of {token.uses_max} times"
        )
    return None


def evolve(book: Book, event: Event, refusal: Reason | None) -> dict[str, Token]:
    """The tokens that ``event`` changes, by id."""
    if refusal is not None:
        return {}
    match event:
        case TokenCreated():
            created = Token(
                token=event.token,
                token_sha256=event.token_sha256,
                role=event.role,
                label=event.label,
                names=event.names,
                profiles=event.profiles,
                uses_max=event.uses_max,
                uses=0,
                created_at=event.created_at,
                expires_at=event.expires_at,
                created_by=event.requester,
            )
            return {event.token: created}
        case TokenRevoked():
            token = book.token(event.token)
            if token is not None and token.revoked_at is None:
                return {event.token: msgspec.structs.replace(token, revoked_at=event.revoked_at)}
        case CertificatePlanned() if event.requester.kind == "token":
            return _counted(book, event.requester.id, 1)
        case CertificateAbandoned():
            # the plan came to nothing, so its use is given back
            used = book.planned_with_token(event.serial)
            if used is not None:
                return _counted(book, used, -1)
        case _:
            pass
    return {}


def _counted(book: Book, token_id: str, by: int) -> dict[str, Token]:
    """Only tokens with a limit are counted: a token without one would be a hot spot of the view for nothing."""
    token = book.token(token_id)
    if token is None or token.uses_max is None:
        return {}
    return {token_id: msgspec.structs.replace(token, uses=max(0, token.uses + by))}
