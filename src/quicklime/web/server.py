"""The API's listener: HTTP over TLS, with the client's certificate handed to the application.

uvicorn's protocol (httptools), with what a server at the edge needs besides: limits on the head of a request, time-outs for
clients that are slow on purpose, and the verified peer certificate in the ASGI scope, which no released server passes on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from quicklime.errors import BrokenState
from quicklime.web.auth import PEER_CERTIFICATE

HEAD_OCTETS_MAX = 32_768
HEADERS_MAX = 100
REQUEST_SECONDS_MAX = 30.0
KEEP_ALIVE_SECONDS = 75
HANDSHAKE_SECONDS_MAX = 10.0
BACKLOG = 1024
_HEAD = b"HTTP/1.1 "
DRAIN_SECONDS_MAX = 10.0


class _Gathered(asyncio.Transport):
    """As much of a transport as uvicorn uses. Head and body of a response go out together: one TLS record, one system call.

    What is written outside of a response (an error of the protocol, ``100 Continue``) goes out at once, and so does each
    later part of a body that comes in parts.
    """

    def __init__(self, transport: asyncio.Transport, protocol: _Protocol) -> None:
        super().__init__()
        self._transport = transport
        self._protocol = protocol
        self._held: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._held.append(bytes(data))
        if not self._protocol.is_answering() or not self._held[-1].startswith(_HEAD):
            self.flush()

    def flush(self) -> None:
        if self._held:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  as the transport has it
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()


class _Protocol(HttpToolsProtocol):
    """One connection. ``_deadline`` ends it when a request takes too long to arrive, head and body together."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401  passed on as they come
        super().__init__(*arguments, **more)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_octets = 0
        self._peer: bytes | None = None
        self.stopping = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._gathered = _Gathered(transport, self)
        super().connection_made(self._gathered)
        tls = transport.get_extra_info("ssl_object")
        self._peer = None if tls is None else tls.getpeercert(binary_form=True)
        self._expect()
        if self.stopping.is_set():
            # its handshake ended after the last request was answered: nobody would answer, and it may go elsewhere
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_octets = 0
        self._expect()
        if self._peer is not None:
            self.scope["extensions"] = {PEER_CERTIFICATE: self._peer}  # type: ignore[dict-item]

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if len(self.headers) < HEADERS_MAX:
            super().on_header(name, value)
        else:
            self._count(HEAD_OCTETS_MAX)

    def on_headers_complete(self) -> None:
        """Raises what the parser's caller answers with 400: a head that two readers could read as two things."""
        version = self.parser.get_http_version()
        hosts = sum(name == b"host" for name, _ in self.headers)
        # RFC 9112, Section 3.2; HTTP/1.0 had no Host yet, HTTP/0.9 had no heads at all
        if version not in {"1.0", "1.1"} or hosts > 1 or (hosts == 0 and version == "1.1"):
            raise ValueError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._relax()
        super().on_message_complete()

    def is_answering(self) -> bool:
        """Whether a response has begun and more of it is to come."""
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def on_response_complete(self) -> None:
        self._gathered.flush()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)

    def _count(self, octets: int) -> None:
        self._head_octets += octets
        if self._head_octets > HEAD_OCTETS_MAX and not self.transport.is_closing():
            # RFC 6585, Section 5
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def _expect(self) -> None:
        self._relax()
        self._deadline = self.loop.call_later(REQUEST_SECONDS_MAX, self._too_slow)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()


class ServingTLS:
    """The TLS side of the listener; its certificate can be replaced while connections are open.

    Client certificates are asked for, and where one is shown it must be by an issuer of ours, or the handshake fails.
    """

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.set_alpn_protocols(["http/1.1"])
        self._trusted: set[bytes] = set()

    def trust(self, issuers: Sequence[bytes]) -> None:
        """Take client certificates by these issuers (DER) from now on, besides those before."""
        for issuer in issuers:
            if issuer not in self._trusted:
                self.context.load_verify_locations(cadata=issuer)
                self._trusted.add(issuer)

    def replace(self, chain_and_key: bytes) -> None:
        """Serve this certificate (PEM: leaf, intermediates, private key) to new connections.

        OpenSSL takes it only from a file: one in memory that no other process can open by name.
        """
        descriptor = os.memfd_create("serving", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, chain_and_key)
            self.context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


class APIServer:
    """A listener for one ASGI application."""

    def __init__(self, app: Any, *, connections_max: int) -> None:  # noqa: ANN401  an ASGI application
        self._config = Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=connections_max,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        self._state = ServerState()
        self._stopping = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket, tls: ServingTLS) -> None:
        """Accept connections on ``listening``."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol,
            sock=listening,
            ssl=tls.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS_MAX,
            backlog=BACKLOG,
        )

    def _protocol(self) -> _Protocol:
        made = _Protocol(self._config, self._state, {}, asyncio.get_running_loop())
        made.stopping = self._stopping
        return made

    async def stop(self) -> None:
        """Accept no more, let requests under way finish, then end every connection."""
        if self._server is None:
            return
        self._stopping.set()
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=DRAIN_SECONDS_MAX)
        for connection in list(self._state.connections):
            connection.transport.abort()


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket. Raises BrokenState naming the setting, where the port is taken or not permitted."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        variable = f"QUICKLIME_{setting.upper()}__PORT"
        if error.errno == errno.EADDRINUSE:
            raise BrokenState(
                f"port {port} on {host} is taken by another program",
                hint=f"stop that program (ss -ltnp 'sport = :{port}' names it), or set {setting}.port "
                f"({variable}) to a free one",
            ) from error
        raise BrokenState(
            f"can't listen on {host} port {port}: {error.strerror or error}",
            hint=f"set {setting}.host and {setting}.port ({variable}) to what this user may use",
        ) from error
    return listening
