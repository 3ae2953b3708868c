"""The OpenAPI 3.1 description of the dashboard's API, made of the types in ``wire``; the page's own types are made of it."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime import __version__
from quicklime.services.monitor import wire
from quicklime.services.monitor.api import dashboard
from quicklime.services.monitor.queries.overview import SERIES_PERIODS
from quicklime.web.render import json_response

PATH = "/v1/monitor/openapi.json"

_TEXT = {"type": "string"}
_WHOLE = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "format": "date-time"}


def _parameter(name: str, schema: dict[str, Any], says: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": says}


_AS_OF = _parameter("as_of", _TEXT, "An offset of the log, or an RFC 3339 time; without it, now.")
_LIMIT = _parameter("limit", _WHOLE, "How many at most.")
_AFTER = _parameter("after", _TEXT, "The cursor `next` of the page before.")
_CERTIFICATES = [
    _AS_OF,
    _parameter("q", _TEXT, "Parts of names, nodes, requesters, profiles; beginnings of serials and hashes."),
    _parameter("status", {"type": "string", "enum": list(get_args(wire.Filter))}, "Which ones."),
    _parameter("issuer", _TEXT, "By this issuer."),
    _parameter("profile", _TEXT, "Of this profile."),
    _parameter("key_type", _TEXT, "For a key of this type."),
    _parameter("requester", _TEXT, "Got by the requester with this id."),
    _parameter("name", _TEXT, "Bearing exactly this name, with its type: `dns:web.internal`."),
    _parameter("expires_before", _TIME, "notAfter lies before."),
    _parameter("expires_after", _TIME, "notAfter is this or lies after."),
    _parameter("sort", {"type": "string", "enum": list(get_args(wire.Sort))}, "The order."),
    _AFTER,
    _LIMIT,
]

# path -> (operation, summary, parameters, answer)
_QUESTIONS: dict[str, tuple[str, str, list[dict[str, Any]], type]] = {
    "/overview": (
        "showOverview",
        "What needs a person, and what happened",
        [
            _AS_OF,
            _parameter("period", {"type": "string", "enum": list(SERIES_PERIODS)}, "Of the series."),
        ],
        wire.Overview,
    ),
    "/certificates": ("findCertificates", "The inventory", _CERTIFICATES, wire.CertificatePage),
    "/certificates/{serial}": (
        "inspectCertificate",
        "One certificate, its life and its lineage",
        [_AS_OF],
        wire.CertificateDetail,
    ),
    "/facets": ("listFacets", "What there is to filter by", [], wire.Facets),
    "/services": (
        "listServices",
        "Names, and the state of their nodes",
        [_AS_OF, _parameter("q", _TEXT, "A part of the name."), _AFTER, _LIMIT],
        wire.ServicePage,
    ),
    "/lineages": (
        "showLineages",
        "The lineages of a name, one lane per node",
        [_AS_OF, _parameter("name", _TEXT, "The name with its type.") | {"required": True}],
        wire.Lineages,
    ),
    "/issuers": ("inspectIssuers", "Roots and intermediates", [], wire.IssuerList),
    "/records": (
        "listRecords",
        "Records of the log, newest first",
        [
            _AS_OF,
            _parameter("type", {"type": "array", "items": _TEXT}, "Of these types."),
            _parameter("subject", _TEXT, "About this subject."),
            _parameter("before", _WHOLE, "Before this offset."),
            _LIMIT,
        ],
        wire.RecordPage,
    ),
    "/records/{offset}": ("showRecord", "One record, to the byte", [], wire.RecordDetail),
    "/system": ("showSystem", "Log, views, roles", [], wire.System),
}


def routes() -> list[Route]:
    """The route of the description. Nobody needs to sign in to read it."""
    described = document()

    async def describe_api(request: Request) -> Response:
        del request
        return json_response(described)

    return [Route(PATH, describe_api, methods=["GET"])]


def document() -> dict[str, Any]:
    """The description."""
    types = [*(answer for _, _, _, answer in _QUESTIONS.values()), wire.Session, wire.SignIn]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemas["Problem"] = _PROBLEM
    paths: dict[str, Any] = {
        dashboard.PREFIX + path: {"get": _operation(name, summary, path, parameters, answer)}
        for path, (name, summary, parameters, answer) in _QUESTIONS.items()
    }
    paths["/v1/session"] = {
        "get": _operation("showSession", "Who is signed in", "", [], wire.Session),
        "post": _operation("signIn", "Exchange a token for a session", "", [], wire.Session, status="201")
        | {"requestBody": {"required": True, "content": _content("SignIn")}},
        "delete": {
            "operationId": "signOut",
            "summary": "End the session",
            "responses": {"204": {"description": "The cookie is forgotten."}},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Quicklime monitor",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-quicklime-session"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(
    name: str, summary: str, path: str, parameters: list[dict[str, Any]], answer: type, status: str = "200"
) -> dict[str, Any]:
    places = [
        {
            "name": place,
            "in": "path",
            "required": True,
            "schema": _WHOLE if place == "offset" else _TEXT,
        }
        for place in ("serial", "offset")
        if f"{{{place}}}" in path
    ]
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*places, *parameters],
        "responses": {
            status: {"description": summary, "content": _content(answer.__name__)},
            "default": {
                "description": "A problem document (RFC 9457).",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": _WHOLE,
        "detail": _TEXT,
        "instance": _TEXT,
        "reasons": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "detail"],
                "properties": {"code": _TEXT, "detail": _TEXT, "field": _TEXT},
            },
        },
    },
}
