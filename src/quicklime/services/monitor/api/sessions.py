"""Signing in: ``/v1/session``. A token that may read is exchanged for a cookie; the token itself is kept nowhere."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.errors import Code, Refused
from quicklime.policy import PERMISSIONS, Identity, check_permission
from quicklime.services.monitor import wire
from quicklime.web.auth import Guard
from quicklime.web.limits import read_body
from quicklime.web.render import JSON_MEDIA_TYPE, body_of, json_response, media_type, timestamp
from quicklime.web.session import COOKIE, SESSION_SECONDS_MAX, Sessions, cookie_of

PATH = "/v1/session"
BODY_OCTETS_MAX = 4096


def routes(guard: Guard, sessions: Sessions, clock: Callable[[], int]) -> list[Route]:
    """The routes of signing in and out."""

    async def sign_in(request: Request) -> Response:
        # a foreign page can send no JSON here without asking first, which nobody answers
        if media_type(request) != JSON_MEDIA_TYPE:
            raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, f"expected {JSON_MEDIA_TYPE!r}")
        asked = body_of(await read_body(request, BODY_OCTETS_MAX), wire.SignIn)
        identity, token = guard.identify_by_token(asked.token.strip(), request)
        check_permission(identity, "read")
        now = clock()
        expires_at = min(token.expires_at, now + SESSION_SECONDS_MAX)
        value = sessions.begin(token.token, expires_at)
        return json_response(
            _shown(sessions, value, identity, now), 201, {"set-cookie": cookie_of(value, expires_at - now)}
        )

    async def show_session(request: Request) -> Response:
        value = request.cookies.get(COOKIE, "")
        if not value:
            raise Refused(Code.UNAUTHENTICATED, "nobody is signed in")
        identity = guard.identify(request)
        return json_response(_shown(sessions, value, identity, clock()))

    async def sign_out(request: Request) -> Response:
        guard.identify(request)
        return Response(status_code=204, headers={"set-cookie": cookie_of("", 0)})

    return [
        Route(PATH, sign_in, methods=["POST"]),
        Route(PATH, show_session, methods=["GET"]),
        Route(PATH, sign_out, methods=["DELETE"]),
    ]


def _shown(sessions: Sessions, value: str, identity: Identity, now: int) -> wire.Session:
    csrf, expires_at = sessions.csrf_of(value, now)
    return wire.Session(
        id=identity.requester.id,
        role=identity.role,
        label=identity.label,
        permissions=sorted(PERMISSIONS[identity.role]),
        expires_at=timestamp(expires_at),
        csrf=csrf,
    )
