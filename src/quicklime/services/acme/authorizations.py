"""Authorizations: what is to be proved, asked for, and judged (RFC 8555, Section 7.5)."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from quicklime.lifecycle.order import Authorization
from quicklime.projection.stream import INDEX
from quicklime.services.acme import view
from quicklime.services.acme.exchange import PREFIX, Desks, Exchange, document
from quicklime.services.acme.grants import authorization_of, check_policy, gone, wanted_for
from quicklime.services.acme.validator import Outcome, Task
from quicklime.services.acme.wire import (
    Deactivate,
    NewAuthorization,
    Problem,
    authorization_document,
    challenge_document,
    names_of,
)
from quicklime.web.render import timestamp

POLL_SECONDS = 2
# how long a challenge's answer waits for the validation: most are over by then, and the client need not ask again
AT_ONCE_SECONDS = 0.5
VALIDATIONS_MAX = 200
LATE_SECONDS = 60


async def new_authorization(exchange: Exchange) -> Response:
    """Before any order (RFC 8555, Section 7.4.1)."""
    asked = exchange.asked(NewAuthorization)
    names = names_of([asked.identifier])
    if names[0].startswith("dns:*."):
        raise Problem("malformed", "a wildcard can't be authorized without an order")
    profiles = exchange.directory.profiles
    check_policy(exchange, names, profiles[0])
    exchange.desks.rates.orders.take(exchange.account.account)
    found = await exchange.desks.orders.authorize(exchange.account, wanted_for(exchange, names[0]))
    return _authz(exchange, found, 201)


async def authorization(exchange: Exchange) -> Response:
    found = _own_authorization(exchange)
    if exchange.payload:
        asked = exchange.asked(Deactivate)
        if asked.status != "deactivated":
            raise Problem("malformed", f"status {asked.status[:32]!r}, a client can set 'deactivated' alone")
        if found.status_at(exchange.desks.clock()) not in {"pending", "valid"}:
            raise Problem("malformed", f"the authorization is {found.status} already")
        found = await exchange.desks.orders.deactivate(found)
    return _authz(exchange, found, 200)


async def challenge(exchange: Exchange) -> Response:
    """Read, or say that one is ready to be asked (RFC 8555, Section 7.5.1)."""
    desks = exchange.desks
    found = _own_authorization(exchange)
    method = exchange.path("method")
    if method not in found.methods:
        raise Problem("malformed", "no such challenge", status=404)
    if exchange.payload:
        exchange.asked(dict)
        if found.status_at(desks.clock()) == "expired":
            raise Problem("malformed", "the authorization is expired")
        if found.status == "pending":
            found = await _validate(exchange, found, method)
    url = exchange.url("authz", found.authorization)
    content = _challenge(exchange, found, method)
    headers = {"link": f'<{url}>;rel="up"', "location": str(content["url"])}
    if content["status"] == "processing":
        headers["retry-after"] = str(POLL_SECONDS)
    return document(content, 200, headers)


async def _validate(exchange: Exchange, found: Authorization, method: str) -> Authorization:
    """Start the validation, and wait a moment for it: most are over before the client could ask again."""
    desks = exchange.desks
    key = f"{found.account} {found.name}"
    if not desks.rates.failures.allows(key):
        raise Problem(
            "rateLimited",
            f"too many failed validations of {found.name!r}",
            retry_after_seconds=desks.rates.failures.refusal().retry_after_seconds,
        )
    start(desks, found, method, exchange.key.thumbprint, exchange.account_url)
    running = desks.validations.get(found.authorization)
    if running is not None:
        await asyncio.wait([running], timeout=AT_ONCE_SECONDS)
        if not running.done():
            return await desks.orders.request(found, method)
    return desks.protocol.orders.authorization(found.authorization) or found


def start(desks: Desks, found: Authorization, method: str, thumbprint: bytes, account_url: str) -> None:
    """Validate in the background, where this process does not yet. Raises Problem where too many are under way."""
    if found.authorization in desks.validations:
        return
    if len(desks.validations) >= VALIDATIONS_MAX:
        raise Problem(
            "serverInternal",
            f"{VALIDATIONS_MAX} validations are under way",
            status=503,
            retry_after_seconds=2,
        )
    task = Task(
        name=found.name,
        wildcard=found.wildcard,
        method=method,
        token=found.token,
        thumbprint=thumbprint,
        account_url=account_url,
    )
    running = asyncio.create_task(_judge(desks, found, task))
    desks.validations[found.authorization] = running
    running.add_done_callback(lambda done: _over(desks, found.authorization, done))


async def _judge(desks: Desks, found: Authorization, task: Task) -> Outcome:
    outcome = await desks.validator.validate(task)
    if outcome.failure is None:
        await desks.orders.validated(found, task.method, outcome.evidence)
    else:
        desks.rates.failures.note(f"{found.account} {found.name}")
        await desks.orders.failed(found, task.method, outcome.failure, outcome.evidence)
    return outcome


def _over(desks: Desks, authorization: str, done: asyncio.Task[Outcome]) -> None:
    desks.validations.pop(authorization, None)
    # the log was away, most likely: the client asks again, or ``resume`` does
    if not done.cancelled() and isinstance(error := done.exception(), Exception):
        desks.lines.task_failed("ACME validation", error, LATE_SECONDS)


async def resume(desks: Desks) -> None:
    """Validate what was asked for and never judged: whoever had begun died meanwhile."""
    await desks.protocol.catch_up()
    now = desks.clock()
    for key, _ in desks.protocol.store.scan(INDEX, prefix=view.REQUESTED, limit=VALIDATIONS_MAX):
        found = desks.protocol.orders.authorization(key[1:].decode())
        if found is None or found.requested is None or found.requested_at is None:
            continue
        account = desks.state.acme_account(found.account)
        if account is None or found.status_at(now) != "pending" or now < found.requested_at + LATE_SECONDS:
            continue
        if len(desks.validations) < VALIDATIONS_MAX:
            url = f"{desks.canonical_url()}{PREFIX}/{found.directory}/account/{found.account}"
            start(desks, found, found.requested, account.thumbprint, url)


def _own_authorization(exchange: Exchange) -> Authorization:
    found = authorization_of(exchange.desks, exchange.path("authz"))
    if found.directory != exchange.directory.name:
        gone()
    if found.account != exchange.account.account:
        raise Problem("unauthorized", "this authorization is another account's")
    return found


def _challenge(exchange: Exchange, found: Authorization, method: str) -> dict[str, object]:
    return challenge_document(
        found,
        method,
        url=exchange.url("chall", found.authorization, method),
        validated=None if found.judged_at is None else timestamp(found.judged_at),
    )


def _authz(exchange: Exchange, found: Authorization, status_code: int) -> Response:
    status = found.status_at(exchange.desks.clock())
    # RFC 8555, Section 7.1.4: of a judged authorization the challenge that decided
    methods = found.methods if found.method is None else (found.method,)
    content = authorization_document(
        found,
        status,
        expires=timestamp(found.expires_at),
        challenges=[_challenge(exchange, found, method) for method in methods],
    )
    headers = {"location": exchange.url("authz", found.authorization)}
    if status == "pending" and found.requested is not None:
        headers["retry-after"] = str(POLL_SECONDS)
    return document(content, status_code, headers)
