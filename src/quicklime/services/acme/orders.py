"""Orders and authorizations: what is to be proved, the proof, and the certificate at the end (RFC 8555, Sections 7.4 and 7.5).

An order has its certificate when the ledger holds one whose plan claims the order, so a crash, a second replica or a second
request can never make two of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from quicklime.authority.acme import WantedAuthorization
from quicklime.authority.commands import IssueCommand
from quicklime.authority.issuance import claim_of
from quicklime.errors import Code, Refused
from quicklime.events import Requester
from quicklime.lifecycle.certificate import Certificate
from quicklime.lifecycle.order import Authorization, Order, status_of
from quicklime.pki import jws
from quicklime.pki.csr import CheckedCSR
from quicklime.pki.jws import Unacceptable
from quicklime.policy import Identity
from quicklime.projection.stream import INDEX
from quicklime.services.acme import view
from quicklime.services.acme.exchange import Desks, Exchange, document
from quicklime.services.acme.grants import authorization_of, binding_names, check_policy, wanted_for
from quicklime.services.acme.validator import Outcome
from quicklime.services.acme.wire import (
    Finalize,
    NewOrder,
    Problem,
    certificate_id,
    names_of,
    order_document,
    problem_of,
    serial_of_id,
)
from quicklime.web.render import timestamp

POLL_SECONDS = 2
EVIDENCE_CHARACTERS_MAX = 400


# --- orders ---------------------------------------------------------------------------------------------------------


async def new_order(exchange: Exchange) -> Response:
    asked = exchange.asked(NewOrder)
    desks, account = exchange.desks, exchange.account
    if asked.not_before is not None or asked.not_after is not None:
        raise Problem(
            "malformed", "notBefore and notAfter are not taken: the profile decides about lifetimes"
        )
    names = tuple(sorted(names_of(asked.identifiers)))
    profile = asked.profile or exchange.directory.profiles[0]
    check_policy(exchange, names, profile)
    replaced = None if asked.replaces is None else _replaced(exchange, asked.replaces, names)
    wanted = [wanted_for(exchange, name) for name in names]
    desks.rates.orders.take(account.account)
    order = await desks.orders.create(
        account,
        names=names,
        profile=profile,
        named_profile=asked.profile is not None,
        replaces=replaced,
        wanted=wanted,
        held=_held(exchange, wanted),
    )
    return _order(exchange, order, 201)


async def order(exchange: Exchange) -> Response:
    exchange.only_reads()
    return _order(exchange, _own_order(exchange), 200)


async def finalize(exchange: Exchange) -> Response:
    desks = exchange.desks
    found = _own_order(exchange)
    asked = exchange.asked(Finalize)
    status, _ = _status(desks, found)
    if status != "ready":
        raise Problem("orderNotReady", f"the order is {status}, expected ready")
    csr = _csr(exchange, found, asked.csr)
    proofs = [authorization_of(desks, one) for one in found.authorizations]
    checked = await _check_caa(exchange, proofs)
    binding = binding_names(exchange)
    try:
        granted = await desks.issuance.issue(
            IssueCommand(
                identity=Identity(
                    requester=exchange.requester,
                    role="requester",
                    names=tuple(sorted({*found.names})) if binding is None else binding,
                    profiles=(found.profile,),
                    label=exchange.directory.name,
                ),
                csr=csr,
                profile=found.profile,
                names=found.names,
                idempotency_key=_claim_key(found),
                evidence=tuple(_evidence(one) for one in proofs) + checked,
                replaces=found.replaces,
            )
        )
    except Refused as refused:
        await desks.refusals.note("issue", exchange.requester, refused)
        raise problem_of(refused, found.names) from None
    certificate = granted.certificate
    if not granted.repeated:
        desks.metrics.certificates.labels("issue", certificate.profile).inc()
        desks.lines.issued(
            certificate.serial,
            certificate.names,
            certificate.profile,
            exchange.account.account,
            granted.offset,
        )
    return _order(exchange, found, 200)


def _held(exchange: Exchange, wanted: Sequence[WantedAuthorization]) -> dict[tuple[str, bool], str]:
    """Authorizations that the account can use again."""
    desks, now, found = exchange.desks, exchange.desks.clock(), {}
    for one in wanted:
        key = view.proved_key(exchange.account.account, one.name, wildcard=one.wildcard)
        identifier = desks.protocol.store.get(INDEX, key)
        held = None if identifier is None else desks.protocol.orders.authorization(identifier.decode())
        if held is not None and held.status_at(now) == "valid" and held.method in one.methods:
            found[one.name, one.wildcard] = held.authorization
    return found


def _replaced(exchange: Exchange, identifier: str, names: tuple[str, ...]) -> str:
    """The serial that ``replaces`` names (RFC 9773, Section 5). Raises Problem."""
    desks = exchange.desks
    issuer, serial = serial_of_id(identifier)
    certificate = desks.state.certificate(serial)
    if certificate is None or certificate.issued_offset is None or certificate.issuer != issuer:
        raise Problem("malformed", "replaces names no certificate of this authority")
    if certificate.requester != exchange.requester:
        raise Problem("unauthorized", "the certificate to be replaced is not this account's")
    if not set(certificate.names) & set(names):
        raise Problem("malformed", "the certificate to be replaced shares no identifier with the order")
    if certificate.successor is not None:
        child = desks.state.certificate(certificate.successor)
        if child is not None and child.issued_offset is not None:
            raise Problem(
                "alreadyReplaced", f"the certificate was replaced by {certificate.successor} already"
            )
    return serial


def _csr(exchange: Exchange, found: Order, text: str) -> CheckedCSR:
    """The CSR, for exactly the order's names and with a key of its own (RFC 8555, Sections 7.4 and 11.1). Raises Problem."""
    try:
        octets = jws.octets_of(text, "csr")
    except Unacceptable as error:
        raise Problem("badCSR", str(error)) from None
    try:
        csr = exchange.desks.parse_csr(octets)
    except Refused as refused:
        problem = problem_of(refused)
        raise Problem("badCSR", str(problem)) from None
    if set(csr.names) != set(found.names):
        raise Problem("badCSR", f"the CSR is for {list(csr.names)!r}, the order for {list(found.names)!r}")
    if csr.spki == exchange.key.spki:
        raise Problem("badCSR", "the key of the CSR is the account's key")
    return csr


async def _check_caa(exchange: Exchange, proofs: Sequence[Authorization]) -> tuple[str, ...]:
    """CAA of every name, now (RFC 8659, Section 3); evidence for each. Raises Problem with a subproblem for each that forbids."""
    outcomes: list[Outcome] = await asyncio.gather(
        *(
            exchange.desks.validator.check_caa(
                one.name, wildcard=one.wildcard, method=one.method or "", account_url=exchange.account_url
            )
            for one in proofs
        )
    )
    failures = [
        (outcome.failure[0], outcome.failure[1], _ordered_name(one))
        for one, outcome in zip(proofs, outcomes, strict=True)
        if outcome.failure is not None
    ]
    if failures:
        problem = Problem("caa", "; ".join(detail for _, detail, _ in failures[:5]), subproblems=failures)
        await exchange.desks.refusals.note(
            "issue", exchange.requester, Refused(Code.NAME_NOT_ALLOWED, str(problem))
        )
        raise problem
    return tuple(
        f"{_ordered_name(one)} CAA: {_asked(outcome)}"[:EVIDENCE_CHARACTERS_MAX]
        for one, outcome in zip(proofs, outcomes, strict=True)
        if outcome.evidence
    )


def _evidence(one: Authorization) -> str:
    """A line for the certificate's plan: what was asked, of whom, what was answered, when."""
    told = _asked(Outcome(one.evidence))
    text = f"{_ordered_name(one)} validated by {one.method} at {timestamp(one.judged_at or 0)}: {told}"
    return text[:EVIDENCE_CHARACTERS_MAX]


def _asked(outcome: Outcome) -> str:
    return "; ".join(
        f"{one.asked} of {one.of} ({one.perspective}, {timestamp(one.at)}): {one.answer}"
        for one in outcome.evidence
    )


def _ordered_name(one: Authorization) -> str:
    return f"dns:*.{one.name[4:]}" if one.wildcard else one.name


def _claim_key(found: Order) -> str:
    return f"acme order {found.order}"


def _certificate(desks: Desks, found: Order) -> Certificate | None:
    """The certificate, or the open plan, that claims the order."""
    requester = Requester(kind="acme", id=found.account)
    serial = desks.state.claim(claim_of(requester, _claim_key(found)))
    return None if serial is None else desks.state.certificate(serial)


def _status(desks: Desks, found: Order) -> tuple[str, Certificate | None]:
    certificate = _certificate(desks, found)
    issued = certificate is not None and certificate.issued_offset is not None
    now = desks.clock()
    # a plan past its deadline is anybody's to finish anew
    planned = (
        certificate is not None
        and not issued
        and certificate.status == "planned"
        and now < certificate.deadline
    )
    status = status_of(desks.protocol.orders, found, now, planned=planned, issued=issued)
    return status, certificate if issued else None


def _own_order(exchange: Exchange) -> Order:
    found = exchange.desks.protocol.orders.order(exchange.path("order"))
    if found is None or found.directory != exchange.directory.name:
        raise Problem("malformed", "no such order", status=404)
    if found.account != exchange.account.account:
        raise Problem("unauthorized", "this order is another account's")
    return found


def _order(exchange: Exchange, found: Order, status_code: int) -> Response:
    status, certificate = _status(exchange.desks, found)
    url = exchange.url("order", found.order)
    content = order_document(
        found,
        status,
        expires=timestamp(found.expires_at),
        url=url,
        authorizations=[exchange.url("authz", one) for one in found.authorizations],
        certificate=None if certificate is None else exchange.url("cert", certificate.serial),
    )
    if found.replaces is not None:
        parent = exchange.desks.state.certificate(found.replaces)
        if parent is not None:
            content["replaces"] = certificate_id(parent.issuer, parent.serial)
    headers = {"location": url}
    if status == "processing":
        headers["retry-after"] = str(POLL_SECONDS)
    return document(content, status_code, headers)
