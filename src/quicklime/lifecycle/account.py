"""The life of an ACME account, and of the keys of external account binding: both outlive every order, so the ledger holds them.

Invariants: a key stands behind at most one account of its directory; a binding key binds once; a closed account gets nothing
any more; an account whose binding has a quota stands behind at most that many plans, by the log's order.

Standard: RFC 8555, Sections 7.3.4 (external account binding), 7.3.5 (key rollover) and 7.3.6 (deactivation).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from quicklime.errors import Code, Reason
from quicklime.events import (
    ACMEAccountClosed,
    ACMEAccountCreated,
    ACMEAccountKeyChanged,
    ACMEAccountUpdated,
    ACMEKeyCreated,
    ACMEKeyRevoked,
    CertificateAbandoned,
    CertificatePlanned,
    CertificatePlannedV2,
    Event,
)

_OWN: frozenset[type[Event]] = frozenset(
    {
        ACMEKeyCreated,
        ACMEKeyRevoked,
        ACMEAccountCreated,
        ACMEAccountUpdated,
        ACMEAccountKeyChanged,
        ACMEAccountClosed,
        CertificateAbandoned,
    }
)

AccountStatus = Literal["valid", "deactivated", "revoked"]


class BindingKey(msgspec.Struct, frozen=True, array_like=True):
    """A key of external account binding and what it grants; ``account`` is the one it bound."""

    key: str
    directory: str
    label: str
    names: tuple[str, ...]
    profiles: tuple[str, ...]
    certificates_max: int | None
    certificates: int
    created_at: int
    expires_at: int
    revoked_at: int | None = None
    account: str | None = None


class Account(msgspec.Struct, frozen=True, array_like=True):
    account: str
    directory: str
    status: AccountStatus
    jwk: str
    thumbprint: bytes
    contact: tuple[str, ...]
    terms: str | None
    binding: str | None
    created_at: int


class Changes(msgspec.Struct, frozen=True):
    """``by_key`` maps (directory, thumbprint) to the account that has this key now, None where none has it any more."""

    accounts: dict[str, Account]
    keys: dict[str, BindingKey]
    by_key: dict[tuple[str, bytes], str | None]


class Book(Protocol):
    def acme_account(self, account: str) -> Account | None: ...

    def acme_account_of_key(self, directory: str, thumbprint: bytes) -> str | None:
        """The account of this directory that signs with the key of this thumbprint."""
        ...

    def acme_key(self, key: str) -> BindingKey | None: ...

    def planned_by_account(self, serial: str) -> str | None:
        """The account behind the open plan of this serial, if any."""
        ...


def concerns(event: Event) -> bool:
    """Whether accounts have a say about ``event``, or are changed by it: of plans only about those of accounts."""
    return type(event) in _OWN or type(event) is CertificatePlannedV2


def judge(book: Book, event: Event) -> Reason | None:
    """Why ``event`` does not stand, as far as accounts are concerned."""
    match event:
        case CertificatePlanned() if event.requester.kind == "acme":
            return _judge_plan(book, event)
        case ACMEAccountCreated():
            return _judge_account(book, event)
        case ACMEAccountKeyChanged():
            holder = book.acme_account_of_key(_directory(book, event.account), event.thumbprint)
            if holder is not None:
                return Reason(Code.ACCOUNT_EXISTS, f"account {holder} has this key")
            return _why_closed(book, event.account)
        case ACMEAccountUpdated() | ACMEAccountClosed():
            return _why_closed(book, event.account)
        case ACMEKeyCreated() if book.acme_key(event.key) is not None:
            return Reason(Code.BUSY, f"binding key {event.key!r} is taken")
        case ACMEKeyRevoked() if book.acme_key(event.key) is None:
            return Reason(Code.NOT_FOUND, f"no binding key {event.key!r}")
        case _:
            return None


def _directory(book: Book, account: str) -> str:
    found = book.acme_account(account)
    return "" if found is None else found.directory


def _why_closed(book: Book, identifier: str) -> Reason | None:
    account = book.acme_account(identifier)
    if account is None:
        return Reason(Code.ACCOUNT_UNKNOWN, f"no account {identifier!r}")
    if account.status != "valid":
        return Reason(Code.ACCOUNT_CLOSED, f"account {identifier} is {account.status}")
    return None


def _judge_plan(book: Book, plan: CertificatePlanned) -> Reason | None:
    closed = _why_closed(book, plan.requester.id)
    account = book.acme_account(plan.requester.id)
    if closed is not None or account is None or account.binding is None:
        return closed
    key = book.acme_key(account.binding)
    if key is None:
        return Reason(Code.BINDING_UNUSABLE, f"binding key {account.binding!r} is not known")
    return why_ungranted(key)


def why_ungranted(key: BindingKey) -> Reason | None:
    """Why the account that ``key`` bound gets no further certificate; None where it does."""
    if key.revoked_at is not None:
        return Reason(Code.BINDING_UNUSABLE, f"binding key {key.key!r} is revoked")
    if key.certificates_max is not None and key.certificates >= key.certificates_max:
        return Reason(
            Code.QUOTA_EXHAUSTED,
            f"binding key {key.key!r} stands behind {key.certificates} of {key.certificates_max} certificates",
        )
    return None


def why_unbindable(key: BindingKey | None, directory: str, now: int) -> Reason | None:
    """Why ``key`` binds no account of ``directory`` at ``now``; None where it does."""
    if key is None or key.directory != directory:
        return Reason(Code.BINDING_UNUSABLE, "no such key of external account binding in this directory")
    if key.revoked_at is not None:
        return Reason(Code.BINDING_UNUSABLE, f"binding key {key.key!r} is revoked")
    if key.account is not None:
        return Reason(Code.BINDING_UNUSABLE, f"binding key {key.key!r} has bound an account already")
    if now >= key.expires_at:
        return Reason(Code.BINDING_UNUSABLE, f"binding key {key.key!r} expired")
    return None


def _judge_account(book: Book, event: ACMEAccountCreated) -> Reason | None:
    if book.acme_account(event.account) is not None:
        return Reason(Code.BUSY, f"account id {event.account!r} is taken")
    holder = book.acme_account_of_key(event.directory, event.thumbprint)
    if holder is not None:
        return Reason(Code.ACCOUNT_EXISTS, f"account {holder} has this key")
    if event.binding is None:
        return None
    return why_unbindable(book.acme_key(event.binding), event.directory, event.created_at)


def evolve(book: Book, event: Event, refusal: Reason | None) -> Changes:
    """What ``event`` changes of accounts and binding keys."""
    changes = Changes(accounts={}, keys={}, by_key={})
    if refusal is not None:
        return changes
    match event:
        case ACMEKeyCreated():
            changes.keys[event.key] = BindingKey(
                key=event.key,
                directory=event.directory,
                label=event.label,
                names=event.names,
                profiles=event.profiles,
                certificates_max=event.certificates_max,
                certificates=0,
                created_at=event.created_at,
                expires_at=event.expires_at,
            )
        case ACMEKeyRevoked():
            key = book.acme_key(event.key)
            if key is not None and key.revoked_at is None:
                changes.keys[key.key] = msgspec.structs.replace(key, revoked_at=event.revoked_at)
        case ACMEAccountCreated():
            _evolve_created(book, event, changes)
        case CertificatePlanned() if event.requester.kind == "acme":
            _count(book, event.requester.id, 1, changes)
        case CertificateAbandoned():
            # the plan came to nothing, so its place in the quota is given back
            used = book.planned_by_account(event.serial)
            if used is not None:
                _count(book, used, -1, changes)
        case ACMEAccountUpdated() | ACMEAccountKeyChanged() | ACMEAccountClosed():
            _evolve_account(book, event, changes)
        case _:
            pass
    return changes


def _evolve_created(book: Book, event: ACMEAccountCreated, changes: Changes) -> None:
    changes.accounts[event.account] = Account(
        account=event.account,
        directory=event.directory,
        status="valid",
        jwk=event.jwk,
        thumbprint=event.thumbprint,
        contact=event.contact,
        terms=event.terms,
        binding=event.binding,
        created_at=event.created_at,
    )
    changes.by_key[event.directory, event.thumbprint] = event.account
    key = None if event.binding is None else book.acme_key(event.binding)
    if key is not None:
        changes.keys[key.key] = msgspec.structs.replace(key, account=event.account)


def _evolve_account(
    book: Book, event: ACMEAccountUpdated | ACMEAccountKeyChanged | ACMEAccountClosed, changes: Changes
) -> None:
    account = book.acme_account(event.account)
    if account is None:
        return
    match event:
        case ACMEAccountUpdated():
            account = msgspec.structs.replace(account, contact=event.contact, terms=event.terms)
        case ACMEAccountKeyChanged():
            # the old key is free again: another account may have it, this one never answers to it
            changes.by_key[account.directory, account.thumbprint] = None
            changes.by_key[account.directory, event.thumbprint] = account.account
            account = msgspec.structs.replace(account, jwk=event.jwk, thumbprint=event.thumbprint)
        case ACMEAccountClosed():
            account = msgspec.structs.replace(account, status=event.status)
    changes.accounts[account.account] = account


def _count(book: Book, identifier: str, by: int, changes: Changes) -> None:
    """Only bound accounts with a quota are counted: one without would be a hot spot of the view for nothing."""
    account = book.acme_account(identifier)
    key = None if account is None or account.binding is None else book.acme_key(account.binding)
    if key is not None and key.certificates_max is not None:
        changes.keys[key.key] = msgspec.structs.replace(key, certificates=max(0, key.certificates + by))
