"""What was issued, and how the service is: ``/v1/certificates``, ``/health/*``, ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.authority.issuers import Issuers
from quicklime.errors import Code, Fault, Reasons, Refused
from quicklime.events import CertificateIssued, Event
from quicklime.lifecycle.certificate import REVOCATION_REASONS, Certificate
from quicklime.pki.names import parse_name
from quicklime.policy import check_permission, may_see
from quicklime.projection import State, Store, open_plans
from quicklime.services.monitor import view
from quicklime.telemetry import METRICS_MEDIA_TYPE, Metrics
from quicklime.web.auth import Guard
from quicklime.web.render import (
    JSON_MEDIA_TYPE,
    accepted,
    base64url,
    json_response,
    pem,
    serial_of,
    timestamp,
)

PAGE_DEFAULT = 100
PAGE_MAX = 1000
SCANNED_MAX = 20_000
STATUSES = ("all", "issued", "revoked", "expired")
CHAIN_MEDIA_TYPE = "application/pem-certificate-chain"
LEAF_MEDIA_TYPE = "application/pkix-cert"


class Progress(Protocol):
    """How far the views have come (``projection.Follower``)."""

    stalled: str | None

    def lag(self) -> int: ...


def routes(
    *,
    issuers: Issuers,
    read: Callable[[int], Event],
    state: State,
    store: Store,
    follower: Progress,
    guard: Guard,
    clock: Callable[[], int],
    metrics: Metrics,
    lag_records_max: int,
) -> list[Route]:
    """The routes of this service. ``read`` gives the event at an offset of the log."""

    async def list_certificates(request: Request) -> Response:
        check_permission(guard.identify(request), "read")
        return _listing(store, state, clock(), *_query(request))

    async def show_certificate(request: Request) -> Response:
        serial = serial_of(request.path_params["serial"])
        identity = guard.identify(request)
        certificate = state.certificate(serial)
        # whoever may not see it learns nothing about which serials there are
        if (
            certificate is None
            or certificate.issued_offset is None
            or not may_see(identity, serial, certificate.requester)
        ):
            raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {serial}")
        issued = read(certificate.issued_offset)
        if not isinstance(issued, CertificateIssued):
            raise Fault(f"record {certificate.issued_offset} is not the issuance of {serial}")
        chain = (issued.certificate, *issuers.chain(certificate.issuer))
        form = accepted(request, (JSON_MEDIA_TYPE, CHAIN_MEDIA_TYPE, LEAF_MEDIA_TYPE))
        if form == LEAF_MEDIA_TYPE:
            return Response(issued.certificate, media_type=form)
        if form == CHAIN_MEDIA_TYPE:
            return Response(b"".join(map(pem, chain)), media_type=form)
        return json_response(
            _summary(certificate, clock())
            | {
                "issuer": certificate.issuer,
                "lineage": certificate.lineage,
                "renewable_until": timestamp(certificate.renewable_until),
                "renewal_challenge": base64url(certificate.challenge),
                "plan_offset": certificate.plan_offset,
                "issued_offset": certificate.issued_offset,
                "certificate": pem(issued.certificate).decode(),
                "chain": b"".join(map(pem, chain)).decode(),
            }
        )

    async def live(request: Request) -> Response:
        del request
        return json_response({"status": "live"})

    async def ready(request: Request) -> Response:
        del request
        faults = list(why_not_ready(issuers, follower, lag_records_max))
        if faults:
            return json_response({"status": "not ready", "reasons": faults}, 503, {"retry-after": "1"})
        return json_response({"status": "ready", "lag_records": follower.lag()})

    async def scrape(request: Request) -> Response:
        check_permission(guard.identify(request), "read")
        metrics.view_lag.set(follower.lag())
        metrics.open_plans.set(len(open_plans(store)))
        return Response(metrics.exposition(), headers={"content-type": METRICS_MEDIA_TYPE})

    return [
        Route("/v1/certificates", list_certificates, methods=["GET"]),
        Route("/v1/certificates/{serial}", show_certificate, methods=["GET"]),
        Route("/health/live", live, methods=["GET"]),
        Route("/health/ready", ready, methods=["GET"]),
        Route("/metrics", scrape, methods=["GET"]),
    ]


def why_not_ready(issuers: Issuers, follower: Progress, lag_records_max: int) -> list[str]:
    """Every reason why this process can't do its work; none where it can."""
    faults = []
    if follower.stalled is not None:
        faults.append("the projector stopped; the log lines say why")
    try:
        lag = follower.lag()
        if lag > lag_records_max:
            faults.append(f"the views are {lag} records behind the log, expected at most {lag_records_max}")
    except Fault:
        faults.append("the log can't be read")
    try:
        issuers.active()
    except Refused as refused:
        faults.append(refused.reasons[0].detail)
    return faults


def _query(request: Request) -> tuple[int, bytes | None, str, str | None]:
    """(limit, after which key, status, name). Raises Refused naming every parameter that can't be."""
    query, reasons = request.query_params, Reasons()
    known = {"limit", "after", "status", "name"}
    for key in query:
        if key not in known:
            reasons.add(
                Code.REQUEST_MALFORMED,
                f"query parameter {key[:64]!r} is not one of {sorted(known)!r}",
                "query",
            )
    text = query.get("limit", str(PAGE_DEFAULT))
    limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 0 < limit <= PAGE_MAX:
        reasons.add(Code.REQUEST_MALFORMED, f"limit {text[:32]!r} is not 1 to {PAGE_MAX}", "limit")
    status = query.get("status", "all")
    if status not in STATUSES:
        reasons.add(Code.REQUEST_MALFORMED, f"status {status[:32]!r} is not one of {STATUSES!r}", "status")
    after = None
    if (cursor := query.get("after")) is not None:
        try:
            after = bytes.fromhex(cursor)
        except ValueError:
            reasons.add(Code.REQUEST_MALFORMED, "after is not a cursor that an earlier answer gave", "after")
    name = None
    if (given := query.get("name")) is not None:
        with reasons.catching("name"):
            name = parse_name(given)
    reasons.raise_if_any()
    return limit, after, status, name


def _listing(
    store: Store, state: State, now: int, limit: int, after: bytes | None, status: str, name: str | None
) -> Response:
    """One page of the certificates that fit, with the cursor of the next; a filter that fits little ends a page early."""
    found: list[Certificate] = []
    for _ in range(SCANNED_MAX // PAGE_MAX):
        page = _page(store, name, after, PAGE_MAX)
        for key, value in page:
            after = key
            certificate = state.certificate(value.hex())
            if certificate is not None and (status == "all" or _status(certificate, now) == status):
                found.append(certificate)
            if len(found) == limit:
                return _listed(found, after, now)
        if len(page) < PAGE_MAX:
            return _listed(found, None, now)
    return _listed(found, after, now)


def _page(store: Store, name: str | None, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
    prefix = b"i" if name is None else view.name_key(name)
    return list(store.scan(view.NAME, prefix=prefix, after=after, limit=limit))


def _listed(found: list[Certificate], after: bytes | None, now: int) -> Response:
    certificates = [_summary(certificate, now) for certificate in found]
    return json_response({"certificates": certificates, "next": None if after is None else after.hex()})


def _status(certificate: Certificate, now: int) -> str:
    if certificate.status == "issued" and certificate.not_after < now:
        return "expired"
    return certificate.status


def _summary(certificate: Certificate, now: int) -> dict[str, object]:
    revocation = certificate.revocation
    return {
        "serial": certificate.serial,
        "status": _status(certificate, now),
        "profile": certificate.profile,
        "names": certificate.names,
        "node": certificate.node,
        "not_before": timestamp(certificate.not_before),
        "not_after": timestamp(certificate.not_after),
        "requester": {"kind": certificate.requester.kind, "id": certificate.requester.id},
        "predecessor": certificate.predecessor,
        "successor": certificate.successor,
        "revoked_at": None if revocation is None else timestamp(revocation.revoked_at),
        "reason": None if revocation is None else REVOCATION_REASONS[revocation.reason],
    }
