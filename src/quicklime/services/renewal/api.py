"""Renew over HTTP, and lineages: ``/v1/certificates/{serial}/renewals`` and ``/v1/lineages``.

Proof that the requester holds the old certificate's key is the authentication. The challenge is no secret: it only makes a
signature worth nothing for any other renewal.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.authority.commands import RenewCommand
from quicklime.authority.issuance import IssuanceDesk
from quicklime.authority.refusals import RefusalDesk
from quicklime.errors import Code, Reasons, Refused
from quicklime.events import Requester
from quicklime.lifecycle.certificate import Certificate
from quicklime.pki.csr import CheckedCSR
from quicklime.pki.names import canonical, matches, parse_name
from quicklime.policy import PERMISSIONS, check_permission
from quicklime.projection import State, Store
from quicklime.services.renewal import view
from quicklime.telemetry import Lines, Metrics
from quicklime.web.auth import Guard
from quicklime.web.grant import form_of, granted
from quicklime.web.limits import read_body
from quicklime.web.render import (
    JSON_MEDIA_TYPE,
    base64url,
    body_of,
    json_response,
    media_type,
    moment,
    octets_of,
    serial_of,
    timestamp,
)

LINEAGES_MAX = 1000
LINKS_MAX = 1000


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body: ``csr`` as PEM or base64, ``signature`` by the old key in base64."""

    csr: str
    signature: str
    names: list[str] | None = None
    validity_seconds: int | None = None
    node: str | None = None


def routes(
    *,
    desk: IssuanceDesk,
    refusals: RefusalDesk,
    state: State,
    store: Store,
    guard: Guard,
    clock: Callable[[], int],
    parse_csr: Callable[[bytes], CheckedCSR],
    metrics: Metrics,
    lines: Lines,
    body_octets_max: int,
) -> list[Route]:
    """The routes of this service."""

    async def renew(request: Request) -> Response:
        serial = serial_of(request.path_params["serial"])
        if media_type(request) != JSON_MEDIA_TYPE:
            raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, f"expected {JSON_MEDIA_TYPE!r}")
        form = form_of(request)
        command = _command(
            serial,
            body_of(await read_body(request, body_octets_max), _Asked),
            parse_csr,
            request.headers.get("idempotency-key"),
        )
        try:
            grant = await desk.renew(command)
        except Refused as refused:
            if state.certificate(serial) is not None:
                # only of certificates that exist; who has no key for one may fill nothing but this one's few lines
                await refusals.note("renew", Requester(kind="possession", id=serial), refused, serial)
            raise
        if not grant.repeated:
            metrics.certificates.labels("renew", grant.certificate.profile).inc()
            lines.renewed(grant.certificate.serial, serial, grant.offset)
        return granted(form, grant)

    async def renewal_terms(request: Request) -> Response:
        serial = serial_of(request.path_params["serial"])
        certificate = state.certificate(serial)
        if certificate is None or certificate.issued_offset is None:
            raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {serial}")
        return json_response(
            {
                "serial": serial,
                "renewal_challenge": base64url(certificate.challenge),
                "due_at": timestamp(_due(certificate)),
                "renewable_until": timestamp(certificate.renewable_until),
                "successor": certificate.successor,
            }
        )

    async def list_lineages(request: Request) -> Response:
        identity = guard.identify(request)
        text = request.query_params.get("name")
        if text is None:
            raise Refused(Code.REQUEST_MALFORMED, "no name: /v1/lineages?name=web.internal", field="name")
        name = parse_name(text)
        if "read" not in PERMISSIONS[identity.role] and not any(
            matches(pattern, name) for pattern in identity.names
        ):
            check_permission(identity, "read")
        at = request.query_params.get("at")
        now = clock() if at is None else moment(at, "at")
        return json_response({"name": name, "lineages": _lineages(store, name, now)})

    path = "/v1/certificates/{serial}/renewals"
    return [
        Route(path, renew, methods=["POST"]),
        Route(path, renewal_terms, methods=["GET"]),
        Route("/v1/lineages", list_lineages, methods=["GET"]),
    ]


def _command(
    serial: str, asked: _Asked, parse_csr: Callable[[bytes], CheckedCSR], idempotency_key: str | None
) -> RenewCommand:
    reasons = Reasons()
    csr: CheckedCSR | None = None
    names: tuple[str, ...] | None = None
    signature = b""
    with reasons.catching("csr"):
        text = asked.csr.strip()
        csr = parse_csr(text.encode() if text.startswith("-----BEGIN") else octets_of(text, "csr"))
    with reasons.catching("names"):
        names = None if asked.names is None else canonical(asked.names)
    with reasons.catching("signature"):
        signature = octets_of(asked.signature, "signature")
    reasons.raise_if_any()
    assert csr is not None
    return RenewCommand(
        serial=serial,
        csr=csr,
        signature=signature,
        names=names,
        validity_seconds=asked.validity_seconds,
        node=asked.node,
        idempotency_key=idempotency_key,
    )


def _due(certificate: Certificate) -> int:
    lifetime = certificate.not_after - certificate.not_before
    return certificate.not_before + lifetime * view.DUE_NUMERATOR // view.DUE_DENOMINATOR


def _lineages(store: Store, name: str, now: int) -> list[dict[str, object]]:
    """The lineages of ``name``, oldest first, each with its certificates in the order in which they were issued."""
    prefix = view.name_key(name)
    found = []
    for key, _ in store.scan(view.NAME, prefix=prefix, limit=LINEAGES_MAX):
        lineage = key[len(prefix) :].hex()
        rows = store.scan(view.NAME, prefix=view.link_key(lineage), limit=LINKS_MAX)
        links = _in_order([view.decode_link(value) for _, value in rows])
        found.append((links[0].issued_at or 0, lineage, links))
    return [
        {
            "lineage": lineage,
            "node": links[-1].node,
            "overdue": any(link.is_overdue(now) for link in links),
            "due_at": timestamp(links[-1].due_at),
            "certificates": [_link(link, now) for link in links],
        }
        for _, lineage, links in sorted(found, key=lambda one: one[:2])
    ]


def _in_order(links: list[view.Link]) -> list[view.Link]:
    """Each after the one that it replaced, since a second may see several renewals; what hangs on nothing here, by its time."""
    by_predecessor = {link.predecessor: link for link in links}
    here = {link.serial for link in links}
    ordered = []
    for first in sorted(links, key=lambda link: link.issued_at or 0):
        link = None if first.predecessor in here else first
        while link is not None:
            ordered.append(link)
            link = by_predecessor.get(link.serial)
    return ordered


def _link(link: view.Link, now: int) -> dict[str, object]:
    return {
        "serial": link.serial,
        "status": "expired" if link.status == "issued" and link.not_after < now else link.status,
        "names": link.names,
        "profile": link.profile,
        "node": link.node,
        "not_before": timestamp(link.not_before),
        "not_after": timestamp(link.not_after),
        "predecessor": link.predecessor,
        "successor": link.successor,
        "issued_at": None if link.issued_at is None else timestamp(link.issued_at),
        "revoked_at": None if link.revoked_at is None else timestamp(link.revoked_at),
        "due_at": timestamp(link.due_at),
        "overdue": link.is_overdue(now),
    }
