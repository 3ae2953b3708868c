"""The plain-HTTP listener for status: OCSP, CRLs, issuers' certificates. As thin as can be.

One asyncio protocol per connection, httptools as parser, synchronous handlers. What it serves is signed by itself, so it
needs no TLS; it is open to everybody, so everything is bounded: heads, bodies, connections, and the time that a request or
the reading of an answer may take. RFC 9110, RFC 9112.

An answer may be kept whole. A request that comes again octet for octet, where one begins, is then answered without being
parsed again: the same octets are the same request. Whoever keeps the answer says each time whether it still is the answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, cast

import httptools

from quicklime.web.status_message import Handler, Part, Request, Response, Whole, encoded, failure

HEAD_OCTETS_MAX: Final = 16_384
BODY_OCTETS_MAX: Final = 16_384
HEADERS_MAX: Final = 64
REQUEST_SECONDS_MAX: Final = 10.0
IDLE_SECONDS_MAX: Final = 60.0
WRITE_SECONDS_MAX: Final = 60.0
SLICE_OCTETS: Final = 65_536
SLICES_AT_ONCE: Final = 8
# a client that takes a long body more slowly than this on the whole only holds a connection
OCTETS_PER_SECOND_MIN: Final = 16_384
# where more than half of the connections are taken, who is idle for longer makes room
CROWDED_IDLE_SECONDS_MAX: Final = 5.0
LOOK_SECONDS: Final = 0.25
REPEATED_OCTETS_MAX: Final = 2048
REPEATED_REQUESTS_MAX: Final = 10_000
BACKLOG: Final = 1024

_OF_UPGRADES: Final = {b"upgrade", b"http2-settings"}


class _Protocol(asyncio.Protocol):
    """One connection. Answers leave in the order of the requests, since handlers answer at once."""

    def __init__(self, listener: StatusListener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0
        self._paused_since: float | None = None
        # what of a long body still has to leave, whether the connection ends after it, and until when it may take
        self._rest: Part | None = None
        self._last = False
        self._until = 0.0
        self.address = ""
        # since when nothing of a request is here; 0 while one is
        self.idle_since = 0.0
        # what was answered of the octets at hand
        self._answers: list[Response] = []
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_octets = 0
        self._body: list[bytes] = []
        self._body_octets = 0
        self._failure: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by shape alone
        self.address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        if not self._listener.enter(self):
            self._answer(failure(503, ("retry-after", "1")), keep=False)
            return
        self.idle_since = self._loop.time()
        self._within(REQUEST_SECONDS_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.leave(self)
        self._transport = self._rest = None

    def pause_writing(self) -> None:
        # a client that does not read is not read from either, and not for long
        now = self._loop.time()
        self._within(WRITE_SECONDS_MAX if self._rest is None else min(WRITE_SECONDS_MAX, self._until - now))
        self._paused_since = now
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused_since = None
        if self._rest is None:
            self._within(IDLE_SECONDS_MAX)
            self._resume_reading()
        else:
            # a long body has its time as a whole, however often its client takes a little of it
            self._within(self._until - self._loop.time())
            self._send_rest()

    def data_received(self, data: bytes) -> None:
        begins = self.idle_since > 0 and self._paused_since is None and self._rest is None
        if begins and (octets := self._listener.repeated(data)) is not None and self._transport is not None:
            self.idle_since = self._loop.time()
            self._deadline = self.idle_since + IDLE_SECONDS_MAX
            self._transport.write(octets)
            return
        self._answers.clear()
        rest = data
        try:
            while rest:
                rest = self._feed(rest)
        except httptools.HttpParserError:
            self._answer(failure(self._failure or 400), keep=False)
            return
        # one request, whole, and nothing else
        if begins and len(self._answers) == 1 and self.idle_since > 0:
            whole = self._answers[0].whole
            if whole is not None:
                self._listener.remember(data, whole)

    def _feed(self, data: bytes) -> bytes:
        """What is still to be fed: a request that offers another protocol, as if it did not, and what follows it.

        RFC 9110, Section 7.8 lets a server do so; the parser would skip the body and stop.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            method, headers = self._parser.get_method(), dict(self._headers)
            if method == b"CONNECT" or b"transfer-encoding" in headers:
                self._refuse(400)
            version = self._parser.get_http_version().encode()
            close = b"close" in headers.pop(b"connection", b"").lower()
            headers = {name: value for name, value in headers.items() if name not in _OF_UPGRADES}
            lines = [b": ".join(header) for header in headers.items()] + [b"connection: close"] * close
            head = [method + b" " + self._target + b" HTTP/" + version, *lines, b"", b""]
            self._parser = httptools.HttpRequestParser(self)
            return b"\r\n".join(head) + data[upgrade.args[0] :]
        return b""

    # --- what the parser calls --------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._reset()
        self.idle_since = 0.0
        if self._paused_since is None and self._transport is not None and not self._transport.is_closing():
            self._within(REQUEST_SECONDS_MAX)

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        if len(self._headers) >= HEADERS_MAX:
            self._refuse(431)
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body_octets += len(body)
        if self._body_octets > BODY_OCTETS_MAX:
            self._refuse(413)
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._transport is None or self._transport.is_closing() or self._parser.should_upgrade():
            return
        if self._paused_since is not None or self._rest is not None:
            # sent together with requests whose answers wait to be read: each more would stand in our memory. A client that
            # pipelines repeats what was not answered: RFC 9112, Section 9.3.2
            self.end()
            return
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            target=self._target,
            headers=self._headers,
            body=b"".join(self._body),
            address=self.address,
        )
        keep = self._parser.should_keep_alive()
        self._reset()
        if keep:
            self.idle_since = self._loop.time()
            self._within(IDLE_SECONDS_MAX)
        response = self._listener.respond(request)
        head = request.method == "HEAD"
        if keep and not head:
            self._answers.append(response)
        self._answer(response, keep=keep, head=head)

    def _count_head(self, octets: int) -> None:
        self._head_octets += octets
        if self._head_octets > HEAD_OCTETS_MAX:
            self._refuse(431)

    def _refuse(self, status: int) -> None:
        """Stop the parser; ``data_received`` answers."""
        self._failure = status
        raise httptools.HttpParserError(status)

    # --- answers and time -------------------------------------------------------------------------------------------

    def _answer(self, response: Response, *, keep: bool, head: bool = False) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._rest is not None:
            self.end()  # nothing may stand between the slices of a body; what came meanwhile is not answered
            return
        transport.write(encoded(response, keep=keep, head=head))
        if isinstance(response.body, Part) and not head:
            self._rest = response.body
            seconds = WRITE_SECONDS_MAX + response.body.octets / OCTETS_PER_SECOND_MIN
            self._until = self._loop.time() + seconds
            self._within(seconds)
            transport.pause_reading()
            self._send_rest()
        if not keep:
            self.end()

    def _send_rest(self) -> None:
        """Slices of a long body until the client has to catch up: at most one buffer of it is ever in our memory."""
        for _ in range(SLICES_AT_ONCE):
            rest, transport = self._rest, self._transport
            if rest is None or transport is None or self._paused_since is not None:
                break
            octets = min(rest.octets, SLICE_OCTETS)
            try:
                data = rest.source.read(rest.start, octets)
            except OSError:
                transport.abort()  # what was promised can't be kept: the client must see that it is cut off
                return
            left = rest.octets - octets
            self._rest = Part(rest.source, rest.start + octets, left) if left else None
            transport.write(data)
        if self._rest is None:
            if self._paused_since is None:
                self._within(IDLE_SECONDS_MAX)
            self._resume_reading()
            if self._last:
                self.end()
        elif self._paused_since is None and self._transport is not None:
            asyncio.get_running_loop().call_soon(self._send_rest)  # the others first

    def _resume_reading(self) -> None:
        if self._paused_since is None and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _within(self, seconds: float) -> None:
        """From now on the client has so long. The listener looks; a timer for each request would cost more than all else."""
        self._deadline = self._loop.time() + seconds

    def look(self, now: float, *, crowded: bool) -> None:
        """End the connection if its time is over."""
        idle = self._paused_since is None and self._rest is None and self.idle_since > 0
        if now >= self._deadline or (crowded and idle and now >= self.idle_since + CROWDED_IDLE_SECONDS_MAX):
            self._too_slow()

    def _too_slow(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._paused_since is not None or self._rest is not None or transport.is_closing():
            transport.abort()  # it does not read: nothing that we say would arrive
            return
        if self._target or self._head_octets:
            self._answer(failure(408), keep=False)
        self.end()

    def end(self) -> None:
        """Let the connection go; what was answered still leaves, if the client reads it in time."""
        if self._rest is not None:
            self._last = True
            return
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._within(WRITE_SECONDS_MAX)


class StatusListener:
    """Serves ``handler`` on one socket."""

    def __init__(
        self,
        handler: Handler,
        *,
        connections_max: int,
        fault: Callable[[Exception], None],
        connections_of_one_max: int | None = None,
    ) -> None:
        """``fault`` hears of what a handler raises; the client hears 500 and nothing else.

        ``connections_of_one_max``: from one address.
        """
        self._handler = handler
        self._connections_max = connections_max
        self._of_one_max = connections_of_one_max or connections_max
        self._fault = fault
        self._connections: set[_Protocol] = set()
        self._addresses: Counter[str] = Counter()
        # ordered: a dict that loses its first key again and again looks for the next one ever longer
        self._repeated: OrderedDict[bytes, Whole] = OrderedDict()
        self._server: asyncio.Server | None = None
        self._looking: asyncio.TimerHandle | None = None

    async def start(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Protocol(self), sock=listening, backlog=BACKLOG)
        self._looking = loop.call_later(LOOK_SECONDS, self._look, loop)

    async def stop(self) -> None:
        """Take nothing new; what was answered still leaves. Time-outs are seen to until every connection has ended."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.end()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now, crowded = loop.time(), 2 * len(self._connections) > self._connections_max
        for connection in list(self._connections):
            connection.look(now, crowded=crowded)
        if self._connections or (self._server is not None and self._server.is_serving()):
            self._looking = loop.call_later(LOOK_SECONDS, self._look, loop)

    def enter(self, connection: _Protocol) -> bool:
        """Whether there is room for one more connection, and for one more of its address."""
        if (
            len(self._connections) >= self._connections_max
            or self._addresses[connection.address] >= self._of_one_max
        ):
            return False
        self._connections.add(connection)
        self._addresses[connection.address] += 1
        return True

    def leave(self, connection: _Protocol) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._addresses[connection.address] -= 1
        if not self._addresses[connection.address]:
            del self._addresses[connection.address]

    def repeated(self, data: bytes) -> bytes | None:
        """The answer to a request that was asked in these very octets before, if it still is the answer."""
        whole = self._repeated.get(data)
        return None if whole is None else whole.octets()

    def remember(self, data: bytes, whole: Whole) -> None:
        """``data`` is one whole request, which ``whole`` answers."""
        if len(data) > REPEATED_OCTETS_MAX:
            return
        if len(self._repeated) >= REPEATED_REQUESTS_MAX and data not in self._repeated:
            self._repeated.popitem(last=False)
        self._repeated[data] = whole

    def respond(self, request: Request) -> Response:
        try:
            return self._handler(request)
        except Exception as error:  # noqa: BLE001  whatever it is, the next request must still be served
            self._fault(error)
            return failure(500)
