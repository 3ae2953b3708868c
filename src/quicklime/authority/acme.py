"""ACME's commands: accounts and binding keys into the ledger, orders and validations into the protocol stream.

What ends in a certificate, or ends one, is not here: that is the issuance desk's and the revocation desk's, as for everybody.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from quicklime.authority.ledger import Ledger, ProtocolLedger
from quicklime.errors import Code, Reasons, Refused
from quicklime.events import (
    ACMEAccountClosed,
    ACMEAccountCreated,
    ACMEAccountKeyChanged,
    ACMEAccountUpdated,
    ACMEKeyCreated,
    ACMEKeyRevoked,
    Requester,
)
from quicklime.lifecycle.account import Account, BindingKey
from quicklime.lifecycle.order import Authorization, Order
from quicklime.pki.jws import Key
from quicklime.pki.names import check_pattern
from quicklime.protocol import (
    AuthorizationCreated,
    AuthorizationDeactivated,
    NameValidated,
    Observation,
    OrderCreated,
    ProtocolEvent,
    ValidationFailed,
    ValidationRequested,
)

KEY_DAYS_MAX = 3660
NAMES_MAX = 100
LABEL_CHARACTERS_MAX = 200
TOKEN_OCTETS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBindingKey:
    """``names`` are patterns (``pki.names``); ``lifetime_seconds`` is how long the key can bind an account."""

    directory: str
    names: tuple[str, ...]
    profiles: tuple[str, ...]
    lifetime_seconds: int
    certificates_max: int | None = None
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedAuthorization:
    """A name that an order needs proved, typed and without wildcard; ``methods`` are the challenges that are offered."""

    name: str
    wildcard: bool
    methods: tuple[str, ...]


class AccountDesk:
    """Takes the commands about accounts and binding keys. ``secret`` is what the MAC keys are derived from."""

    def __init__(self, ledger: Ledger, secret: bytes) -> None:
        self._ledger = ledger
        self._secret = secret

    def mac_key(self, key: str) -> bytes:
        """The MAC key of binding key ``key``: derived, so that no store holds it."""
        return hmac.digest(self._secret, b"quicklime-acme-binding-v1\0" + key.encode(), "sha256")

    async def create(
        self,
        *,
        directory: str,
        key: Key,
        contact: tuple[str, ...],
        terms: str | None,
        binding: str | None,
        address: str,
    ) -> Account:
        """A new account. Raises Refused: ``account-exists`` where the key has one, ``binding-unusable``."""
        identifier = _identifier(self._ledger)
        await self._ledger.record(
            ACMEAccountCreated(
                account=identifier,
                directory=directory,
                jwk=key.jwk,
                thumbprint=key.thumbprint,
                created_at=self._ledger.now(),
                address=address,
                contact=contact,
                terms=terms,
                binding=binding,
            )
        )
        account = self._ledger.state.acme_account(identifier)
        if account is None:
            # of two requests at once the log's order took the other
            holder = self._ledger.state.acme_account_of_key(directory, key.thumbprint)
            if holder is not None:
                raise Refused(Code.ACCOUNT_EXISTS, f"account {holder} has this key")
            raise Refused(Code.BINDING_UNUSABLE, f"binding key {binding!r} binds no further account")
        return account

    async def update(self, account: Account, contact: tuple[str, ...], terms: str | None) -> Account:
        await self._ledger.record(
            ACMEAccountUpdated(
                account=account.account, updated_at=self._ledger.now(), contact=contact, terms=terms
            )
        )
        return self._current(account)

    async def change_key(self, account: Account, key: Key) -> Account:
        """Raises Refused (``account-exists``) where another account has the key."""
        await self._ledger.record(
            ACMEAccountKeyChanged(
                account=account.account,
                jwk=key.jwk,
                thumbprint=key.thumbprint,
                changed_at=self._ledger.now(),
            )
        )
        changed = self._current(account)
        if changed.thumbprint != key.thumbprint:
            holder = self._ledger.state.acme_account_of_key(account.directory, key.thumbprint)
            raise Refused(Code.ACCOUNT_EXISTS, f"account {holder} has this key")
        return changed

    async def close(
        self, account: Account, status: Literal["deactivated", "revoked"], requester: Requester
    ) -> Account:
        await self._ledger.record(
            ACMEAccountClosed(
                account=account.account, status=status, closed_at=self._ledger.now(), requester=requester
            )
        )
        return self._current(account)

    def _current(self, account: Account) -> Account:
        found = self._ledger.state.acme_account(account.account)
        assert found is not None
        return found

    # --- binding keys -----------------------------------------------------------------------------------------------

    async def create_key(
        self, command: CreateBindingKey, requester: Requester, *, profiles: Sequence[str]
    ) -> tuple[BindingKey, bytes]:
        """The key and its MAC key. ``profiles`` are those that there are. Raises Refused naming every fault."""
        _check_binding(command, profiles)
        identifier = _identifier(self._ledger)
        now = self._ledger.now()
        await self._ledger.record(
            ACMEKeyCreated(
                key=identifier,
                directory=command.directory,
                created_at=now,
                expires_at=now + command.lifetime_seconds,
                requester=requester,
                label=command.label,
                names=command.names,
                profiles=command.profiles,
                certificates_max=command.certificates_max,
            )
        )
        key = self._ledger.state.acme_key(identifier)
        assert key is not None
        return key, self.mac_key(identifier)

    async def revoke_key(self, identifier: str, requester: Requester) -> BindingKey:
        """Revoking twice changes nothing. Raises Refused (``not-found``)."""
        key = self._ledger.state.acme_key(identifier)
        if key is None:
            raise Refused(Code.NOT_FOUND, f"no binding key has the id {identifier[:64]!r}")
        if key.revoked_at is None:
            await self._ledger.record(
                ACMEKeyRevoked(key=identifier, revoked_at=self._ledger.now(), requester=requester)
            )
        revoked = self._ledger.state.acme_key(identifier)
        assert revoked is not None
        return revoked


def _check_binding(command: CreateBindingKey, profiles: Sequence[str]) -> None:
    reasons = Reasons()
    for place, pattern in enumerate(command.names):
        with reasons.catching(f"names[{place}]"):
            check_pattern(pattern)
    if len(command.names) > NAMES_MAX:
        reasons.add(Code.NAMES_TOO_MANY, f"{len(command.names)} names, expected at most {NAMES_MAX}", "names")
    for profile in command.profiles:
        if profile not in profiles:
            reasons.add(
                Code.PROFILE_UNKNOWN,
                f"profile {profile[:64]!r} is not one of {sorted(profiles)!r}",
                "profiles",
            )
    if not 0 < command.lifetime_seconds <= KEY_DAYS_MAX * 86_400:
        reasons.add(
            Code.REQUEST_MALFORMED,
            f"lifetime of {command.lifetime_seconds} s, expected 1 s to {KEY_DAYS_MAX} days",
            "lifetime_seconds",
        )
    if command.certificates_max is not None and command.certificates_max < 1:
        reasons.add(
            Code.REQUEST_MALFORMED,
            f"{command.certificates_max} certificates, expected at least 1",
            "certificates_max",
        )
    if len(command.label) > LABEL_CHARACTERS_MAX or not command.label.isprintable():
        reasons.add(
            Code.REQUEST_MALFORMED, f"label is not up to {LABEL_CHARACTERS_MAX} printable characters", "label"
        )
    reasons.raise_if_any()


class OrderDesk:
    """Takes the commands about orders and authorizations; each returns only when it is durable and seen."""

    def __init__(
        self, ledger: ProtocolLedger, *, order_seconds: int, pending_seconds: int, valid_seconds: int
    ) -> None:
        """How long an order, an unproved and a proved authorization live."""
        self._ledger = ledger
        self._order_seconds = order_seconds
        self._pending_seconds = pending_seconds
        self._valid_seconds = valid_seconds

    async def create(
        self,
        account: Account,
        *,
        names: tuple[str, ...],
        profile: str,
        named_profile: bool,
        replaces: str | None,
        wanted: Sequence[WantedAuthorization],
        held: Mapping[tuple[str, bool], str],
    ) -> Order:
        """A new order; ``held`` are authorizations of the account to be used again, by (name, wildcard)."""
        now = self._ledger.now()
        created = {
            (one.name, one.wildcard): self._authorization(account, one, now)
            for one in wanted
            if (one.name, one.wildcard) not in held
        }
        identifiers = tuple(
            held.get((one.name, one.wildcard)) or created[one.name, one.wildcard].authorization
            for one in wanted
        )
        order = OrderCreated(
            order=_identifier(self._ledger),
            account=account.account,
            directory=account.directory,
            names=names,
            profile=profile,
            named_profile=named_profile,
            authorizations=identifiers,
            created_at=now,
            expires_at=now + self._order_seconds,
            replaces=replaces,
        )
        await self._ledger.record(*created.values(), order)
        found = self._ledger.orders.order(order.order)
        assert found is not None
        return found

    async def authorize(self, account: Account, wanted: WantedAuthorization) -> Authorization:
        """An authorization before any order (RFC 8555, Section 7.4.1)."""
        event = self._authorization(account, wanted, self._ledger.now())
        return await self._about(event.authorization, event)

    async def request(self, authorization: Authorization, method: str) -> Authorization:
        """Note that the client is ready; nothing happens where it was noted."""
        if authorization.requested is not None:
            return authorization
        return await self._about(
            authorization.authorization,
            ValidationRequested(
                authorization=authorization.authorization, method=method, requested_at=self._ledger.now()
            ),
        )

    async def validated(
        self, authorization: Authorization, method: str, evidence: tuple[Observation, ...]
    ) -> Authorization:
        now = self._ledger.now()
        return await self._about(
            authorization.authorization,
            NameValidated(
                authorization=authorization.authorization,
                method=method,
                evidence=evidence,
                validated_at=now,
                expires_at=now + self._valid_seconds,
            ),
        )

    async def failed(
        self,
        authorization: Authorization,
        method: str,
        failure: tuple[str, str],
        evidence: tuple[Observation, ...],
    ) -> Authorization:
        return await self._about(
            authorization.authorization,
            ValidationFailed(
                authorization=authorization.authorization,
                method=method,
                type=failure[0],
                detail=ascii(failure[1])[1:-1][:500],
                evidence=evidence,
                failed_at=self._ledger.now(),
            ),
        )

    async def deactivate(self, authorization: Authorization) -> Authorization:
        return await self._about(
            authorization.authorization,
            AuthorizationDeactivated(
                authorization=authorization.authorization, deactivated_at=self._ledger.now()
            ),
        )

    async def _about(self, authorization: str, event: ProtocolEvent) -> Authorization:
        await self._ledger.record(event)
        found = self._ledger.orders.authorization(authorization)
        assert found is not None
        return found

    def _authorization(self, account: Account, wanted: WantedAuthorization, now: int) -> AuthorizationCreated:
        return AuthorizationCreated(
            authorization=_identifier(self._ledger),
            account=account.account,
            directory=account.directory,
            name=wanted.name,
            wildcard=wanted.wildcard,
            methods=wanted.methods,
            # RFC 8555, Section 8.3: at least 128 bits of entropy, in base64url's alphabet
            token=self._ledger.entropy(TOKEN_OCTETS).hex(),
            created_at=now,
            expires_at=now + self._pending_seconds,
        )


def _identifier(ledger: Ledger | ProtocolLedger) -> str:
    """26 characters that nobody guesses."""
    return b32encode(ledger.entropy(16)).decode("ascii").rstrip("=").lower()
