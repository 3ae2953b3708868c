"""ACME over HTTP: the routes of every directory, and errors in ACME's words.

Every answer under a directory names it (``Link: rel="index"``); every answer to a POST carries a fresh nonce, errors too, so
that a client can go on (RFC 8555, Section 6.5).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime.errors import Refused
from quicklime.services.acme import accounts, authorizations, certificates, orders
from quicklime.services.acme.exchange import PREFIX, Desks, Directory, Exchange, document, signed
from quicklime.services.acme.wire import Problem, problem_of
from quicklime.web.problem import refusal_of

PROBLEM_MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")

_encode = msgspec.json.Encoder().encode

Work = Callable[[Exchange], Awaitable[Response]]
Answer = Callable[[Directory, Request], Awaitable[Response]]
By = Literal["account", "key", "either"]

# path, who signs, what is done
_SIGNED: tuple[tuple[str, By, Work], ...] = (
    ("new-account", "key", accounts.new_account),
    ("new-order", "account", orders.new_order),
    ("new-authz", "account", authorizations.new_authorization),
    ("revoke-cert", "either", certificates.revoke),
    ("key-change", "account", accounts.key_change),
    ("account/{account}", "account", accounts.account),
    ("account/{account}/orders", "account", accounts.orders),
    ("order/{order}", "account", orders.order),
    ("order/{order}/finalize", "account", orders.finalize),
    ("authz/{authz}", "account", authorizations.authorization),
    ("chall/{authz}/{method}", "account", authorizations.challenge),
    ("cert/{serial}", "account", certificates.certificate),
    ("cert/{serial}/{alternate}", "account", certificates.certificate),
)


def routes(desks: Desks) -> list[Route]:
    """The routes of this service."""
    service = _Service(desks)
    known = [
        service.route("directory", "directory", ("GET", "HEAD"), service.directory),
        service.route("new-nonce", "new_nonce", ("HEAD", "GET"), service.new_nonce),
        service.route("renewal-info/{id}", "renewal_info", ("GET", "HEAD"), service.renewal_info),
        *(service.signed_route(path, by, work) for path, by, work in _SIGNED),
    ]
    return [*known, service.route("{path:path}", "nothing", METHODS, service.nothing_but(known))]


class _Service:
    def __init__(self, desks: Desks) -> None:
        self._desks = desks

    def route(self, path: str, name: str, methods: tuple[str, ...], work: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            return await self._answer(request, work)

        endpoint.__name__ = f"acme_{name}"
        return Route(f"{PREFIX}/{{directory}}/{path}", endpoint, methods=list(methods))

    def signed_route(self, path: str, by: By, work: Work) -> Route:
        async def run(directory: Directory, request: Request) -> Response:
            return await work(await signed(self._desks, directory, request, by))

        return self.route(path, work.__name__, ("POST",), run)

    async def _answer(self, request: Request, work: Answer) -> Response:
        desks = self._desks
        directory = desks.directories.get(request.path_params["directory"])
        try:
            if directory is None:
                raise Problem("malformed", "no such directory", status=404)
            response = await work(directory, request)
        except Problem as problem:
            response = _problem(desks, problem)
        except Exception as error:
            refused = error if isinstance(error, Refused) else refusal_of(error)
            if refused is None:
                raise
            if not isinstance(error, Refused):
                desks.lines.request_failed("-", "acme", error)
            response = _problem(desks, problem_of(refused))
        if directory is not None:
            index = f'<{desks.base_of(request)}{PREFIX}/{directory.name}/directory>;rel="index"'
            response.headers.append("link", index)
        if request.method == "POST":
            response.headers["replay-nonce"] = desks.nonces.make()
        return response

    async def directory(self, directory: Directory, request: Request) -> Response:
        return document(_directory(self._desks, directory, request))

    async def new_nonce(self, directory: Directory, request: Request) -> Response:
        del directory
        # RFC 8555, Section 7.2
        status = 200 if request.method == "HEAD" else 204
        headers = {"replay-nonce": self._desks.nonces.make(), "cache-control": "no-store"}
        return Response(status_code=status, headers=headers)

    async def renewal_info(self, directory: Directory, request: Request) -> Response:
        del directory
        return certificates.renewal_info(self._desks, request.path_params["id"])

    def nothing_but(self, known: Sequence[Route]) -> Answer:
        """What everything else gets: 405 where another method is at home, 404 where nothing is."""

        async def nothing(directory: Directory, request: Request) -> Response:
            del directory
            path = request.url.path
            for route in known:
                if route.path_regex.fullmatch(path):
                    allowed = ", ".join(sorted(route.methods or ()))
                    raise Problem(
                        "malformed",
                        f"method {request.method[:20]!r}, expected one of {allowed}",
                        status=405,
                        headers={"allow": allowed},
                    )
            raise Problem("malformed", f"nothing at {path[:200]!r}", status=404)

        return nothing


def _directory(desks: Desks, directory: Directory, request: Request) -> dict[str, object]:
    """RFC 8555, Section 7.1.1."""
    base = f"{desks.base_of(request)}{PREFIX}/{directory.name}"
    meta: dict[str, object] = {
        "profiles": {name: _described(desks, name) for name in directory.profiles},
    }
    if desks.caa_identities:
        meta["caaIdentities"] = list(desks.caa_identities)
    if directory.binding_required:
        meta["externalAccountRequired"] = True
    if directory.terms is not None:
        meta["termsOfService"] = directory.terms
    if directory.website is not None:
        meta["website"] = directory.website
    return {
        "newNonce": f"{base}/new-nonce",
        "newAccount": f"{base}/new-account",
        "newOrder": f"{base}/new-order",
        "newAuthz": f"{base}/new-authz",
        "revokeCert": f"{base}/revoke-cert",
        "keyChange": f"{base}/key-change",
        "renewalInfo": f"{base}/renewal-info",
        "meta": meta,
    }


def _described(desks: Desks, name: str) -> str:
    profile = desks.issuers.profiles[name]
    hours = profile.validity_seconds // 3600
    return f"{', '.join(profile.extended_key_usage)} for {hours} hours"


def _problem(desks: Desks, problem: Problem) -> Response:
    desks.metrics.refusals.labels(f"acme:{problem.type}").inc()
    headers = dict(problem.headers)
    if problem.retry_after_seconds is not None:
        headers["retry-after"] = str(problem.retry_after_seconds)
    elif problem.status in {429, 503}:
        headers["retry-after"] = "5"
    return Response(_encode(problem.document()), problem.status, headers, PROBLEM_MEDIA_TYPE)
