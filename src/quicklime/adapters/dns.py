"""DNS as a validator asks: one recursive resolver, UDP then TCP, each question bounded in time.

What is taken from an answer is only what answers the question: the library checks id, question and source address of each
response, and this adapter follows CNAMEs inside the answer alone, a bounded number of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from dns.rdtypes.ANY.CAA import CAA
from dns.rdtypes.ANY.TXT import TXT

from quicklime.validation import CNAMES_MAX, CAARecord, Unanswered

TIMEOUT_SECONDS = 5.0
TRIES = 2
EDNS_OCTETS = 1232
RECORDS_MAX = 200


class DNSResolver:
    """Asks the resolver at ``host`` (an IP address) and ``port``."""

    def __init__(self, host: str, port: int, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._host = host
        self._port = port
        self._timeout_seconds = timeout_seconds

    @property
    def address(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def addresses(self, name: str) -> list[str]:
        """IPv6 first. Where only one of the two questions is answered, its answer counts."""
        found = await asyncio.gather(
            self._records(name, dns.rdatatype.AAAA),
            self._records(name, dns.rdatatype.A),
            return_exceptions=True,
        )
        answered = [one for one in found if not isinstance(one, BaseException)]
        if not answered:
            raise next(one for one in found if isinstance(one, BaseException))
        return [record.to_text() for records in answered for record in records]

    async def texts(self, name: str) -> list[str]:
        return [
            b"".join(record.strings).decode("utf-8", "replace")
            for record in await self._records(name, dns.rdatatype.TXT)
            if isinstance(record, TXT)
        ]

    async def caa(self, name: str) -> list[CAARecord]:
        return [
            CAARecord(
                flags=record.flags,
                tag=record.tag.decode("ascii", "replace"),
                value=record.value.decode("utf-8", "replace"),
            )
            for record in await self._records(name, dns.rdatatype.CAA)
            if isinstance(record, CAA)
        ]

    async def _records(self, name: str, kind: dns.rdatatype.RdataType) -> list[dns.rdata.Rdata]:
        try:
            asked = dns.name.from_text(_mixed_case(name))
        except dns.exception.DNSException:
            raise Unanswered("dns", f"{name[:80]!r} can't be asked for in DNS") from None
        text = f"{kind.name} of {name}"
        response = await self._response(asked, kind, text)
        if response.rcode() == dns.rcode.NXDOMAIN:
            return []
        if response.rcode() != dns.rcode.NOERROR:
            raise Unanswered("dns", f"{text}: the resolver answered {dns.rcode.to_text(response.rcode())}")
        return _following(response, asked, kind, text)

    async def _response(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, text: str
    ) -> dns.message.Message:
        for attempt in range(TRIES):
            query = dns.message.make_query(name, kind, use_edns=0, payload=EDNS_OCTETS)
            with contextlib.suppress(dns.exception.Timeout):
                try:
                    # an answer to another question, or from elsewhere, is left aside until the time is up
                    response, _ = await dns.asyncquery.udp_with_fallback(
                        query,
                        self._host,
                        timeout=self._timeout_seconds,
                        port=self._port,
                        ignore_unexpected=True,
                        ignore_errors=True,
                    )
                except (OSError, EOFError, dns.exception.DNSException) as error:
                    if isinstance(error, dns.exception.Timeout):
                        raise
                    if attempt + 1 == TRIES:
                        raise Unanswered("dns", f"{text}: no answer ({type(error).__name__})") from None
                    continue
                if response.question and response.question[0].name.labels == name.labels:
                    return response
                # the case was not repeated: asked again where no forger can answer blindly
                return await self._over_tcp(query, text)
        raise Unanswered("dns", f"{text}: no answer within {self._timeout_seconds:g} s")

    async def _over_tcp(self, query: dns.message.Message, text: str) -> dns.message.Message:
        try:
            return await dns.asyncquery.tcp(query, self._host, timeout=self._timeout_seconds, port=self._port)
        except (OSError, EOFError, dns.exception.DNSException) as error:
            raise Unanswered("dns", f"{text}: no answer over TCP ({type(error).__name__})") from None


def _following(
    response: dns.message.Message, asked: dns.name.Name, kind: dns.rdatatype.RdataType, text: str
) -> list[dns.rdata.Rdata]:
    """The records of ``kind`` at the end of the CNAMEs that the answer holds."""
    name = asked
    for _ in range(CNAMES_MAX + 1):
        found = response.get_rrset(response.answer, name, dns.rdataclass.IN, kind)
        if found is not None:
            return list(found)[:RECORDS_MAX]
        alias = response.get_rrset(response.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None:
            return []
        name = alias[0].target
    raise Unanswered("dns", f"{text}: more than {CNAMES_MAX} CNAMEs, or a loop")


def _mixed_case(name: str) -> str:
    """The name in random case, which an answer has to repeat: what a blind forger would have to guess too."""
    lots = secrets.randbits(max(1, len(name)))
    return "".join(
        character.upper() if lots >> place & 1 else character for place, character in enumerate(name)
    )


def system_resolvers() -> list[str]:
    """What ``/etc/resolv.conf`` names; empty where it can't be read."""
    found = []
    with contextlib.suppress(OSError), open("/etc/resolv.conf", encoding="ascii", errors="replace") as file:  # noqa: PTH123
        for line in file:
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                found.append(words[1].partition("%")[0])
    return found
