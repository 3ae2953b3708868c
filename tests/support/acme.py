"""ACME in this process: an authority with its directories, a client that signs by hand, and a world of hosts to be asked.

The client writes every octet itself, so that a test can write them wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.adapters.memory_store import MemoryStore
from quicklime.authority.acme import AccountDesk, OrderDesk
from quicklime.authority.ledger import ProtocolLedger
from quicklime.authority.refusals import RefusalDesk
from quicklime.log import Log, MemoryLog
from quicklime.pki import csr, jws
from quicklime.pki.jws import base64url
from quicklime.projection import Store
from quicklime.projection.stream import Stream
from quicklime.services.acme import api, view
from quicklime.services.acme.exchange import Desks, Directory, Rates
from quicklime.services.acme.nonces import Nonces
from quicklime.services.acme.validator import Perspective, Rules, Validator
from quicklime.telemetry import Lines
from quicklime.validation import CAARecord, Fetched, Unanswered, dns_value, key_authorization
from quicklime.web.application import Application
from quicklime.web.limits import Rate
from tests.support.authority import ADDRESS, Authority, Subscriber
from tests.support.authority import running as authority_running

SECRET = bytes(range(32))
BASE = "https://localhost:8443"
SERVED = ip_network("10.0.0.0/8")
JOSE = "application/jose+json"
AccountKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


# --- the world ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class World:
    """What a resolver and a prober find: every name at 10.0.0.7, pages and TXT records that a test puts there."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    texts_at: dict[str, list[str]] = field(default_factory=dict)
    caa_at: dict[str, list[CAARecord]] = field(default_factory=dict)
    pages: dict[str, Fetched] = field(default_factory=dict)
    certificates: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    dialled: list[tuple[str, int, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    address: str = "192.0.2.53:53"
    gate: asyncio.Event | None = None

    def _look(self, kind: str, name: str) -> None:
        self.asked.append(f"{kind} {name}")
        if name in self.broken:
            raise Unanswered("dns", f"{kind} of {name}: the resolver answered SERVFAIL")

    async def addresses(self, name: str) -> list[str]:
        self._look("A", name)
        return self.hosts.get(name, ["10.0.0.7"])

    async def texts(self, name: str) -> list[str]:
        self._look("TXT", name)
        return self.texts_at.get(name, [])

    async def caa(self, name: str) -> list[CAARecord]:
        self._look("CAA", name)
        return self.caa_at.get(name, [])

    async def fetch(self, *, scheme: str, address: str, port: int, host: str, target: str) -> Fetched:
        self.dialled.append((address, port, f"{scheme}://{host}{target}"))
        if self.gate is not None:
            await self.gate.wait()
        page = self.pages.get(f"{scheme}://{host}{target}") or self.pages.get(target)
        if page is None:
            raise Unanswered("connection", f"{address} port {port}: no connection")
        return page

    async def alpn_certificate(self, *, address: str, port: int, server_name: str) -> bytes:
        self.dialled.append((address, port, server_name))
        if server_name not in self.certificates:
            raise Unanswered("tls", f"{address}:{port}: the server did not agree on 'acme-tls/1'")
        return self.certificates[server_name]

    def show(self, token: str, thumbprint: bytes) -> None:
        """Serve the proof of http-01 under every name."""
        body = key_authorization(token, thumbprint).encode()
        self.pages[f"/.well-known/acme-challenge/{token}"] = Fetched(status=200, location=None, body=body)


@asynccontextmanager
async def running(
    *,
    directories: Mapping[str, Directory] | None = None,
    protocol_log: Log | None = None,
    protocol_store: Store | None = None,
    rules: Mapping[str, Any] | None = None,
    accounts_per_minute: int = 1000,
    orders_per_minute: int = 1000,
    failures_per_minute: int = 1000,
    url: str | None = None,
    **more: Any,
) -> AsyncIterator[Served]:
    async with authority_running(**more) as authority:
        log = MemoryLog() if protocol_log is None else protocol_log
        store = MemoryStore() if protocol_store is None else protocol_store
        stream = Stream(log, store, view.project, view.VERSION)
        protocol = ProtocolLedger(authority.ledger, log, stream)
        world = World()
        settings: dict[str, Any] = {
            "networks": (SERVED,),
            "caa_identities": ("ca.lab.internal",),
            "attempts": 1,
        }
        perspective = Perspective(name="here", resolver=world, prober=world)
        desks = Desks(
            accounts=AccountDesk(authority.ledger, SECRET),
            orders=OrderDesk(protocol, order_seconds=86_400, pending_seconds=86_400, valid_seconds=28_800),
            protocol=protocol,
            issuance=authority.issuance,
            revocation=authority.revocation,
            refusals=RefusalDesk(authority.ledger, lambda _: True),
            issuers=authority.issuers,
            state=authority.state,
            read=authority.ledger.read,
            validator=Validator([perspective], Rules(**(settings | dict(rules or {}))), authority.clock),
            nonces=Nonces(store, SECRET, lambda: authority.clock() * 1_000_000, os.urandom),
            directories=directories or {"default": directory()},
            hosts=("localhost", "api.lab.internal", "::1"),
            port=8443,
            url=url,
            caa_identities=("ca.lab.internal",),
            parse_csr=csr.parse,
            clock=authority.clock,
            rates=Rates(
                accounts=Rate(accounts_per_minute, burst=accounts_per_minute),
                orders=Rate(orders_per_minute, burst=orders_per_minute),
                failures=Rate(failures_per_minute, burst=failures_per_minute),
            ),
            metrics=authority.metrics,
            lines=Lines(),
        )
        application = Application(
            api.routes(desks), metrics=authority.metrics, lines=Lines(), rate=Rate(60_000)
        )
        yield Served(authority=authority, desks=desks, world=world, application=application, log=log)


def directory(name: str = "default", **fields: Any) -> Directory:
    given: dict[str, Any] = {
        "names": (),
        "profiles": ("server", "client"),
        "methods": ("http-01", "dns-01", "tls-alpn-01"),
    }
    return Directory(name=name, **(given | fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    authority: Authority
    desks: Desks
    world: World
    application: Application
    log: Log

    async def ask(self, method: str, url: str, address: str = ADDRESS, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.application, client=(address, 40_000))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await client.request(method, url, **more)

    def client(self, key: AccountKey | None = None, directory: str = "default") -> Client:
        return Client(served=self, key=key or ec.generate_private_key(ec.SECP256R1()), directory=directory)

    async def registered(self, **more: Any) -> Client:
        client = self.client(**more)
        answer = await client.register()
        assert answer.status_code == 201, answer.text
        return client


# --- the client -----------------------------------------------------------------------------------------------------


def jwk_of(key: AccountKey) -> dict[str, str]:
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": base64url(_octets(numbers.n)), "e": base64url(_octets(numbers.e))}
    size = (public.curve.key_size + 7) // 8
    point = public.public_numbers()
    return {
        "kty": "EC",
        "crv": f"P-{public.curve.key_size}",
        "x": base64url(point.x.to_bytes(size, "big")),
        "y": base64url(point.y.to_bytes(size, "big")),
    }


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def algorithm_of(key: AccountKey) -> str:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return f"ES{key.curve.key_size}"


def sign(key: AccountKey, message: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    algorithm = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
    size = (key.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def flattened(header: Mapping[str, Any], payload: bytes, signer: Callable[[bytes], bytes]) -> dict[str, str]:
    """A JWS in flattened JSON."""
    protected = base64url(json.dumps(header).encode())
    body = base64url(payload)
    return {
        "protected": protected,
        "payload": body,
        "signature": base64url(signer(f"{protected}.{body}".encode())),
    }


@dataclass(slots=True, kw_only=True)
class Client:
    """One account key and what it says. ``account`` is the account's URL, once there is one."""

    served: Served
    key: AccountKey
    directory: str = "default"
    account: str | None = None
    address: str = ADDRESS

    @property
    def thumbprint(self) -> bytes:
        return jws.read_key(jwk_of(self.key)).thumbprint

    def url(self, *parts: str) -> str:
        return f"{BASE}/acme/{self.directory}/{'/'.join(parts)}"

    async def nonce(self) -> str:
        answer = await self.served.ask("HEAD", self.url("new-nonce"))
        assert answer.status_code == 200
        return answer.headers["replay-nonce"]

    async def body(
        self, url: str, payload: object, *, by_key: bool = False, header: Mapping[str, Any] | None = None
    ) -> bytes:
        """What is posted. ``payload`` None is POST-as-GET; a value of None in ``header`` leaves that member out."""
        octets = b"" if payload is None else json.dumps(payload).encode()
        found: dict[str, Any] = {"alg": algorithm_of(self.key), "url": url, "nonce": await self.nonce()}
        if by_key or self.account is None:
            found["jwk"] = jwk_of(self.key)
        else:
            found["kid"] = self.account
        found |= header or {}
        found = {name: value for name, value in found.items() if value is not None}
        return json.dumps(flattened(found, octets, lambda message: sign(self.key, message))).encode()

    async def post(self, url: str, payload: object = None, **more: Any) -> httpx.Response:
        return await self.send(url, await self.body(url, payload, **more))

    async def send(self, url: str, body: bytes, media_type: str = JOSE) -> httpx.Response:
        return await self.served.ask(
            "POST", url, address=self.address, content=body, headers={"content-type": media_type}
        )

    async def register(self, **payload: Any) -> httpx.Response:
        answer = await self.post(
            self.url("new-account"), {"termsOfServiceAgreed": True} | payload, by_key=True
        )
        if answer.status_code in {200, 201}:
            self.account = answer.headers["location"]
        return answer

    async def order(self, *names: str, **more: Any) -> httpx.Response:
        identifiers = [{"type": name.partition(":")[0], "value": name.partition(":")[2]} for name in names]
        return await self.post(self.url("new-order"), {"identifiers": identifiers} | more)

    async def prove(self, order: Mapping[str, Any], method: str = "http-01") -> None:
        """Prove every name of the order that is not proved yet."""
        for url in order["authorizations"]:
            authorization = (await self.post(url)).json()
            if authorization["status"] == "valid":
                continue
            challenge = next(one for one in authorization["challenges"] if one["type"] == method)
            self.show(authorization["identifier"]["value"], challenge["token"])
            answer = await self.post(challenge["url"], {})
            assert answer.status_code == 200, answer.text
            assert answer.json()["status"] == "valid", answer.text

    def show(self, name: str, token: str) -> None:
        self.served.world.show(token, self.thumbprint)
        value = dns_value(token, self.thumbprint)
        self.served.world.texts_at.setdefault(f"_acme-challenge.{name}", []).append(value)

    async def finalize(
        self, order: Mapping[str, Any], *names: str, by: Subscriber | None = None
    ) -> httpx.Response:
        holder = Subscriber.new() if by is None else by
        wanted = names or tuple(f"{one['type']}:{one['value']}" for one in order["identifiers"])
        return await self.post(order["finalize"], {"csr": base64url(holder.csr(*wanted))})

    async def issued(
        self, *names: str, by: Subscriber | None = None, method: str = "http-01", **more: Any
    ) -> Issued:
        """A certificate, by the whole way."""
        answer = await self.order(*names, **more)
        assert answer.status_code == 201, answer.text
        await self.prove(answer.json(), method)
        done = await self.finalize(answer.json(), by=by)
        assert done.status_code == 200, done.text
        chain = await self.post(done.json()["certificate"])
        assert chain.status_code == 200, chain.text
        return Issued(
            order=done.json(),
            url=answer.headers["location"],
            certificates=tuple(x509.load_pem_x509_certificates(chain.content)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    order: dict[str, Any]
    url: str
    certificates: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def der(self) -> bytes:
        return self.leaf.public_bytes(Encoding.DER)

    @property
    def serial(self) -> str:
        return f"{self.leaf.serial_number:040x}"

    @property
    def identifier(self) -> str:
        """The certificate's id of RFC 9773, Section 4.1, computed from the certificate alone."""
        extension = self.leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert extension.key_identifier is not None
        number = self.leaf.serial_number
        octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
        return f"{base64url(extension.key_identifier)}.{base64url(octets)}"


def problem(answer: httpx.Response) -> str:
    """The last part of the ACME error's type."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    kind = document["type"]
    assert kind.startswith("urn:ietf:params:acme:error:"), kind
    return str(kind.rsplit(":", 1)[1])
