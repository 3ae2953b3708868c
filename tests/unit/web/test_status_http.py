"""The plain listener on real sockets: what it answers, in which order, and what it does not let clients do to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest

from quicklime.web import status_http
from quicklime.web.server import listen
from quicklime.web.status_http import StatusListener
from quicklime.web.status_message import Part, Request, Response, failure

LARGE = b"x" * 1_000_000
HUGE = bytes(range(250)) * 80_000


@dataclass
class Held:
    """A source that says what was read of it, and may fail from an octet on."""

    fails_at: int = len(HUGE)
    read_octets: int = 0

    def read(self, start: int, octets: int) -> bytes:
        if start + octets > self.fails_at:
            raise OSError("gone")
        self.read_octets += octets
        return HUGE[start : start + octets]


@dataclass
class Server:
    port: int
    listener: StatusListener
    requests: list[Request] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    source: Held = field(default_factory=Held)

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        path = request.target.partition(b"?")[0]
        if path == b"/large":
            return Response(media_type="application/pkix-crl", body=LARGE)
        if path == b"/huge":
            return Response(media_type="application/pkix-crl", body=HUGE)
        if path == b"/file":
            return Response(media_type="application/pkix-crl", body=Part(self.source, 3, len(HUGE) - 10))
        if path == b"/broken":
            raise RuntimeError("password=hunter2")
        if path == b"/same":
            return Response(status=304, headers=(("etag", '"1"'),))
        if path == b"/nowhere":
            return failure(404)
        return Response(body=path + b" " + request.body, headers=(("etag", '"1"'),))

    async def open(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=4_000_000)
        return Client(reader, writer)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = await self.open()
        try:
            yield client
        finally:
            await client.close()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def ask(self, *parts: bytes) -> Answer:
        await self.send(*parts)
        return await self.answer()

    async def answer(self, *, head: bool = False) -> Answer:
        async with asyncio.timeout(10):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii")
            first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            length = 0 if head else int(headers.get("content-length", "0"))
            return Answer(int(first.split(" ")[1]), headers, await self.reader.readexactly(length))

    async def rest(self) -> bytes:
        """All that comes until the other side ends."""
        found = b""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while more := await self.reader.read(65_536):
                    found += more
        return found

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def serving(
    connections_max: int = 100, connections_of_one_max: int | None = None
) -> AsyncIterator[Server]:
    listening = listen("127.0.0.1", 0, "status")
    server = Server(listening.getsockname()[1], None)  # type: ignore[arg-type]
    server.listener = StatusListener(
        server.handle,
        connections_max=connections_max,
        fault=server.faults.append,
        connections_of_one_max=connections_of_one_max,
    )
    await server.listener.start(listening)
    try:
        yield server
    finally:
        await server.listener.stop()
        listening.close()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():
            await asyncio.sleep(0.005)


def get(path: str = "/a", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def post(body: bytes, *headers: str) -> bytes:
    return (
        "\r\n".join(["POST /ocsp HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""])
    ).encode() + body


# --- what is answered -----------------------------------------------------------------------------------------------


async def test_a_request_is_handed_on_as_it_came() -> None:
    async with serving() as server, server.client() as client:
        await client.send(post(b"body", "Content-Type: application/ocsp-request"))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"/ocsp body")
        assert answer.headers["content-length"] == str(len(answer.body))
        assert answer.headers["etag"] == '"1"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["date"].endswith("GMT")
        (request,) = server.requests
        assert (request.method, request.target) == ("POST", b"/ocsp")
        assert request.headers[b"content-type"] == b"application/ocsp-request"


async def test_the_target_stays_encoded() -> None:
    async with serving() as server, server.client() as client:
        await client.send(get("/ocsp/MFQ%2FwUjBQ%3D%3D?x=%00"))
        await client.answer()
        assert server.requests[0].target == b"/ocsp/MFQ%2FwUjBQ%3D%3D?x=%00"


async def test_a_request_may_come_octet_by_octet() -> None:
    async with serving() as server, server.client() as client:
        for octet in post(b"body"):
            await client.send(bytes((octet,)))
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"/ocsp body"
        assert len(server.requests) == 1


async def test_many_requests_on_one_connection() -> None:
    async with serving() as server, server.client() as client:
        for number in range(20):
            await client.send(get(f"/{number}"))
            answer = await client.answer()
            assert answer.body == f"/{number} ".encode()
            assert "connection" not in answer.headers
        assert len({id(request) for request in server.requests}) == 20


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with serving() as server, server.client() as client:
        requests = [get("/1"), post(b"two"), get("/3"), get("/nowhere"), get("/same"), get("/6")]
        await client.send(b"".join(requests))
        bodies = [(await client.answer()).body for _ in requests]
        assert bodies == [b"/1 ", b"/ocsp two", b"/3 ", b"Not Found\n", b"", b"/6 "]
        assert len(server.requests) == 6


async def test_chunked_bodies() -> None:
    async with serving() as server, server.client() as client:
        await client.send(
            b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n",
            b"2;ext=1\r\ndy\r\n0\r\n\r\n",
            get("/next"),
        )
        assert (await client.answer()).body == b"/ocsp body"
        assert (await client.answer()).body == b"/next "
        assert server.requests[0].body == b"body"


@pytest.mark.parametrize("path", ["/a", "/large", "/nowhere"])
async def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    async with serving() as server, server.client() as client:
        await client.send(get(path))
        got = await client.answer()
        await client.send(get(path).replace(b"GET", b"HEAD"))
        head = await client.answer(head=True)
        await client.send(get("/after"))
        assert (await client.answer()).body == b"/after "
        assert head.status == got.status
        assert head.headers | {"date": ""} == got.headers | {"date": ""}


async def test_not_modified_has_no_body_and_no_length() -> None:
    async with serving() as server, server.client() as client:
        await client.send(get("/same"))
        answer = await client.answer()
        assert answer.status == 304
        assert {"content-length", "content-type"} & set(answer.headers) == set()
        assert answer.headers["etag"] == '"1"'


async def test_who_asks_to_close_is_closed() -> None:
    async with serving() as server, server.client() as client:
        await client.send(get("/a", "Connection: close"))
        answer = await client.answer()
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""


async def test_http_1_0_is_closed_unless_it_asks_otherwise() -> None:
    async with serving() as server, server.client() as client:
        await client.send(b"GET /a HTTP/1.0\r\n\r\n")
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""


async def test_a_handler_that_fails_is_told_to_us_and_not_to_the_client() -> None:
    async with serving() as server, server.client() as client:
        await client.send(get("/broken"))
        answer = await client.answer()
        assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
        assert [str(fault) for fault in server.faults] == ["password=hunter2"]
        await client.send(get("/a"))
        assert (await client.answer()).status == 200


# --- what is not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),  # a TLS ClientHello
        (b"garbage\r\n\r\n", 400),
        (b"GET /a HTTP/9.9\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: x\x00y\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4, 5\r\n\r\nbody", 400),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\nbody", 400),
        # request smuggling: RFC 9112, Section 6.3
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!",
            400,
        ),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (get("/" + "a" * 20_000), 431),
        (get("/a", "X: " + "a" * 20_000), 431),
        (get("/a", *(f"X-{number}: {'a' * 300}" for number in range(60))), 431),
        (get("/a", *(f"X-{number}: a" for number in range(70))), 431),
        (get("/a", *(["X: " + "a" * 290] * 60)), 431),
        (post(b"x" * 16_385), 413),
    ],
    ids=range(17),
)
async def test_what_can_not_be_is_answered_once_and_ended(sent: bytes, status: int) -> None:
    async with serving() as server, server.client() as client:
        await client.send(sent + get("/after"))
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert await client.rest() == b""
        assert server.requests == []
        await until(lambda: not server.listener._connections)


async def test_a_chunked_body_beyond_the_limit_is_refused() -> None:
    async with serving() as server, server.client() as client:
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        head = b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + chunk * 5)
        assert (await client.answer()).status == 413
        assert server.requests == []


async def test_a_body_of_the_limit_is_taken() -> None:
    async with serving() as server, server.client() as client:
        await client.send(post(b"x" * 16_384))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "offer", [("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk"), ("Connection: Upgrade",)]
)
async def test_an_offer_of_another_protocol_is_as_if_it_were_not(offer: tuple[str, ...]) -> None:
    async with serving() as server, server.client() as client:
        upgrade = (*offer, "Upgrade: h2c")
        await client.send(get("/a", *upgrade) + post(b"body", *upgrade) * 3 + get("/b"))
        bodies = [(await client.answer()).body for _ in range(5)]
        assert bodies == [b"/a ", b"/ocsp body", b"/ocsp body", b"/ocsp body", b"/b "]
        assert len(server.requests) == 5
        await client.send(post(b"body", "Connection: close, Upgrade", "Upgrade: h2c"))
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""


async def test_as_many_offers_as_a_packet_holds_are_taken() -> None:
    async with serving() as server, server.client() as client:
        await client.send(get("/a", "Connection: Upgrade", "Upgrade: h2c") * 2000)
        for _ in range(2000):
            assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\nhello",
        b"POST /ocsp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_what_can_not_be_without_the_other_protocol_is_refused(sent: bytes) -> None:
    async with serving() as server, server.client() as client:
        await client.send(sent)
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
        assert server.requests == []


async def test_too_many_connections_are_told_so() -> None:
    async with serving(connections_max=2) as server:
        first, second = await server.open(), await server.open()
        for client in (first, second):
            await client.send(get())
            assert (await client.answer()).status == 200
        async with server.client() as third:
            answer = await third.answer()
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert await third.rest() == b""
        await first.close()
        await until(lambda: len(server.listener._connections) == 1)
        async with server.client() as fourth:
            await fourth.send(get())
            assert (await fourth.answer()).status == 200
        await second.close()


# --- what comes again -----------------------------------------------------------------------------------------------


@dataclass
class Kept:
    """An answer that is kept whole; ``good`` says whether it still is the answer."""

    good: bool = True
    given: int = 0

    def octets(self) -> bytes | None:
        if not self.good:
            return None
        self.given += 1
        return b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nkept"


@asynccontextmanager
async def keeping(kept: Kept) -> AsyncIterator[Server]:
    """A server that answers ``/kept`` by what is kept."""
    async with serving() as server:
        handle = server.listener._handler

        def handle_and_keep(request: Request) -> Response:
            response = handle(request)
            return Response(body=response.body, whole=kept) if request.target == b"/kept" else response

        server.listener._handler = handle_and_keep
        yield server


KEPT = b"GET /kept HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_request_that_comes_again_is_answered_by_what_is_kept_as_long_as_it_is_good() -> None:
    kept = Kept()
    async with keeping(kept) as server, server.client() as client:
        assert (await client.ask(KEPT)).body == b"/kept "
        for _ in range(3):
            assert (await client.ask(KEPT)).body == b"kept"
        kept.good = False
        assert (await client.ask(KEPT)).body == b"/kept "
        kept.good = True
        # on another connection too, and what is asked between is answered as ever
        async with server.client() as other:
            assert (await other.ask(KEPT)).body == b"kept"
            assert (await other.ask(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")).body == b"/a "
            assert (await other.ask(KEPT)).body == b"kept"
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "other",
    [
        KEPT.replace(b"GET", b"HEAD"),
        KEPT.replace(b"Host: x", b"Host: x\r\nConnection: close"),
        KEPT.replace(b"HTTP/1.1", b"HTTP/1.0"),
        KEPT.replace(b"Host: x", b"Host: x\r\nX-Long: " + b"x" * status_http.REPEATED_OCTETS_MAX),
    ],
    ids=["head", "close", "http/1.0", "long"],
)
async def test_what_is_answered_otherwise_each_time_is_not_remembered(other: bytes) -> None:
    kept = Kept()
    async with keeping(kept) as server:
        for _ in range(2):
            async with server.client() as client:
                await client.send(other)
                assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert len(server.requests) == 2
        assert kept.given == 0
        assert server.listener._repeated == {}


async def test_the_same_octets_inside_another_request_are_no_request() -> None:
    kept = Kept()
    async with keeping(kept) as server, server.client() as client:
        await client.ask(KEPT)
        await client.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(KEPT))
        await until(lambda: not any(one.idle_since for one in server.listener._connections))
        assert (await client.ask(KEPT)).body == b"/a " + KEPT
        assert kept.given == 0


async def test_a_request_in_parts_or_with_another_behind_it_is_not_remembered() -> None:
    async with keeping(Kept()) as server, server.client() as client:
        await client.send(KEPT[:10])
        await until(lambda: [one.idle_since for one in server.listener._connections] == [0.0])
        assert (await client.ask(KEPT[10:])).body == b"/kept "
        await client.send(KEPT + KEPT)
        assert [(await client.answer()).body for _ in range(2)] == [b"/kept "] * 2
        assert server.listener._repeated == {}


async def test_as_many_are_remembered_as_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "REPEATED_REQUESTS_MAX", 3)
    async with keeping(Kept()) as server, server.client() as client:
        for number in range(10):
            await client.ask(KEPT.replace(b"Host: x", b"Host: %d" % number))
        assert len(server.listener._repeated) == 3
        assert (await client.ask(KEPT.replace(b"Host: x", b"Host: 9"))).body == b"kept"


async def test_one_address_gets_its_share_of_the_connections() -> None:
    async with serving(connections_of_one_max=2) as server, server.client(), server.client() as second:
        await second.ask(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        async with server.client() as third:
            assert (await third.rest()).startswith(b"HTTP/1.1 503 ")
        await second.close()
        await until(lambda: len(server.listener._connections) == 1)
        async with server.client() as fourth:
            assert (await fourth.ask(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200


async def test_where_it_is_crowded_who_is_idle_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "CROWDED_IDLE_SECONDS_MAX", 0.0)
    async with serving(connections_max=2) as server, server.client() as first, server.client() as second:
        for client in (first, second):
            await client.ask(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await first.rest() == b""


# --- time -----------------------------------------------------------------------------------------------------------


async def test_a_head_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "REQUEST_SECONDS_MAX", 0.2)
    async with serving() as server, server.client() as client:
        began = time.monotonic()
        # RuntimeError: what uvloop says of a connection that was reset
        with contextlib.suppress(ConnectionError, RuntimeError):
            await client.send(b"GET /a HTTP/1.1\r\n")
            for number in range(100):
                if client.reader.at_eof() or time.monotonic() - began > 2:
                    break
                await client.send(f"X-{number}: a\r\n".encode())
                await asyncio.sleep(0.02)
        assert time.monotonic() - began < 1.5
        told = await client.rest()
        # where more was on its way when we ended it, TCP may drop what we said
        assert told == b"" or told.startswith(b"HTTP/1.1 408 ")
        assert server.requests == []


async def test_a_body_that_never_comes_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "REQUEST_SECONDS_MAX", 0.1)
    async with serving() as server, server.client() as client:
        await client.send(b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbo")
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


async def test_who_says_nothing_is_ended_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "REQUEST_SECONDS_MAX", 0.1)
    async with serving() as server, server.client() as client:
        assert await client.rest() == b""


async def test_who_is_idle_after_an_answer_is_ended_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "IDLE_SECONDS_MAX", 0.1)
    async with serving() as server, server.client() as client:
        await client.send(get())
        assert (await client.answer()).status == 200
        # an answer to nothing would be taken for the answer to the next request
        assert await client.rest() == b""


async def test_a_second_request_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "REQUEST_SECONDS_MAX", 0.1)
    async with serving() as server, server.client() as client:
        await client.send(get())
        assert (await client.answer()).status == 200
        await asyncio.sleep(0.15)
        await client.send(b"GET /slow HTTP/1.1\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


def plain_socket(server: Server) -> socket.socket:
    """A client whose window is small, and who reads when the test says so."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.connect(("127.0.0.1", server.port))
    found.setblocking(False)
    return found


async def test_who_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "WRITE_SECONDS_MAX", 0.2)
    monkeypatch.setattr(status_http, "IDLE_SECONDS_MAX", 0.2)
    async with serving() as server:
        with plain_socket(server) as client:
            client.send(get("/large") * 20)
            await until(lambda: len(server.listener._connections) == 1)
            await until(lambda: not server.listener._connections)


async def test_who_pipelines_large_answers_and_does_not_read_gets_few_of_them() -> None:
    async with serving() as server:
        with plain_socket(server) as client:
            client.send(get("/large") * 1000)
            await until(lambda: len(server.requests) > 0)
            await asyncio.sleep(0.2)
            # each answer that waits for the client stands in our memory
            assert len(server.requests) <= 8


async def test_who_pipelines_large_answers_and_reads_gets_what_was_answered_whole() -> None:
    async with serving() as server, server.client() as client:
        await client.send(get("/large") * 8)
        found = 0
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                answer = await client.answer()
                assert answer.body == LARGE
                found += 1
                if answer.headers.get("connection") == "close":
                    break
        assert 1 <= found <= 8
        assert found == len(server.requests)


async def test_who_closes_slowly_is_ended_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "WRITE_SECONDS_MAX", 0.2)
    async with serving() as server:
        with plain_socket(server) as client:
            # more than the kernel takes, and the connection is to close after it
            client.send(get("/huge", "Connection: close"))
            await until(lambda: len(server.requests) == 1)
            began = time.monotonic()
            await until(lambda: not server.listener._connections)
            assert time.monotonic() - began < 3


async def test_a_slow_reader_gets_all_of_it() -> None:
    async with serving() as server:
        loop = asyncio.get_running_loop()
        with plain_socket(server) as client:
            client.send(get("/large"))
            found = b""
            async with asyncio.timeout(10):
                while len(found) < len(LARGE):
                    found += await loop.sock_recv(client, 50_000)
            assert found.endswith(LARGE[:1000])
            client.send(get("/after"))
            more = b""
            while not more.endswith(b"/after "):
                more += await loop.sock_recv(client, 1000)


async def test_a_long_body_is_sent_whole_in_its_place_among_others() -> None:
    async with serving() as server, server.client() as client:
        await client.send(get("/file"))
        answer = await client.answer()
        assert answer.headers["content-length"] == str(len(HUGE) - 10)
        assert answer.body == HUGE[3:-7]
        await client.send(get("/a"))
        assert (await client.answer()).body == b"/a "
        await client.send(get("/file").replace(b"GET", b"HEAD"))
        answer = await client.answer(head=True)
        assert answer.headers["content-length"] == str(len(HUGE) - 10)
        await client.send(get("/file", "Connection: close"))
        assert (await client.answer()).body == HUGE[3:-7]
        assert await client.rest() == b""


async def test_what_comes_while_a_long_body_leaves_does_not_stand_in_it() -> None:
    for second in (get("/a"), b"nonsense\r\n\r\n", get("/file")):
        async with serving() as server, server.client() as client:
            await client.send(get("/file") + second)
            assert (await client.answer()).body == HUGE[3:-7]
            assert await client.rest() == b""


async def test_of_a_long_body_only_what_is_taken_is_read() -> None:
    async with serving() as server:
        clients = [await server.open() for _ in range(4)]
        for client in clients:
            cast("asyncio.ReadTransport", client.writer.transport).pause_reading()
            await client.send(get("/file"))
        await asyncio.sleep(0.3)
        # buffers of sockets on both sides, and a few slices of ours
        assert server.source.read_octets < 4 * 10_000_000
        for client in clients:
            await client.close()


async def test_a_long_body_that_breaks_off_is_seen_to_break_off() -> None:
    async with serving() as server, server.client() as client:
        server.source.fails_at = 1_000_000
        await client.send(get("/file"))
        assert len(await client.rest()) < 1_000_000 + 1000
        assert not server.faults


async def test_who_takes_a_long_body_too_slowly_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_http, "WRITE_SECONDS_MAX", 0.3)
    monkeypatch.setattr(status_http, "OCTETS_PER_SECOND_MIN", 1 << 40)
    async with serving() as server, server.client() as client:
        await client.send(get("/file"))
        began = time.monotonic()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while time.monotonic() - began < 5 and await client.reader.read(200_000):
                await asyncio.sleep(0.02)
        assert time.monotonic() - began < 5


async def test_stop_ends_what_is_open_and_takes_nothing_new() -> None:
    async with serving() as server:
        async with server.client() as client:
            await client.send(get())
            await client.answer()
            await server.listener.stop()
            assert await client.rest() == b""
        with pytest.raises(OSError):
            await refused(server)


async def refused(server: Server) -> None:
    client = await server.open()
    await client.send(get())
    if not await client.rest():
        raise ConnectionResetError
