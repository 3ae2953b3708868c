"""Bearer tokens over HTTP: ``/v1/tokens``. For administrators; a token's text is told once, when it is made."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.authority.tokens import CreateToken, TokenDesk
from quicklime.errors import Code, Refused
from quicklime.events import Role
from quicklime.lifecycle.token import Token
from quicklime.policy import check_permission
from quicklime.projection import Store, tokens
from quicklime.web.auth import Guard
from quicklime.web.limits import read_body
from quicklime.web.render import JSON_MEDIA_TYPE, body_of, json_response, media_type, timestamp

PAGE = 1000


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """``names`` are patterns; ``uses`` null is without limit."""

    role: Role = "requester"
    names: list[str] = []
    profiles: list[str] = []
    lifetime_seconds: int = 86_400
    uses: int | None = None
    label: str = ""


def routes(*, desk: TokenDesk, store: Store, guard: Guard, body_octets_max: int) -> list[Route]:
    """The routes of this service."""

    async def create_token(request: Request) -> Response:
        identity = guard.identify(request)
        check_permission(identity, "tokens")
        if media_type(request) != JSON_MEDIA_TYPE:
            raise Refused(Code.MEDIA_TYPE_UNSUPPORTED, f"expected {JSON_MEDIA_TYPE!r}")
        asked = body_of(await read_body(request, body_octets_max), _Asked)
        text, token = await desk.create(
            CreateToken(
                role=asked.role,
                names=tuple(asked.names),
                profiles=tuple(asked.profiles),
                lifetime_seconds=asked.lifetime_seconds,
                uses_max=asked.uses,
                label=asked.label,
            ),
            identity.requester,
        )
        return json_response({"token": text} | _shown(token), 201, {"location": f"/v1/tokens/{token.token}"})

    async def list_tokens(request: Request) -> Response:
        check_permission(guard.identify(request), "tokens")
        found: list[Token] = []
        after: str | None = None
        while page := tokens(store, after=after, limit=PAGE):
            found.extend(page)
            after = page[-1].token
        return json_response({"tokens": [_shown(token) for token in found]})

    async def revoke_token(request: Request) -> Response:
        identity = guard.identify(request)
        check_permission(identity, "tokens")
        return json_response(_shown(await desk.revoke(request.path_params["token"], identity.requester)))

    return [
        Route("/v1/tokens", create_token, methods=["POST"]),
        Route("/v1/tokens", list_tokens, methods=["GET"]),
        Route("/v1/tokens/{token}", revoke_token, methods=["DELETE"]),
    ]


def _shown(token: Token) -> dict[str, object]:
    return {
        "id": token.token,
        "role": token.role,
        "label": token.label,
        "names": token.names,
        "profiles": token.profiles,
        "uses": token.uses if token.uses_max is not None else None,
        "uses_max": token.uses_max,
        "created_at": timestamp(token.created_at),
        "expires_at": timestamp(token.expires_at),
        "created_by": token.created_by.id,
        "revoked_at": None if token.revoked_at is None else timestamp(token.revoked_at),
    }
