"""Revoke over HTTP, and the status that everybody may know: ``/v1/certificates/{serial}/revocation`` and ``/status``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.authority.revocation import RevocationDesk, RevokeCommand
from quicklime.errors import Code, Reasons, Refused
from quicklime.lifecycle.certificate import REVOCATION_REASONS
from quicklime.projection import State
from quicklime.telemetry import Lines, Metrics
from quicklime.web.auth import Guard, address_of
from quicklime.web.limits import Rate, read_body
from quicklime.web.render import (
    JSON_MEDIA_TYPE,
    body_of,
    json_response,
    media_type,
    moment,
    octets_of,
    serial_of,
    timestamp,
)

_NUMBERS = {name: number for number, name in REVOCATION_REASONS.items()}


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """``reason`` is a number or a name of RFC 5280, Section 5.3.1; ``secret`` and ``signature`` are base64."""

    reason: int | str = 0
    invalidity_date: int | str | None = None
    secret: str | None = None
    signature: str | None = None


Status = Literal["good", "revoked", "expired", "unknown"]


def routes(
    *,
    desk: RevocationDesk,
    state: State,
    guard: Guard,
    clock: Callable[[], int],
    guesses: Rate,
    metrics: Metrics,
    lines: Lines,
    body_octets_max: int,
) -> list[Route]:
    """The routes of this service. ``guesses`` slows down, per address, who sends wrong proofs."""

    async def revoke(request: Request) -> Response:
        serial = serial_of(request.path_params["serial"])
        if media_type(request) != JSON_MEDIA_TYPE:
            raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, f"expected {JSON_MEDIA_TYPE!r}")
        asked = body_of(await read_body(request, body_octets_max), _Asked)
        command = _command(serial, asked)
        if command.secret is None and command.signature is None:
            command = _by(guard, request, command)
        address = address_of(request)
        if not guesses.allows(address):
            raise guesses.refusal()
        try:
            revoked = await desk.revoke(command)
        except Refused as refused:
            if refused.code == Code.REVOCATION_PROOF_INVALID:
                guesses.note(address)
            raise
        if not revoked.repeated:
            metrics.revocations.labels(REVOCATION_REASONS[revoked.revocation.reason]).inc()
            lines.revoked(serial, revoked.revocation.reason)
        found = revoked.revocation
        return json_response(
            {
                "serial": serial,
                "revoked_at": timestamp(found.revoked_at),
                "reason": REVOCATION_REASONS[found.reason],
                "invalidity_date": None
                if found.invalidity_date is None
                else timestamp(found.invalidity_date),
                "repeated": revoked.repeated,
            }
        )

    async def status(request: Request) -> Response:
        serial = serial_of(request.path_params["serial"])
        certificate = state.certificate(serial)
        answer: Status = "unknown"
        revocation = None
        if certificate is not None and certificate.issued_offset is not None:
            revocation = certificate.revocation
            answer = "revoked" if revocation is not None else "good"
            if revocation is None and certificate.not_after < clock():
                answer = "expired"
        return json_response(
            {
                "serial": serial,
                "status": answer,
                "revoked_at": None if revocation is None else timestamp(revocation.revoked_at),
                "reason": None if revocation is None else REVOCATION_REASONS[revocation.reason],
            }
        )

    return [
        Route("/v1/certificates/{serial}/revocation", revoke, methods=["POST"]),
        Route("/v1/certificates/{serial}/status", status, methods=["GET"]),
    ]


def _by(guard: Guard, request: Request, command: RevokeCommand) -> RevokeCommand:
    """The command with the identity of who asks, the third way to prove the right."""
    return RevokeCommand(
        serial=command.serial,
        reason=command.reason,
        invalidity_date=command.invalidity_date,
        identity=guard.identify(request),
    )


def _command(serial: str, asked: _Asked) -> RevokeCommand:
    reasons = Reasons()
    reason, date = 0, None
    secret: bytes | None = None
    signature: bytes | None = None
    with reasons.catching("reason"):
        reason = _reason(asked.reason)
    with reasons.catching("invalidity_date"):
        given = asked.invalidity_date
        date = moment(given, "invalidity_date") if isinstance(given, str) else given
    with reasons.catching("secret"):
        secret = None if asked.secret is None else octets_of(asked.secret, "secret")
    with reasons.catching("signature"):
        signature = None if asked.signature is None else octets_of(asked.signature, "signature")
    if asked.secret is not None and asked.signature is not None:
        reasons.add(Code.REQUEST_MALFORMED, "both secret and signature are given, expected one", "signature")
    reasons.raise_if_any()
    return RevokeCommand(
        serial=serial, reason=reason, invalidity_date=date, secret=secret, signature=signature
    )


def _reason(given: int | str) -> int:
    if isinstance(given, int) and given in REVOCATION_REASONS:
        return given
    if isinstance(given, str) and given in _NUMBERS:
        return _NUMBERS[given]
    known = ", ".join(f"{number} ({name})" for number, name in REVOCATION_REASONS.items())
    raise Refused(
        Code.REVOCATION_REASON_INVALID, f"reason {str(given)[:64]!r} is not one of {known}", field="reason"
    )
