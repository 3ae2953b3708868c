"""Make and revoke bearer tokens. The secret is told once; the log holds its SHA-256."""

from __future__ import annotations

from base64 import b32encode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from quicklime.authority.ledger import Ledger
from quicklime.errors import Code, Reasons, Refused
from quicklime.events import Requester, Role, TokenCreated, TokenRevoked
from quicklime.lifecycle.token import Token
from quicklime.pki.names import check_pattern

TOKEN_PREFIX = "ql"
TOKEN_DAYS_MAX = 3660
NAMES_MAX = 100
LABEL_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateToken:
    """``names`` are patterns (``pki.names``), ``lifetime_seconds`` counts from now, ``uses_max`` None is without limit."""

    role: Role
    names: tuple[str, ...]
    profiles: tuple[str, ...]
    lifetime_seconds: int
    uses_max: int | None = None
    label: str = ""


class TokenDesk:
    """Takes the commands about tokens."""

    def __init__(self, ledger: Ledger, profiles: frozenset[str]) -> None:
        self._ledger = ledger
        self._profiles = profiles

    async def create(self, command: CreateToken, requester: Requester) -> tuple[str, Token]:
        """The token's text, told this once, and what the log knows of it. Raises Refused naming every fault."""
        self._check(command)
        identifier = b32encode(self._ledger.entropy(10)).decode().lower()
        secret = urlsafe_b64encode(self._ledger.entropy(32)).decode().rstrip("=")
        text = f"{TOKEN_PREFIX}_{identifier}_{secret}"
        now = self._ledger.now()
        await self._ledger.record(
            TokenCreated(
                token=identifier,
                token_sha256=sha256(text.encode()).digest(),
                role=command.role,
                created_at=now,
                expires_at=now + command.lifetime_seconds,
                requester=requester,
                label=command.label,
                names=command.names,
                profiles=command.profiles,
                uses_max=command.uses_max,
            )
        )
        token = self._ledger.state.token(identifier)
        assert token is not None
        return text, token

    async def revoke(self, identifier: str, requester: Requester) -> Token:
        """Revoke the token with this id; revoking twice changes nothing. Raises Refused (``not-found``)."""
        token = self._ledger.state.token(identifier)
        if token is None:
            # not ``token-unknown``: that is said of the token of whoever asks
            raise Refused(Code.NOT_FOUND, f"no token has the id {identifier[:64]!r}")
        if token.revoked_at is None:
            await self._ledger.record(
                TokenRevoked(token=identifier, revoked_at=self._ledger.now(), requester=requester)
            )
        revoked = self._ledger.state.token(identifier)
        assert revoked is not None
        return revoked

    def _check(self, command: CreateToken) -> None:
        reasons = Reasons()
        for place, pattern in enumerate(command.names):
            with reasons.catching(f"names[{place}]"):
                check_pattern(pattern)
        if len(command.names) > NAMES_MAX:
            reasons.add(
                Code.NAMES_TOO_MANY, f"{len(command.names)} names, expected at most {NAMES_MAX}", "names"
            )
        for profile in command.profiles:
            if profile not in self._profiles:
                reasons.add(
                    Code.PROFILE_UNKNOWN,
                    f"profile {profile[:64]!r} is not one of {sorted(self._profiles)!r}",
                    "profiles",
                )
        if not 0 < command.lifetime_seconds <= TOKEN_DAYS_MAX * 86400:
            reasons.add(
                Code.REQUEST_MALFORMED,
                f"lifetime of {command.lifetime_seconds} s, expected 1 s to {TOKEN_DAYS_MAX} days",
                "lifetime_seconds",
            )
        if command.uses_max is not None and command.uses_max < 1:
            reasons.add(Code.REQUEST_MALFORMED, f"uses {command.uses_max}, expected at least 1", "uses")
        if len(command.label) > LABEL_CHARACTERS_MAX or not command.label.isprintable():
            reasons.add(
                Code.REQUEST_MALFORMED,
                f"label is not up to {LABEL_CHARACTERS_MAX} printable characters",
                "label",
            )
        if command.role == "requester" and not command.names:
            reasons.add(Code.NAMES_MISSING, "a requester's token needs at least one name or pattern", "names")
        reasons.raise_if_any()
