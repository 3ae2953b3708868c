"""Asks servers for the proof of http-01 and tls-alpn-01, at an address that was chosen and checked before.

Nothing here resolves a name, follows a redirect, reads a proxy's setting or looks at a certificate's chain; each answer is
bounded in octets and in time, however slowly it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import httpx

from quicklime.validation import ALPN_PROTOCOL, BODY_OCTETS_MAX, Fetched, Unanswered

TIMEOUT_SECONDS = 8.0
LOCATION_CHARACTERS_MAX = 2048


def _unverified() -> ssl.SSLContext:
    # RFC 8555, Section 8.3: a redirect may lead to a server that has no valid certificate yet; RFC 8737, Section 3: the
    # challenge's certificate proves by what it holds
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _read(response: httpx.Response) -> Fetched:
    try:
        body = b""
        async for chunk in response.aiter_raw(4096):
            body += chunk
            if len(body) > BODY_OCTETS_MAX:
                break
    finally:
        await response.aclose()
    location = response.headers.get("location")
    return Fetched(
        status=response.status_code,
        location=None if location is None else location[:LOCATION_CHARACTERS_MAX],
        body=body[:BODY_OCTETS_MAX],
    )


class NetworkProber:
    """``source`` is the local address to ask from, None for the system's choice."""

    def __init__(self, *, source: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._source = source
        self._timeout_seconds = timeout_seconds
        # no connection is used twice: another name may stand at the same address
        self._http = httpx.AsyncHTTPTransport(
            verify=_unverified(),
            local_address=source,
            retries=0,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )
        self._alpn = _unverified()
        self._alpn.set_alpn_protocols([ALPN_PROTOCOL])

    async def fetch(self, *, scheme: str, address: str, port: int, host: str, target: str) -> Fetched:
        literal = f"[{address}]" if ":" in address else address
        url = f"{scheme}://{literal}:{port}{target}"
        headers = {
            "host": host,
            "user-agent": "quicklime-acme",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
        }
        seconds = self._timeout_seconds
        extensions: dict[str, object] = {
            "timeout": {"connect": seconds, "read": seconds, "write": seconds, "pool": seconds}
        }
        if scheme == "https" and "[" not in host:
            extensions["sni_hostname"] = host.partition(":")[0]
        try:
            # the transport alone: a client above it would follow redirects, keep cookies and know proxies
            request = httpx.Request("GET", url, headers=headers, extensions=extensions)
            async with asyncio.timeout(seconds):
                return await _read(await self._http.handle_async_request(request))
        except (TimeoutError, httpx.TimeoutException):
            raise Unanswered("connection", f"{url}: no answer within {self._timeout_seconds:g} s") from None
        except httpx.ConnectError:
            raise Unanswered("connection", f"{literal} port {port}: no connection") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Unanswered("connection", f"{url[:200]}: no HTTP answer ({type(error).__name__})") from None

    async def alpn_certificate(self, *, address: str, port: int, server_name: str) -> bytes:
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                _, writer = await asyncio.open_connection(
                    address,
                    port,
                    ssl=self._alpn,
                    server_hostname=server_name,
                    local_addr=None if self._source is None else (self._source, 0),
                )
                tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
                # RFC 8737, Section 3: the server must have agreed, not merely shown a certificate
                if tls.selected_alpn_protocol() != ALPN_PROTOCOL:
                    raise Unanswered("tls", f"{where}: the server did not agree on {ALPN_PROTOCOL!r}")
                certificate = tls.getpeercert(binary_form=True)
                if certificate is None:
                    raise Unanswered("tls", f"{where}: the server showed no certificate")
                return certificate
        except TimeoutError:
            raise Unanswered("connection", f"{where}: no answer within {self._timeout_seconds:g} s") from None
        except ssl.SSLError as error:
            raise Unanswered(
                "tls", f"{where}: the handshake failed ({error.reason or 'no reason'})"
            ) from None
        except OSError:
            raise Unanswered("connection", f"{where}: no connection") from None
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(Exception):
                    # clients hang up right after the handshake, in whichever way
                    await asyncio.wait_for(writer.wait_closed(), 1)
