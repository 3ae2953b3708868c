"""The lives of an ACME order and of its authorizations (RFC 8555, Section 7.1.6), over the facts of the protocol stream.

Invariants: a name that was proved stays proved until it expires or is given back, and nothing else makes it so; a judged
authorization is not judged again; an order becomes valid by a certificate in the ledger alone, never by a fact here.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from quicklime.errors import Code, Reason
from quicklime.protocol import (
    AuthorizationCreated,
    AuthorizationDeactivated,
    NameValidated,
    Observation,
    OrderCreated,
    OrderFailed,
    ProtocolEvent,
    ValidationFailed,
    ValidationRequested,
)

AuthorizationStatus = Literal["pending", "valid", "invalid", "deactivated"]
OrderStatus = Literal["pending", "ready", "processing", "valid", "invalid"]

RULES_VERSION = 1
"""Raised whenever a rule here changes its verdict about a stream that exists: its views are then rebuilt."""


class Authorization(msgspec.Struct, frozen=True, array_like=True):
    """``expires_at`` is that of the proof once there is one; ``failure`` is (type, detail)."""

    authorization: str
    account: str
    directory: str
    name: str
    wildcard: bool
    methods: tuple[str, ...]
    token: str
    status: AuthorizationStatus
    created_at: int
    expires_at: int
    requested: str | None = None
    requested_at: int | None = None
    method: str | None = None
    judged_at: int | None = None
    evidence: tuple[Observation, ...] = ()
    failure: tuple[str, str] | None = None

    def status_at(self, now: int) -> str:
        """The status that clients see at ``now``: as kept, or ``expired``."""
        if self.status in {"pending", "valid"} and now >= self.expires_at:
            return "expired"
        return self.status


class Order(msgspec.Struct, frozen=True, array_like=True):
    order: str
    account: str
    directory: str
    names: tuple[str, ...]
    profile: str
    named_profile: bool
    authorizations: tuple[str, ...]
    replaces: str | None
    created_at: int
    expires_at: int
    failure: tuple[str, str] | None = None


class Book(Protocol):
    def order(self, order: str) -> Order | None: ...

    def authorization(self, authorization: str) -> Authorization | None: ...


class Changes(msgspec.Struct):
    refusal: Reason | None
    orders: dict[str, Order]
    authorizations: dict[str, Authorization]


def judge(book: Book, event: ProtocolEvent) -> Reason | None:
    """Why ``event`` does not stand at its place in the stream."""
    match event:
        case OrderCreated() if book.order(event.order) is not None:
            return Reason(Code.BUSY, f"order id {event.order!r} is taken")
        case AuthorizationCreated() if book.authorization(event.authorization) is not None:
            return Reason(Code.BUSY, f"authorization id {event.authorization!r} is taken")
        case OrderFailed():
            order = book.order(event.order)
            if order is None or order.failure is not None:
                return Reason(Code.NOT_FOUND, f"no open order {event.order!r}")
        case ValidationRequested() | NameValidated() | ValidationFailed():
            found = book.authorization(event.authorization)
            if found is None or found.status != "pending":
                return Reason(Code.NOT_FOUND, f"no pending authorization {event.authorization!r}")
            if event.method not in found.methods:
                return Reason(Code.NOT_FOUND, f"authorization {event.authorization!r} has no {event.method}")
        case AuthorizationDeactivated():
            found = book.authorization(event.authorization)
            if found is None or found.status not in {"pending", "valid"}:
                return Reason(Code.NOT_FOUND, f"no open authorization {event.authorization!r}")
        case _:
            pass
    return None


def evolve(book: Book, event: ProtocolEvent) -> Changes:
    """The verdict over ``event``, and what it changes. Pure."""
    changes = Changes(refusal=judge(book, event), orders={}, authorizations={})
    if changes.refusal is not None:
        return changes
    match event:
        case OrderCreated():
            changes.orders[event.order] = Order(
                order=event.order,
                account=event.account,
                directory=event.directory,
                names=event.names,
                profile=event.profile,
                named_profile=event.named_profile,
                authorizations=event.authorizations,
                replaces=event.replaces,
                created_at=event.created_at,
                expires_at=event.expires_at,
            )
        case OrderFailed():
            order = book.order(event.order)
            if order is not None:
                changes.orders[order.order] = msgspec.structs.replace(
                    order, failure=(event.type, event.detail)
                )
        case AuthorizationCreated():
            changes.authorizations[event.authorization] = Authorization(
                authorization=event.authorization,
                account=event.account,
                directory=event.directory,
                name=event.name,
                wildcard=event.wildcard,
                methods=event.methods,
                token=event.token,
                status="pending",
                created_at=event.created_at,
                expires_at=event.expires_at,
            )
        case _:
            found = book.authorization(event.authorization)
            if found is not None:
                changes.authorizations[found.authorization] = _judged(found, event)
    return changes


def _judged(
    found: Authorization,
    event: ValidationRequested | NameValidated | ValidationFailed | AuthorizationDeactivated,
) -> Authorization:
    replace = msgspec.structs.replace
    match event:
        case ValidationRequested():
            return replace(found, requested=event.method, requested_at=event.requested_at)
        case NameValidated():
            return replace(
                found,
                status="valid",
                method=event.method,
                judged_at=event.validated_at,
                expires_at=event.expires_at,
                evidence=event.evidence,
            )
        case ValidationFailed():
            return replace(
                found,
                status="invalid",
                method=event.method,
                judged_at=event.failed_at,
                evidence=event.evidence,
                failure=(event.type, event.detail),
            )
        case AuthorizationDeactivated():
            return replace(found, status="deactivated")


def status_of(book: Book, order: Order, now: int, *, planned: bool, issued: bool) -> OrderStatus:
    """The order's status at ``now`` (RFC 8555, Section 7.1.6). ``planned`` and ``issued``: as the ledger has it."""
    if issued:
        return "valid"
    if planned:
        return "processing"
    if order.failure is not None or now >= order.expires_at:
        return "invalid"
    found = [book.authorization(one) for one in order.authorizations]
    statuses = {"expired" if one is None else one.status_at(now) for one in found}
    if statuses == {"valid"}:
        return "ready"
    return "pending" if statuses <= {"valid", "pending"} else "invalid"
