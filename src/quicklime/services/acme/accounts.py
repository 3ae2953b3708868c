"""Accounts: made, found again, changed, closed; bound to what an operator granted (RFC 8555, Section 7.3)."""

from __future__ import annotations

from starlette.responses import Response

from quicklime.errors import Code, Refused
from quicklime.lifecycle.account import Account, why_unbindable
from quicklime.pki import jws
from quicklime.pki.jws import Unacceptable, object_of, octets_of
from quicklime.projection.stream import INDEX
from quicklime.services.acme import view
from quicklime.services.acme.exchange import Exchange, document, unacceptable
from quicklime.services.acme.wire import (
    AccountUpdate,
    KeyChange,
    NewAccount,
    Problem,
    check_contacts,
    payload_of,
)

ORDERS_PAGE = 100


async def new_account(exchange: Exchange) -> Response:
    asked = exchange.asked(NewAccount)
    desks, directory = exchange.desks, exchange.directory
    holder = desks.state.acme_account_of_key(directory.name, exchange.key.thumbprint)
    found = None if holder is None else desks.state.acme_account(holder)
    if found is not None:
        if found.status != "valid":
            raise Problem("unauthorized", f"the account of this key is {found.status}")
        return _account(exchange, found, 200)
    if asked.only_return_existing:
        raise Problem("accountDoesNotExist", "no account of this directory has this key")
    contact = check_contacts(asked.contact or ())
    if directory.terms is not None and not asked.terms_of_service_agreed:
        raise Problem(
            "userActionRequired",
            f"the terms of service are to be agreed to: {directory.terms}",
            headers={"link": f'<{directory.terms}>;rel="terms-of-service"'},
        )
    try:
        jws.check_strength(exchange.key)
    except Unacceptable as error:
        raise unacceptable(error) from None
    binding = _binding(exchange, asked)
    desks.rates.accounts.take(exchange.address)
    try:
        account = await desks.accounts.create(
            directory=directory.name,
            key=exchange.key,
            contact=contact,
            terms=directory.terms,
            binding=binding,
            address=exchange.address,
        )
    except Refused as refused:
        if refused.code != Code.ACCOUNT_EXISTS:
            raise
        holder = desks.state.acme_account_of_key(directory.name, exchange.key.thumbprint)
        other = None if holder is None else desks.state.acme_account(holder)
        assert other is not None
        return _account(exchange, other, 200)
    return _account(exchange, account, 201)


def _binding(exchange: Exchange, asked: NewAccount) -> str | None:
    """The id of the binding key that stands behind the request (RFC 8555, Section 7.3.4). Raises Problem."""
    bound = asked.external_account_binding
    if bound is None:
        if exchange.directory.binding_required:
            raise Problem(
                "externalAccountRequired",
                "this directory takes accounts with an external account binding alone; "
                "an administrator makes its key: quicklime acme eab create",
            )
        return None
    desks = exchange.desks
    try:
        message = jws.parse(bound, algorithms=jws.MAC_ALGORITHMS)
    except Unacceptable as error:
        raise Problem("malformed", f"externalAccountBinding: {error}") from None
    if "nonce" in message.header:
        raise Problem("malformed", "externalAccountBinding has a nonce, expected none")
    if message.header.get("url") != exchange.signed_url:
        raise Problem("malformed", "the url of externalAccountBinding is not that of the request")
    kid = message.header.get("kid")
    key = desks.state.acme_key(kid) if isinstance(kid, str) and len(kid) <= 64 and kid.isascii() else None
    why = why_unbindable(key, exchange.directory.name, desks.clock())
    # the MAC first: what the key's state is, only its holder may learn
    try:
        jws.verify_mac(message, desks.accounts.mac_key(str(kid)))
        same = jws.read_key(object_of(message.payload, "its payload")).thumbprint == exchange.key.thumbprint
    except Unacceptable as error:
        raise Problem("unauthorized", f"externalAccountBinding: {error}") from None
    if why is not None or key is None:
        raise Problem("unauthorized", "no such binding key" if why is None else why.detail)
    if not same:
        raise Problem("malformed", "the payload of externalAccountBinding is not the account's key")
    return key.key


async def account(exchange: Exchange) -> Response:
    """Read, update or deactivate (RFC 8555, Sections 7.3.2 and 7.3.6)."""
    _check_own(exchange)
    found = exchange.account
    if not exchange.payload:
        return _account(exchange, found, 200)
    asked = exchange.asked(AccountUpdate)
    if asked.status is not None:
        if asked.status != "deactivated":
            raise Problem("malformed", f"status {asked.status[:32]!r}, a client can set 'deactivated' alone")
        closed = await exchange.desks.accounts.close(found, "deactivated", exchange.requester)
        return _account(exchange, closed, 200)
    contact = found.contact if asked.contact is None else check_contacts(asked.contact)
    terms = exchange.directory.terms if asked.terms_of_service_agreed else found.terms
    if (contact, terms) != (found.contact, found.terms):
        found = await exchange.desks.accounts.update(found, contact, terms)
    return _account(exchange, found, 200)


async def orders(exchange: Exchange) -> Response:
    """The account's orders, oldest first, a page at a time (RFC 8555, Section 7.1.2.1)."""
    _check_own(exchange)
    exchange.only_reads()
    cursor = exchange.request.query_params.get("cursor", "")
    prefix = view.orders_prefix(exchange.account.account)
    try:
        after = octets_of(cursor, "cursor") if cursor else None
    except Unacceptable as error:
        raise unacceptable(error) from None
    rows = exchange.desks.protocol.store.scan(
        INDEX, prefix=prefix, after=None if after is None else prefix + after, limit=ORDERS_PAGE + 1
    )
    headers = {}
    if len(rows) > ORDERS_PAGE:
        rows = rows[:ORDERS_PAGE]
        following = jws.base64url(rows[-1][0][len(prefix) :])
        here = exchange.url("account", exchange.account.account, "orders")
        headers["link"] = f'<{here}?cursor={following}>;rel="next"'
    return document({"orders": [exchange.url("order", value.decode()) for _, value in rows]}, 200, headers)


async def key_change(exchange: Exchange) -> Response:
    """RFC 8555, Section 7.3.5: the new key signs for the old one's account, the old one signs for all of it."""
    desks, found = exchange.desks, exchange.account
    try:
        inner = jws.parse(exchange.payload)
        if "jwk" not in inner.header or "kid" in inner.header:
            raise Unacceptable("malformed", "has not exactly jwk in its header")
        key = jws.read_key(inner.header["jwk"])
        jws.verify(inner, key)
        if "nonce" in inner.header:
            raise Unacceptable("malformed", "has a nonce, expected none")
        if inner.header.get("url") != exchange.signed_url:
            raise Unacceptable("malformed", "has another url than the outer one")
        asked = payload_of(inner.payload, KeyChange)
        if desks.account_of_url(asked.account, exchange.directory) != found.account:
            raise Unacceptable("malformed", "names another account")
        if jws.read_key(asked.old_key).thumbprint != found.thumbprint:
            raise Unacceptable("malformed", "has an oldKey that is not the account's")
        jws.check_strength(key)
    except Unacceptable as error:
        if error.type != "malformed":
            raise unacceptable(error) from None
        raise Problem("malformed", f"the inner JWS: {error}") from None
    holder = desks.state.acme_account_of_key(exchange.directory.name, key.thumbprint)
    if holder is not None:
        raise _key_in_use(exchange, holder)
    try:
        changed = await desks.accounts.change_key(found, key)
    except Refused as refused:
        if refused.code != Code.ACCOUNT_EXISTS:
            raise
        holder = desks.state.acme_account_of_key(exchange.directory.name, key.thumbprint)
        raise _key_in_use(exchange, holder or found.account) from None
    return _account(exchange, changed, 200)


def _key_in_use(exchange: Exchange, holder: str) -> Problem:
    return Problem(
        "malformed",
        "an account has this key already",
        status=409,
        headers={"location": exchange.url("account", holder)},
    )


def _check_own(exchange: Exchange) -> None:
    if exchange.path("account") != exchange.account.account:
        raise Problem("unauthorized", "this is another account's")


def _account(exchange: Exchange, found: Account, status: int) -> Response:
    url = exchange.url("account", found.account)
    content: dict[str, object] = {
        "status": found.status,
        "contact": list(found.contact),
        "orders": f"{url}/orders",
        "termsOfServiceAgreed": found.terms is not None,
    }
    if found.binding is not None:
        content["externalAccountBinding"] = {"kid": found.binding}
    return document(content, status, {"location": url})
