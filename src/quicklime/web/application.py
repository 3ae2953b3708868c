"""The API as one ASGI application: routes, problem documents, request ids, safe headers, metrics.

Invariant: whatever an endpoint raises becomes a problem document; a requester never sees what a Fault says.
Plain ASGI, because a layer of middleware costs as much as parsing a CSR.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from quicklime.errors import Code, InvariantBroken, Refused
from quicklime.telemetry import Lines, Metrics
from quicklime.web.limits import Rate
from quicklime.web.problem import is_ours, refusal_of, respond

REQUEST_SECONDS_MAX = 60.0
EXIT_BROKEN = 70
END_SECONDS = 0.1

_SAFE_HEADERS = ((b"x-content-type-options", b"nosniff"),)
# for every answer that brings no policy of its own, as the dashboard's page does
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
Endpoint = Callable[[Request], Awaitable[Response]]

_NO_STORE = (b"cache-control", b"no-store")


def end_process() -> None:
    """End at once, without the clean-up of an orderly end, which would go on with what is broken. No core file either."""
    os._exit(EXIT_BROKEN)


class Application:
    """Serves ``routes``; ``rate`` limits each address, ``end`` ends the process when an invariant broke."""

    def __init__(
        self,
        routes: Sequence[Route],
        *,
        metrics: Metrics,
        lines: Lines,
        rate: Rate,
        end: Callable[[], None] = end_process,
    ) -> None:
        self._router = Router(routes, redirect_slashes=False)
        self._plain: dict[tuple[str, str], Endpoint] = {
            (method, route.path): route.endpoint
            for route in routes
            if "{" not in route.path
            for method in route.methods or ()
            if method != "HEAD"
        }
        self._done: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._metrics = metrics
        self._lines = lines
        self._rate = rate
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan, no WebSocket: there is nothing of either here
        began = time.perf_counter()
        request_id = os.urandom(8).hex()
        scope["app"] = self  # makes the router raise what it can't route, instead of answering in plain text
        status = 500

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.extend(_SAFE_HEADERS)
                headers.append((b"quicklime-request-id", request_id.encode()))
                for one in (_POLICY, _NO_STORE):
                    if not any(name == one[0] for name, _ in headers):
                        headers.append(one)
            await send(message)

        try:
            client = scope.get("client")
            self._rate.take(client[0] if client else "unknown")
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                # a path without parameters needs no matching, and no layer around its endpoint
                endpoint = self._plain.get((scope["method"], scope["path"]))
                if endpoint is None:
                    await self._router(scope, receive, send_safely)
                else:
                    scope["endpoint"] = endpoint
                    response = await endpoint(Request(scope, receive))
                    await response(scope, receive, send_safely)
        except Exception as error:  # noqa: BLE001  whatever it is, the requester gets an answer and we get a line
            if status == 500:
                response = self._answer(error, request_id, scope)
                await response(scope, receive, send_safely)
        finally:
            self._count(_operation(scope), status, time.perf_counter() - began)

    def _count(self, operation: str, status: int, seconds: float) -> None:
        found = self._done.get((operation, status))
        if found is None:
            metrics = self._metrics
            found = metrics.requests.labels(operation, status), metrics.request_seconds.labels(operation)
            self._done[operation, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def _answer(self, error: Exception, request_id: str, scope: Scope) -> Response:
        if isinstance(error, HTTPException):
            return _unroutable(error, scope, request_id)
        if isinstance(error, TimeoutError):
            error = Refused(
                Code.BUSY, f"no answer within {REQUEST_SECONDS_MAX:.0f} s; it may still be worked on"
            )
        known = error if isinstance(error, Refused) else refusal_of(error)
        operation = _operation(scope)
        if known is not None:
            for reason in known.reasons:
                self._metrics.refusals.labels(reason.code).inc()
            codes = ",".join(reason.code for reason in known.reasons)
            self._lines.request_refused(request_id, operation, codes, known.reasons[0].detail)
        if is_ours(error):
            self._lines.request_failed(request_id, operation, error)
        if isinstance(error, InvariantBroken):
            # going on would spread the damage: the supervisor starts us anew, from the log. The answer leaves first
            asyncio.get_running_loop().call_later(END_SECONDS, self._end)
        return respond(error, request_id)


def _unroutable(error: HTTPException, scope: Scope, request_id: str) -> Response:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        response = respond(
            Refused(Code.METHOD_NOT_ALLOWED, f"method {scope['method'][:20]!r}, expected one of {allowed}"),
            request_id,
        )
        response.headers["allow"] = allowed
        return response
    return respond(Refused(Code.NOT_FOUND, f"nothing at {scope['path'][:200]!r}"), request_id)


def _operation(scope: Scope) -> str:
    """The name of what was asked, never a path: a path in a label would let clients make labels."""
    endpoint = scope.get("endpoint")
    return getattr(endpoint, "__name__", "none").strip("_")
