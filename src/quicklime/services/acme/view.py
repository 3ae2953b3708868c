"""What the service looks up in the protocol stream: an account's orders, and the authorizations that it can use again.

Keys of the index: ``l`` account, 0, created (8 octets), order: the account's orders by time; ``n`` account, 0, name, 0, ``*`` or
``-``: the authorization of the account that was last proved for the name; ``r`` authorization: asked for, and not judged yet.
"""

from __future__ import annotations

from collections.abc import Iterable

from quicklime.lifecycle.order import Changes
from quicklime.protocol import OrderCreated, ProtocolEvent

VERSION = 1


def orders_prefix(account: str) -> bytes:
    return b"l" + account.encode() + b"\0"


def proved_key(account: str, name: str, *, wildcard: bool) -> bytes:
    return b"n" + account.encode() + b"\0" + name.encode() + (b"\0*" if wildcard else b"\0-")


REQUESTED = b"r"


def project(event: ProtocolEvent, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    if isinstance(event, OrderCreated):
        for order in changes.orders.values():
            key = orders_prefix(order.account) + order.created_at.to_bytes(8, "big") + order.order.encode()
            yield key, order.order.encode()
    for identifier, one in changes.authorizations.items():
        proved = proved_key(one.account, one.name, wildcard=one.wildcard)
        if one.status == "valid":
            yield proved, identifier.encode()
        if one.status == "pending" and one.requested is not None:
            yield REQUESTED + identifier.encode(), b""
        else:
            yield REQUESTED + identifier.encode(), None
