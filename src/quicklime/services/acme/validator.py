"""The validator: asks for the proof of a name from every vantage point, and keeps what was asked and answered.

Invariants: a name is resolved once, and only the addresses of that answer are dialled, each checked first; a redirect is a new
name, resolved and checked anew; what is refused is refused before a connection is made. Nothing is asked that the client chose
beyond a host: scheme, port and path of a redirect are bounded.

Standards: RFC 8555, Sections 8.3 and 8.4; RFC 8737, Section 3; RFC 8738; RFC 8659, Section 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from quicklime.protocol import Observation
from quicklime.validation import (
    CHALLENGE_PATH,
    DNS_01,
    HTTP_01,
    REDIRECTS_MAX,
    CAARecord,
    Fetched,
    Network,
    Prober,
    Resolver,
    Unanswered,
    caa_names,
    dns_challenge_name,
    dns_value,
    host_of,
    key_authorization,
    server_name_of,
    shown,
    why_caa_forbids,
    why_not_body,
    why_not_certificate,
    why_not_texts,
    why_unreachable,
)

ADDRESSES_MAX = 2
RETRY_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Perspective:
    """A vantage point: who resolves, and from where is dialled."""

    name: str
    resolver: Resolver
    prober: Prober


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How names are validated here. ``own`` are (address, port) of our own services, which are never dialled.

    ``quorum`` is how many vantage points must agree, the first always among them.
    """

    networks: tuple[Network, ...]
    caa_identities: tuple[str, ...]
    caa_checked: bool = True
    http_port: int = 80
    https_port: int = 443
    tls_alpn_port: int = 443
    attempts: int = 2
    quorum: int = 1
    own: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be proved. ``name`` is typed and without wildcard."""

    name: str
    wildcard: bool
    method: str
    token: str
    thumbprint: bytes
    account_url: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """``failure`` is (last part of the ACME error's type, detail); None where the proof was there."""

    evidence: tuple[Observation, ...]
    failure: tuple[str, str] | None = None


class _Failed(Exception):
    """The proof is not there; ``type`` is the last part of the ACME error."""

    def __init__(self, type: str, detail: str) -> None:
        super().__init__(detail)
        self.type = type


class Validator:
    """Validates names from one or several vantage points."""

    def __init__(self, perspectives: Sequence[Perspective], rules: Rules, clock: Callable[[], int]) -> None:
        self._perspectives = tuple(perspectives)
        self._rules = rules
        self._clock = clock

    async def validate(self, task: Task) -> Outcome:
        """Ask from everywhere at once. Never raises for what a name server or a web server does."""
        views = [_View(one, self._rules, self._clock) for one in self._perspectives]
        failures = await asyncio.gather(*(view.prove(task) for view in views))
        evidence = tuple(one for view in views for one in view.evidence)
        agreed = sum(failure is None for failure in failures)
        if failures[0] is None and agreed >= self._rules.quorum:
            return Outcome(evidence)
        failure = next(one for one in failures if one is not None)
        if failures[0] is None:
            detail = f"{agreed} of {len(views)} vantage points saw the proof, expected {self._rules.quorum}: {failure[1]}"
            failure = (failure[0], detail)
        return Outcome(evidence, failure)

    async def check_caa(self, name: str, *, wildcard: bool, method: str, account_url: str) -> Outcome:
        """Whether CAA allows that we issue for this typed name now. IP addresses have none."""
        if not self._rules.caa_checked or name.startswith("ip:"):
            return Outcome(())
        views = [_View(one, self._rules, self._clock) for one in self._perspectives]
        failures = await asyncio.gather(
            *(view.caa(name[4:], wildcard=wildcard, method=method, account_url=account_url) for view in views)
        )
        evidence = tuple(one for view in views for one in view.evidence)
        agreed = sum(failure is None for failure in failures)
        if failures[0] is None and agreed >= self._rules.quorum:
            return Outcome(evidence)
        return Outcome(evidence, next(one for one in failures if one is not None))


class _View:
    """One validation from one vantage point."""

    def __init__(self, perspective: Perspective, rules: Rules, clock: Callable[[], int]) -> None:
        self._perspective = perspective
        self._rules = rules
        self._clock = clock
        self.evidence: list[Observation] = []

    def _note(self, asked: str, of: str, answer: str) -> None:
        self.evidence.append(
            Observation(
                asked=asked, of=of, answer=answer, at=self._clock(), perspective=self._perspective.name
            )
        )

    async def prove(self, task: Task) -> tuple[str, str] | None:
        """The failure, None where the proof was seen."""
        last: tuple[str, str] = ("serverInternal", "nothing was asked")
        for attempt in range(self._rules.attempts):
            if attempt:
                await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._prove(task)
            except _Failed as failed:
                # somebody answered, and the answer is not the proof: asking again would be guessing
                return failed.type, str(failed)
            except Unanswered as unanswered:
                last = unanswered.type, str(unanswered)
            else:
                return None
        return last

    async def _prove(self, task: Task) -> None:
        if task.method == DNS_01:
            await self._prove_by_dns(task)
        elif task.method == HTTP_01:
            await self._prove_by_http(task)
        else:
            await self._prove_by_tls(task)

    # --- dns-01 -----------------------------------------------------------------------------------------------------

    async def _prove_by_dns(self, task: Task) -> None:
        resolver = self._perspective.resolver
        asked = dns_challenge_name(task.name[4:])
        try:
            texts = await resolver.texts(asked)
        except Unanswered as unanswered:
            self._note(f"TXT {asked}", resolver.address, str(unanswered))
            raise
        self._note(f"TXT {asked}", resolver.address, shown(" ".join(texts[:8]).encode()) or "none")
        why = why_not_texts(texts, dns_value(task.token, task.thumbprint))
        if why is not None:
            raise _Failed("unauthorized" if texts else "dns", f"TXT of {asked}: {why}")

    # --- http-01 ----------------------------------------------------------------------------------------------------

    async def _prove_by_http(self, task: Task) -> None:
        expected = key_authorization(task.token, task.thumbprint)
        rules = self._rules
        url = f"http://{host_of(task.name)}{CHALLENGE_PATH}{task.token}"
        scheme, host, port, target = "http", task.name.partition(":")[2], rules.http_port, _target(url)
        for _ in range(REDIRECTS_MAX + 1):
            fetched = await self._fetch(scheme, host, port, target)
            if fetched.status not in {301, 302, 303, 307, 308} or fetched.location is None:
                why = why_not_body(fetched, expected)
                if why is not None:
                    raise _Failed("unauthorized", f"{url}: {why}")
                return
            url, scheme, host, port, target = self._redirected(url, fetched.location)
        raise _Failed("connection", f"more than {REDIRECTS_MAX} redirects")

    def _redirected(self, url: str, location: str) -> tuple[str, str, str, int, str]:
        """URL, scheme, host, port and target of a redirect. Raises _Failed for all but http and https on their ports."""
        # before it is joined: the library leaves out line ends, and what was checked must be what is used
        if any(ord(character) <= 0x20 or ord(character) >= 0x7F for character in location):
            raise _Failed("connection", "the redirect holds characters that no URL has")
        try:
            url = urljoin(url, location)
            parts = urlsplit(url)
            port, host = parts.port, parts.hostname or ""
        except ValueError:
            raise _Failed("connection", "the redirect is no URL") from None
        standard = {"http": self._rules.http_port, "https": self._rules.https_port}
        if parts.scheme not in standard or not host or parts.username is not None:
            raise _Failed("connection", "the redirect is not to http or https")
        # RFC 8555, Sections 8.3 and 10.4: a redirect must not make the validator ask just any service
        allowed = {*standard.values(), 80, 443}
        if port is not None and port not in allowed:
            raise _Failed("connection", f"the redirect is to port {port}, expected one of {sorted(allowed)}")
        usual = {None: standard[parts.scheme], 80: standard["http"], 443: standard["https"]}
        chosen = usual.get(port, port or 0)
        return url, parts.scheme, host, chosen, _target(url)

    async def _fetch(self, scheme: str, host: str, port: int, target: str) -> Fetched:
        bare = f"[{host}]" if ":" in host else host
        default = port == {"http": 80, "https": 443}[scheme]
        header = bare if default else f"{bare}:{port}"
        last: Unanswered | None = None
        for address in await self._addresses(host, port):
            asked = f"GET {scheme}://{header}{target[:100]}"
            try:
                fetched = await self._perspective.prober.fetch(
                    scheme=scheme, address=address, port=port, host=header, target=target
                )
            except Unanswered as unanswered:
                self._note(asked, address, str(unanswered))
                last = unanswered
                continue
            self._note(asked, address, _answer(fetched))
            return fetched
        assert last is not None
        raise last

    # --- tls-alpn-01 ------------------------------------------------------------------------------------------------

    async def _prove_by_tls(self, task: Task) -> None:
        port, server_name = self._rules.tls_alpn_port, server_name_of(task.name)
        last: Unanswered | None = None
        for address in await self._addresses(task.name.partition(":")[2], port):
            asked = f"TLS {server_name}:{port}"
            try:
                certificate = await self._perspective.prober.alpn_certificate(
                    address=address, port=port, server_name=server_name
                )
            except Unanswered as unanswered:
                self._note(asked, address, str(unanswered))
                last = unanswered
                continue
            why = why_not_certificate(certificate, task.name, key_authorization(task.token, task.thumbprint))
            self._note(asked, address, why or "the certificate with the digest")
            if why is not None:
                raise _Failed("unauthorized", f"{server_name} at {address}: {why}")
            return
        assert last is not None
        raise last

    # --- which addresses --------------------------------------------------------------------------------------------

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses to dial, one of each family at most, IPv6 first. Raises _Failed, Unanswered (``dns``)."""
        found = await self._resolved(host)
        reasons = {address: self._why_not(address, port) for address in found}
        usable = [address for address, why in reasons.items() if why is None]
        if not usable:
            whys = "; ".join(why for why in reasons.values() if why is not None)
            raise _Failed("connection" if found else "dns", f"{host[:255]}: {whys or 'no A or AAAA record'}")
        first = {ip_address(address).version: address for address in reversed(usable)}
        return [first[version] for version in (6, 4) if version in first][:ADDRESSES_MAX]

    async def _resolved(self, host: str) -> Sequence[str]:
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        # what a system's resolver would take for an address ("127.1", "0x7f.1", "2130706433") is a name here, and has none
        resolver = self._perspective.resolver
        try:
            found = await resolver.addresses(host)
        except Unanswered as unanswered:
            self._note(f"A, AAAA {host[:255]}", resolver.address, str(unanswered))
            raise
        self._note(f"A, AAAA {host[:255]}", resolver.address, " ".join(found[:8]) or "none")
        return found

    def _why_not(self, address: str, port: int) -> str | None:
        why = why_unreachable(address, self._rules.networks)
        if why is None and (address, port) in self._rules.own:
            return f"{address} port {port} is a service of this authority"
        return why

    # --- CAA --------------------------------------------------------------------------------------------------------

    async def caa(
        self, name: str, *, wildcard: bool, method: str, account_url: str
    ) -> tuple[str, str] | None:
        """Why CAA forbids, as a failure; None where it allows."""
        resolver = self._perspective.resolver
        for place in caa_names(name):
            try:
                records: Sequence[CAARecord] = await resolver.caa(place)
            except Unanswered as unanswered:
                self._note(f"CAA {place}", resolver.address, str(unanswered))
                return "caa", f"CAA can't be looked up, so nothing is issued: {unanswered}"
            if records:
                answer = "; ".join(f"{one.flags} {one.tag} {one.value}" for one in records[:8])
                self._note(f"CAA {place}", resolver.address, shown(answer.encode()))
                why = why_caa_forbids(
                    records,
                    identities=self._rules.caa_identities,
                    wildcard=wildcard,
                    account_url=account_url,
                    method=method,
                )
                return None if why is None else ("caa", f"{place}: {why}")
        self._note(f"CAA {name} and its parents", resolver.address, "none")
        return None


def _target(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def _answer(fetched: Fetched) -> str:
    said = fetched.body if fetched.location is None else f"to {fetched.location}".encode()
    return f"{fetched.status} {shown(said)}"
