"""Issue over HTTP: ``POST /v1/certificates``; and what a requester needs to know before: profiles, issuers, roots.

Nothing is taken from a CSR but its key and names; everything else is the profile's.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.authority.commands import IssueCommand
from quicklime.authority.issuance import IssuanceDesk
from quicklime.authority.issuers import Issuers
from quicklime.authority.refusals import RefusalDesk
from quicklime.errors import Code, Reasons, Refused
from quicklime.lifecycle.issuer import Issuer
from quicklime.pki.certificate import IssuerFacts
from quicklime.pki.csr import CheckedCSR
from quicklime.pki.names import canonical
from quicklime.telemetry import Lines, Metrics
from quicklime.web.auth import Guard
from quicklime.web.grant import form_of, granted
from quicklime.web.limits import read_body
from quicklime.web.render import (
    JSON_MEDIA_TYPE,
    body_of,
    json_response,
    media_type,
    octets_of,
    pem,
    timestamp,
)

PEM_MEDIA_TYPE = "application/pem-certificate-chain"
CSR_MEDIA_TYPES = ("application/pkcs10", "application/x-pem-file", "application/octet-stream")
DEFAULT_PROFILE = "server"

ParseCSR = Callable[[bytes], CheckedCSR]


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body. ``csr`` is PEM, or DER in base64."""

    csr: str
    profile: str = DEFAULT_PROFILE
    names: list[str] | None = None
    validity_seconds: int | None = None
    node: str | None = None


_NOTHING_ASKED = _Asked(csr="")


def routes(
    *,
    desk: IssuanceDesk,
    issuers: Issuers,
    refusals: RefusalDesk,
    guard: Guard,
    parse_csr: ParseCSR,
    metrics: Metrics,
    lines: Lines,
    body_octets_max: int,
) -> list[Route]:
    """The routes of this service."""

    async def issue(request: Request) -> Response:
        identity = guard.identify(request)
        form = form_of(request)
        try:
            asked, csr_octets = await _asked(request, body_octets_max)
            reasons = Reasons()
            csr: CheckedCSR | None = None
            names: tuple[str, ...] | None = None
            with reasons.catching("csr"):
                csr = parse_csr(csr_octets)
            with reasons.catching("names"):
                names = None if asked.names is None else canonical(asked.names)
            reasons.raise_if_any()
            assert csr is not None
            grant = await desk.issue(
                IssueCommand(
                    identity=identity,
                    csr=csr,
                    profile=asked.profile,
                    names=names,
                    validity_seconds=asked.validity_seconds,
                    node=asked.node,
                    idempotency_key=request.headers.get("idempotency-key"),
                )
            )
        except Refused as refused:
            await refusals.note("issue", identity.requester, refused)
            raise
        certificate = grant.certificate
        if not grant.repeated:
            metrics.certificates.labels("issue", certificate.profile).inc()
            requester = certificate.requester.id
            lines.issued(certificate.serial, certificate.names, certificate.profile, requester, grant.offset)
        return granted(form, grant)

    async def list_profiles(request: Request) -> Response:
        del request
        found = [
            {
                "name": profile.name,
                "validity_seconds": profile.validity_seconds,
                "validity_seconds_max": profile.validity_seconds_max,
                "key_usage": profile.key_usage,
                "extended_key_usage": profile.extended_key_usage,
                "allowed_name_patterns": profile.allowed_name_patterns,
                "key_types": profile.key_types,
                "requesters": profile.requesters,
                "wildcard_allowed": profile.wildcard_allowed,
                "renewal_grace_seconds": profile.renewal_grace_seconds,
            }
            for profile in sorted(issuers.profiles.values(), key=lambda one: one.name)
            if not profile.internal
        ]
        return json_response({"profiles": found})

    async def list_issuers(request: Request) -> Response:
        del request
        return json_response({"issuers": [_issuer(one) for one in issuers.authority().issuers]})

    async def roots(request: Request) -> Response:
        del request
        found = b"".join(pem(root.certificate) for root in issuers.authority().roots)
        return Response(found, media_type=PEM_MEDIA_TYPE)

    return [
        Route("/v1/certificates", issue, methods=["POST"]),
        Route("/v1/profiles", list_profiles, methods=["GET"]),
        Route("/v1/issuers", list_issuers, methods=["GET"]),
        Route("/v1/roots", roots, methods=["GET"]),
    ]


async def _asked(request: Request, octets_max: int) -> tuple[_Asked, bytes]:
    """What is asked for, and the CSR's octets, whichever way they came. Raises Refused."""
    body = await read_body(request, octets_max)
    kind = media_type(request)
    if kind == JSON_MEDIA_TYPE:
        asked = body_of(body, _Asked)
        text = asked.csr.strip()
        return asked, text.encode() if text.startswith("-----BEGIN") else octets_of(text, "csr")
    if kind not in CSR_MEDIA_TYPES:
        raise Refused(
            Code.MEDIA_TYPE_UNSUPPORTED,
            f"media type {kind[:80]!r}, expected one of {[JSON_MEDIA_TYPE, *CSR_MEDIA_TYPES]!r}",
        )
    return _asked_in_query(request), body


def _asked_in_query(request: Request) -> _Asked:
    if not request.scope["query_string"]:
        return _NOTHING_ASKED
    known = {"profile", "node", "validity_seconds", "name"}
    reasons = Reasons()
    query = request.query_params
    for key in query:
        if key not in known:
            reasons.add(
                Code.REQUEST_MALFORMED,
                f"query parameter {key[:64]!r} is not one of {sorted(known)!r}",
                "query",
            )
    for key in known - {"name"}:
        if len(query.getlist(key)) > 1:
            reasons.add(Code.REQUEST_MALFORMED, f"query parameter {key!r} stands twice", "query")
    seconds = query.get("validity_seconds")
    if seconds is not None and not (seconds.isdecimal() and seconds.isascii() and len(seconds) < 12):
        reasons.add(
            Code.REQUEST_MALFORMED, f"validity_seconds {seconds[:32]!r} is not a number", "validity_seconds"
        )
    reasons.raise_if_any()
    return _Asked(
        csr="",
        profile=query.get("profile", DEFAULT_PROFILE),
        names=query.getlist("name") or None,
        validity_seconds=None if seconds is None else int(seconds),
        node=query.get("node"),
    )


def _issuer(issuer: Issuer) -> dict[str, object]:
    facts = IssuerFacts.of(issuer.certificate)
    return {
        "issuer": issuer.issuer,
        "role": issuer.role,
        "status": issuer.status,
        "key_type": facts.key_type,
        "not_before": timestamp(facts.not_before),
        "not_after": timestamp(facts.not_after),
        "crl_number": issuer.crl_number,
        "certificate": pem(issuer.certificate).decode(),
    }
