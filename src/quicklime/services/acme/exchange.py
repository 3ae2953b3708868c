"""One signed request: who signed it, for which URL, with which nonce; and what every answer is made with.

Order of the checks (RFC 8555, Section 6): media type, form, algorithm, who the key is, signature, URL, nonce. A nonce is used up
only by a request that is otherwise in order, so a stranger can't burn another's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from quicklime.authority.acme import AccountDesk, OrderDesk
from quicklime.authority.issuance import IssuanceDesk
from quicklime.authority.issuers import Issuers
from quicklime.authority.ledger import ProtocolLedger
from quicklime.authority.refusals import RefusalDesk
from quicklime.authority.revocation import RevocationDesk
from quicklime.events import Event, Requester
from quicklime.lifecycle.account import Account
from quicklime.pki import jws
from quicklime.pki.csr import CheckedCSR
from quicklime.pki.jws import Key, Unacceptable
from quicklime.projection import State
from quicklime.services.acme.nonces import Nonces
from quicklime.services.acme.validator import Outcome, Validator
from quicklime.services.acme.wire import Problem, payload_of
from quicklime.telemetry import Lines, Metrics
from quicklime.web.auth import address_of
from quicklime.web.limits import Rate, read_body
from quicklime.web.render import json_response, media_type

PREFIX = "/acme"
JOSE_MEDIA_TYPE = "application/jose+json"
JOSE_OCTETS_MAX = 128 * 1024

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """One ACME directory and its policy. ``names`` empty: whatever the issuer's constraints allow."""

    name: str
    names: tuple[str, ...]
    profiles: tuple[str, ...]
    methods: tuple[str, ...]
    binding_required: bool = False
    terms: str | None = None
    website: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often: new accounts by address, orders by account, failed validations by account and name."""

    accounts: Rate
    orders: Rate
    failures: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Desks:
    """What this service works with. ``read`` gives the event at an offset of the ledger; ``hosts`` are the names of the API.

    ``url`` is where clients see this server, where a proxy stands in between; else the host they name counts, if it is ours.
    """

    accounts: AccountDesk
    orders: OrderDesk
    protocol: ProtocolLedger
    issuance: IssuanceDesk
    revocation: RevocationDesk
    refusals: RefusalDesk
    issuers: Issuers
    state: State
    read: Callable[[int], Event]
    validator: Validator
    nonces: Nonces
    directories: Mapping[str, Directory]
    hosts: tuple[str, ...]
    port: int
    url: str | None
    caa_identities: tuple[str, ...]
    parse_csr: Callable[[bytes], CheckedCSR]
    clock: Callable[[], int]
    rates: Rates
    metrics: Metrics
    lines: Lines
    validations: dict[str, asyncio.Task[Outcome]] = field(default_factory=dict)

    def canonical_url(self) -> str:
        """Where this server is, in one spelling: what an account's URL in DNS begins with."""
        if self.url is not None:
            return self.url
        return f"https://{_bracketed(self.hosts[0])}" + ("" if self.port == 443 else f":{self.port}")

    def base_of(self, request: Request) -> str:
        """Scheme and authority under which the client sees us. A host that is not ours counts for nothing."""
        if self.url is None:
            host = request.headers.get("host", "")
            name, _, port = host.rpartition(":")
            if not port.isdecimal():
                name = host
            if name.strip("[]").lower() in self.hosts:
                return f"https://{host.lower()}"
        return self.canonical_url()

    def account_of_url(self, url: object, directory: Directory) -> str | None:
        """The id in an account's URL, under any name by which clients may know us."""
        path = f"{PREFIX}/{directory.name}/account/"
        if not isinstance(url, str) or not url.startswith("https://"):
            return None
        base, found, identifier = url.partition(path)
        if not found or "/" in identifier:
            return None
        if base == self.canonical_url():
            return identifier
        host = base.removeprefix("https://")
        name, _, port = host.rpartition(":")
        bare = (name if port.isdecimal() else host).strip("[]").lower()
        return identifier if self.url is None and bare in self.hosts else None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request whose signature, URL and nonce are in order. ``payload`` is b"" for POST-as-GET.

    ``account`` is who signed; None where a bare key did.
    """

    desks: Desks
    directory: Directory
    request: Request
    base: str
    key: Key
    payload: bytes
    signed_url: str
    known: Account | None

    @property
    def account(self) -> Account:
        if self.known is None:
            raise Problem("malformed", "the request is signed by a bare key, expected kid")
        return self.known

    @property
    def requester(self) -> Requester:
        return Requester(kind="acme", id=self.account.account)

    @property
    def address(self) -> str:
        return address_of(self.request)

    @property
    def account_url(self) -> str:
        """The account's URL as DNS records name it: the same under whichever name the client sees us."""
        return f"{self.desks.canonical_url()}{PREFIX}/{self.directory.name}/account/{self.account.account}"

    def url(self, *parts: str) -> str:
        return f"{self.base}{PREFIX}/{self.directory.name}/{'/'.join(parts)}"

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def asked(self, shape: type[Shape]) -> Shape:
        """The payload as ``shape``. Raises Problem."""
        if not self.payload:
            raise Problem("malformed", "the payload is empty, expected a JSON object")
        return payload_of(self.payload, shape)

    def only_reads(self) -> None:
        """Raises Problem where a POST-as-GET has a payload (RFC 8555, Section 6.3)."""
        if self.payload:
            raise Problem("malformed", 'the payload is not empty: a POST-as-GET has the payload ""')


async def signed(
    desks: Desks, directory: Directory, request: Request, by: Literal["account", "key", "either"]
) -> Exchange:
    """The request, checked. Raises Problem, Refused (``request-too-large``)."""
    if media_type(request) != JOSE_MEDIA_TYPE:
        raise Problem("malformed", f"media type is not {JOSE_MEDIA_TYPE!r}", status=415)
    body = await read_body(request, JOSE_OCTETS_MAX)
    base = desks.base_of(request)
    await desks.protocol.catch_up()
    try:
        message = jws.parse(body)
        key, account = _signer(desks, directory, message, by)
        jws.verify(message, key)
        url = base + request.url.path + (f"?{request.url.query}" if request.url.query else "")
        # RFC 8555, Section 6.4
        if message.header.get("url") != url:
            raise Problem("unauthorized", f"the signed url is not {url!r}")
        await desks.nonces.take(message.header.get("nonce"))
    except Unacceptable as error:
        raise unacceptable(error) from None
    if account is not None and account.status != "valid":
        # RFC 8555, Section 7.3.6
        raise Problem("unauthorized", f"the account is {account.status}")
    return Exchange(
        desks=desks,
        directory=directory,
        request=request,
        base=base,
        key=key,
        payload=message.payload,
        signed_url=url,
        known=account,
    )


def unacceptable(error: Unacceptable) -> Problem:
    # RFC 8555, Section 6.2: the algorithms that are taken are told
    algorithms = jws.ALGORITHMS if error.type == "badSignatureAlgorithm" else ()
    return Problem(error.type, str(error), algorithms=algorithms)


def _signer(
    desks: Desks, directory: Directory, message: jws.Signed, by: Literal["account", "key", "either"]
) -> tuple[Key, Account | None]:
    has_key, has_account = "jwk" in message.header, "kid" in message.header
    if has_key == has_account:
        raise Unacceptable("malformed", "the protected header holds not exactly one of jwk and kid")
    if has_key:
        if by == "account":
            raise Unacceptable("malformed", "the request is signed with jwk, expected kid")
        return jws.read_key(message.header["jwk"]), None
    if by == "key":
        raise Unacceptable("malformed", "the request is signed with kid, expected jwk")
    identifier = desks.account_of_url(message.header["kid"], directory)
    account = None if identifier is None else desks.state.acme_account(identifier)
    if account is None or account.directory != directory.name:
        raise Unacceptable("accountDoesNotExist", "kid is not the URL of an account in this directory")
    return jws.read_key(json.loads(account.jwk)), account


def document(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return json_response(content, status, dict(headers or {}))
