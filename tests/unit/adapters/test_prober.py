"""The prober against servers on loopback: slow ones, large ones, and such that speak something else."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from quicklime.adapters.prober import NetworkProber
from quicklime.validation import BODY_OCTETS_MAX, Fetched, Unanswered
from tests.support.authority import Subscriber

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


def _saying(octets: bytes, seen: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(octets)
        await writer.drain()

    return handle


async def _fetch(port: int, *, timeout_seconds: float = 5, scheme: str = "http") -> Fetched:
    prober = NetworkProber(timeout_seconds=timeout_seconds)
    return await prober.fetch(
        scheme=scheme, address="127.0.0.1", port=port, host="web.internal", target="/.well-known/x?y"
    )


async def test_the_request_names_the_host_and_goes_to_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    seen: list[bytes] = []
    async with _server(_saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproof", seen)) as port:
        found = await _fetch(port)
    assert (found.status, found.body, found.location) == (200, b"proof", None)
    assert seen[0].startswith(b"GET /.well-known/x?y HTTP/1.1\r\n")
    assert seen[0].lower().count(b"host:") == 1
    assert b"host: web.internal\r\n" in seen[0].lower()


async def test_redirects_are_told_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with _server(_saying(answer)) as port:
        found = await _fetch(port)
    assert (found.status, found.location) == (302, "http://127.0.0.1:1/")


async def test_a_body_without_end_is_cut() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with _server(pour) as port:
        assert len((await _fetch(port)).body) == BODY_OCTETS_MAX


async def test_a_compressed_body_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with _server(_saying(head + bomb)) as port:
        assert (await _fetch(port)).body == bomb[:BODY_OCTETS_MAX]


async def test_a_body_that_drips_ends_with_the_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with _server(drip) as port:
        with pytest.raises(Unanswered, match="no answer within"):
            await _fetch(port, timeout_seconds=0.3)


@pytest.mark.parametrize(
    "octets", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200\r\n" + b"x: y\r\n" * 20_000, b"\0" * 100]
)
async def test_what_is_no_http_is_no_answer(octets: bytes) -> None:
    async with _server(_saying(octets)) as port:
        with pytest.raises(Unanswered):
            await _fetch(port)


async def test_nobody_there() -> None:
    async with _server(_saying(b"")) as port:
        pass
    for asked in (
        _fetch(port),
        NetworkProber().alpn_certificate(address="127.0.0.1", port=port, server_name="a.b"),
    ):
        with pytest.raises(Unanswered) as caught:
            await asked
        assert caught.value.type == "connection"


def _tls(folder: Path, *protocols: str) -> tuple[ssl.SSLContext, x509.Certificate]:
    key = Subscriber.new().key
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context, certificate


async def test_the_certificate_of_a_handshake_that_agreed(tmp_path: Path) -> None:
    context, certificate = _tls(tmp_path, "acme-tls/1")
    seen: list[str | None] = []
    context.sni_callback = lambda _, name, __: seen.append(name)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with _server(hang_up, context) as port:
        found = await NetworkProber().alpn_certificate(
            address="127.0.0.1", port=port, server_name="1.0.0.10.in-addr.arpa"
        )
    assert found == certificate.public_bytes(Encoding.DER)
    assert seen == ["1.0.0.10.in-addr.arpa"]


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
async def test_a_server_that_did_not_agree_proves_nothing(tmp_path: Path, protocols: tuple[str, ...]) -> None:
    context, _ = _tls(tmp_path, *protocols)
    async with _server(_saying(b""), context) as port:
        with pytest.raises(Unanswered) as caught:
            await NetworkProber().alpn_certificate(address="127.0.0.1", port=port, server_name="web.internal")
    assert caught.value.type == "tls"


async def test_a_redirect_to_https_needs_no_valid_certificate(tmp_path: Path) -> None:
    context, _ = _tls(tmp_path)
    async with _server(_saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproof"), context) as port:
        assert (await _fetch(port, scheme="https")).body == b"proof"
