"""A whole authority in this process: memory for log and views, a clock that stands still, requests without a socket.

Put together as ``wiring.local`` and ``wiring.serving`` do it; what differs is what lies below the ports.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import os
from base64 import b64encode, urlsafe_b64decode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from quicklime.adapters.file_signer import FileSigner
from quicklime.adapters.memory_store import MemoryStore
from quicklime.authority.founding import FoundCommand, FoundingDesk
from quicklime.authority.issuance import IssuanceDesk
from quicklime.authority.issuers import Issuers
from quicklime.authority.ledger import Ledger
from quicklime.authority.refusals import RefusalDesk
from quicklime.authority.revocation import RevocationDesk
from quicklime.authority.tokens import CreateToken, TokenDesk
from quicklime.events import Event, Requester, Role
from quicklime.lifecycle.certificate import renewal_message, revocation_message
from quicklime.log import Log, MemoryLog
from quicklime.pki import csr
from quicklime.pki.certificate import URLs
from quicklime.pki.profile import BUILTIN, Profile
from quicklime.pki.signer import Signer
from quicklime.policy import CertificateRule
from quicklime.projection import Follower, Projector, State, Store
from quicklime.services.access import api as access_api
from quicklime.services.cfssl import api as cfssl_api
from quicklime.services.issuance import api as issuance_api
from quicklime.services.monitor import api as monitor_api
from quicklime.services.renewal import api as renewal_api
from quicklime.services.revocation import api as revocation_api
from quicklime.telemetry import Lines, Metrics
from quicklime.web.application import Application
from quicklime.web.auth import PEER_CERTIFICATE, Guard
from quicklime.web.limits import Rate
from quicklime.wiring.local import VIEWS
from tests.support.lab import NOW, URLS, Lab, lab

ADA = Requester(kind="local", id="ada", role="admin")
BODY_OCTETS_MAX = 65_536
AUTHORITY = "b6cd0d2e-3c0e-4d8e-9d7f-0d1f5f4f7a11"
ADDRESS = "192.0.2.7"
CFSSL_KEY = bytes.fromhex("00112233445566778899aabbccddeeff")
EVERYTHING = ("lab.internal", "**.lab.internal", "ip:10.0.0.0/8")


class Clock:
    """The present, which moves when it is told to."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += seconds


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Whoever has a key and wants a certificate for it."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls) -> Subscriber:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def csr(self, *names: str) -> bytes:
        """A request (DER) for typed names, as in ``dns:web.lab.internal``."""
        general: list[x509.GeneralName] = [
            x509.DNSName(name[4:])
            if name.startswith("dns:")
            else x509.IPAddress(ip_address(name.removeprefix("ip:")))
            for name in names
        ]
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        if general:
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))

    def renewal_signature(self, challenge: bytes, request: bytes) -> str:
        return b64encode(self.sign(renewal_message(challenge, request))).decode()

    def revocation_signature(self, challenge: bytes, serial: str, reason: int) -> str:
        return b64encode(self.sign(revocation_message(challenge, serial, reason))).decode()


@cache
def subscriber(name: str = "") -> Subscriber:
    """The same subscriber for the same name, in a whole run."""
    del name
    return Subscriber.new()


def base64(octets: bytes) -> str:
    return b64encode(octets).decode()


def pem_request(der: bytes) -> str:
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Everything that a test looks at, and ``application`` to be asked."""

    clock: Clock
    lab: Lab
    log: Log
    store: Store
    projector: Projector
    follower: Follower
    ledger: Ledger
    issuers: Issuers
    issuance: IssuanceDesk
    revocation: RevocationDesk
    tokens: TokenDesk
    founding: FoundingDesk
    guard: Guard
    metrics: Metrics
    application: Application
    admin: str
    cfssl_keys: Mapping[str, cfssl_api.AuthKey]
    ended: asyncio.Event
    """Set where a real process would have ended itself."""

    @property
    def state(self) -> State:
        return self.ledger.state

    def events(self) -> list[Event]:
        """Every fact that stands in the log."""
        return [self.ledger.read(offset) for offset in range(self.log.head())]

    async def token(
        self,
        role: Role = "requester",
        *,
        names: tuple[str, ...] = EVERYTHING,
        profiles: tuple[str, ...] = ("server", "client", "peer"),
        lifetime_seconds: int = 86_400,
        uses_max: int | None = None,
        label: str = "",
    ) -> str:
        text, _ = await self.tokens.create(
            CreateToken(
                role=role,
                names=names,
                profiles=profiles,
                lifetime_seconds=lifetime_seconds,
                uses_max=uses_max,
                label=label,
            ),
            ADA,
        )
        return text

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        peer: bytes | None = None,
        address: str = ADDRESS,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """One request, by the bearer ``token`` or the client certificate ``peer`` (DER), from ``address``."""
        given = {name.encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
        if token is not None:
            given[b"authorization"] = f"Bearer {token}".encode()
        app: ASGIApp = self.application if peer is None else _with_peer(self.application, peer)
        transport = httpx.ASGITransport(app=app, client=(address, 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost:8443") as client:
            return await client.request(method, path, headers=list(given.items()), **more)

    async def issued(
        self, *names: str, token: str | None = None, by: Subscriber | None = None, **options: object
    ) -> dict[str, Any]:
        """The answer to a request that is granted."""
        holder = subscriber() if by is None else by
        body = {"csr": base64(holder.csr(*(names or ("dns:web.lab.internal",))))} | options
        answer = await self.ask("POST", "/v1/certificates", token=token or self.admin, json=body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def renew(
        self, parent: Mapping[str, Any], *names: str, by: Subscriber, to: Subscriber, **options: Any
    ) -> httpx.Response:
        """Ask to replace ``parent``, which ``by`` holds, with a certificate for the key of ``to``."""
        headers = options.pop("headers", None)
        request = to.csr(*(names or parent["names"]))
        body = {
            "csr": base64(request),
            "signature": by.renewal_signature(octets(parent["renewal_challenge"]), request),
        } | options
        path = f"/v1/certificates/{parent['serial']}/renewals"
        return await self.ask("POST", path, json=body, headers=headers)

    async def authsign(self, request: bytes, key: bytes = CFSSL_KEY) -> httpx.Response:
        """CFSSL's ``authsign`` of ``request`` (JSON), sealed by ``key``."""
        sealed = {"token": base64(hmac.new(key, request, sha256).digest()), "request": base64(request)}
        return await self.ask("POST", "/api/v1/cfssl/authsign", json=sealed)


def octets(text: str) -> bytes:
    """Base64 of either alphabet, without padding, as our answers write it."""
    return urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))


def certificate_of(answer: Mapping[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(answer["certificate"].encode())


def codes_of(answer: httpx.Response) -> list[str]:
    """The codes of a problem document, as often as they stand in it."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return [reason["code"] for reason in answer.json()["reasons"]]


def fields_of(answer: httpx.Response) -> set[str | None]:
    return {reason.get("field") for reason in answer.json()["reasons"]}


def _with_peer(app: ASGIApp, peer: bytes) -> ASGIApp:
    """As the listener does it after a handshake with a client certificate."""

    async def shown(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {PEER_CERTIFICATE: peer}
        await app(scope, receive, send)

    return shown


@asynccontextmanager
async def running(
    *,
    now: int = NOW + 86_400,
    log: Log | None = None,
    store: Store | None = None,
    signer: Callable[[FileSigner], Signer] = lambda signer: signer,
    rules: Iterable[CertificateRule] = (),
    profiles: Mapping[str, Profile] = BUILTIN,
    failures_per_minute: int = 60,
    requests_per_minute: int = 60_000,
    refusals_per_minute: int = 600,
    at: Lab | None = None,
    urls: URLs = URLS,
) -> AsyncIterator[Authority]:
    """A founded authority with its application. ``signer`` may put something between the desk and the issuing key."""
    home = lab() if at is None else at
    clock = Clock(now)
    used_log: Log = MemoryLog() if log is None else log
    used_store: Store = MemoryStore() if store is None else store
    projector = Projector(used_log, used_store, VIEWS)
    projector.catch_up()
    follower = Follower(used_log, projector)
    ledger = Ledger(log=used_log, store=used_store, follower=follower, clock=clock, entropy=os.urandom)
    issuers = Issuers(ledger, {home.facts.issuer: signer(home.signer)}, profiles, urls)
    public = frozenset(profile.name for profile in profiles.values() if not profile.internal)
    failures = Rate(failures_per_minute, burst=failures_per_minute)
    guard = Guard(
        token_by_hash=ledger.state.token_by_hash,
        certificate=ledger.state.certificate,
        rules=tuple(rules),
        clock=clock,
        failures=failures,
    )
    noted = Rate(refusals_per_minute, burst=refusals_per_minute)
    parts = _Parts(
        ledger=ledger,
        issuers=issuers,
        issuance=IssuanceDesk(ledger, issuers),
        revocation=RevocationDesk(ledger),
        tokens=TokenDesk(ledger, public),
        refusals=RefusalDesk(ledger, functools.partial(_may_note, noted)),
        follower=follower,
        guard=guard,
        guesses=Rate(failures_per_minute, burst=failures_per_minute),
        metrics=Metrics(),
        lines=Lines(),
        cfssl_keys={
            "default": cfssl_api.AuthKey(key=CFSSL_KEY, names=EVERYTHING, profiles=("server",)),
            "narrow": cfssl_api.AuthKey(
                key=CFSSL_KEY[::-1], names=("one.lab.internal",), profiles=("client",)
            ),
        },
    )
    ended = asyncio.Event()
    follower.start()
    try:
        founding = FoundingDesk(ledger)
        if ledger.state.authority() is None:
            await founding.found(
                FoundCommand(
                    authority=AUTHORITY,
                    name="Lab",
                    root=home.root,
                    intermediate=home.intermediate,
                    requester=ADA,
                )
            )
        admin, _ = await parts.tokens.create(
            CreateToken(
                role="admin",
                names=EVERYTHING,
                profiles=tuple(sorted(public)),
                lifetime_seconds=86_400 * 365,
                label="first",
            ),
            ADA,
        )
        yield Authority(
            clock=clock,
            lab=home,
            log=used_log,
            store=used_store,
            projector=projector,
            follower=follower,
            ledger=ledger,
            issuers=issuers,
            issuance=parts.issuance,
            revocation=parts.revocation,
            tokens=parts.tokens,
            founding=founding,
            guard=guard,
            metrics=parts.metrics,
            application=Application(
                parts.routes(),
                metrics=parts.metrics,
                lines=parts.lines,
                rate=Rate(requests_per_minute),
                end=ended.set,
            ),
            ended=ended,
            admin=admin,
            cfssl_keys=parts.cfssl_keys,
        )
    finally:
        await asyncio.to_thread(follower.stop)


def _may_note(noted: Rate, requester: str) -> bool:
    allowed = noted.allows(requester)
    noted.note(requester)
    return allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the routes are made of."""

    ledger: Ledger
    issuers: Issuers
    issuance: IssuanceDesk
    revocation: RevocationDesk
    tokens: TokenDesk
    refusals: RefusalDesk
    follower: Follower
    guard: Guard
    guesses: Rate
    metrics: Metrics
    lines: Lines
    cfssl_keys: Mapping[str, cfssl_api.AuthKey]

    def routes(self) -> list[Route]:
        state, store, clock = self.ledger.state, self.ledger.store, self.ledger.now
        return [
            *issuance_api.routes(
                desk=self.issuance,
                issuers=self.issuers,
                refusals=self.refusals,
                guard=self.guard,
                parse_csr=csr.parse,
                metrics=self.metrics,
                lines=self.lines,
                body_octets_max=BODY_OCTETS_MAX,
            ),
            *renewal_api.routes(
                desk=self.issuance,
                refusals=self.refusals,
                state=state,
                store=store,
                guard=self.guard,
                clock=clock,
                parse_csr=csr.parse,
                metrics=self.metrics,
                lines=self.lines,
                body_octets_max=BODY_OCTETS_MAX,
            ),
            *revocation_api.routes(
                desk=self.revocation,
                state=state,
                guard=self.guard,
                clock=clock,
                guesses=self.guesses,
                metrics=self.metrics,
                lines=self.lines,
                body_octets_max=BODY_OCTETS_MAX,
            ),
            *access_api.routes(
                desk=self.tokens, store=store, guard=self.guard, body_octets_max=BODY_OCTETS_MAX
            ),
            *monitor_api.routes(
                issuers=self.issuers,
                read=self.ledger.read,
                state=state,
                store=store,
                follower=self.follower,
                guard=self.guard,
                clock=clock,
                metrics=self.metrics,
                lag_records_max=100,
            ),
            *cfssl_api.routes(
                cfssl_api.Desks(
                    issuance=self.issuance,
                    revocation=self.revocation,
                    refusals=self.refusals,
                    issuers=self.issuers,
                    state=state,
                    read=self.ledger.read,
                    guard=self.guard,
                    parse_csr=csr.parse,
                    auth_keys=self.cfssl_keys,
                    default_profile="server",
                    body_octets_max=BODY_OCTETS_MAX,
                    metrics=self.metrics,
                    lines=self.lines,
                )
            ),
        ]
