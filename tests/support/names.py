"""A small name server on loopback for tests: UDP and TCP, records that a test sets, and misbehaviour that it asks for."""

from __future__ import annotations

import contextlib
import socketserver
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass(slots=True)
class NameServer:
    """``records`` maps (name, type) to texts as in a zone file; a name of ``broken`` gets SERVFAIL, of ``silent`` nothing.

    A name without records that another one is below exists; every other is NXDOMAIN. ``wild`` answers every A question.
    """

    port: int = 0
    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    truncated: bool = False
    lower_case: bool = False
    wild: str | None = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def put(self, name: str, kind: str, *texts: str) -> None:
        self.records[name.lower(), kind] = list(texts)

    def drop(self, name: str, kind: str) -> None:
        self.records.pop((name.lower(), kind), None)

    def answer(self, octets: bytes, transport: str) -> bytes | None:
        query = dns.message.from_wire(octets)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, transport))
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.lower_case:
            response.question[0].name = dns.name.from_text(name)
        if name in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        found = self._add(response, question.name, kind)
        exists = any(one == name or one.endswith(f".{name}") for one, _ in self.records)
        if not found and not exists and not (self.wild and kind in {"A", "AAAA"}):
            response.set_rcode(dns.rcode.NXDOMAIN)
        if self.truncated and transport == "udp":
            response.answer.clear()
            response.flags |= dns.flags.TC
        return response.to_wire(max_size=65_535)

    def _add(self, response: dns.message.Message, name: dns.name.Name, kind: str) -> bool:
        key = name.to_text(omit_final_dot=True).lower()
        for _ in range(20):
            texts = self.records.get((key, kind))
            if texts is None and self.wild is not None and kind == "A":
                texts = [self.wild]
            if texts is not None:
                response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *texts))
                return True
            alias = self.records.get((key, "CNAME"))
            if alias is None:
                return False
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", *alias))
            name = dns.name.from_text(alias[0])
            key = name.to_text(omit_final_dot=True).lower()
        return True


class _UDP(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        octets, socket = self.request
        server: Any = self.server
        answer = server.names.answer(octets, "udp")
        if answer is not None:
            socket.sendto(answer, self.client_address)


class _TCP(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        head = self.rfile.read(2)
        if len(head) == 2:
            server: Any = self.server
            answer = server.names.answer(self.rfile.read(struct.unpack("!H", head)[0]), "tcp")
            if answer is not None:
                self.wfile.write(struct.pack("!H", len(answer)) + answer)


class _UDPServer(socketserver.ThreadingUDPServer):
    daemon_threads = True
    names: NameServer


class _TCPServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    names: NameServer


@contextlib.contextmanager
def serving_names() -> Iterator[NameServer]:
    """A name server on a free port of loopback, the same for UDP and TCP."""
    names = NameServer()
    tcp = _TCPServer(("127.0.0.1", 0), _TCP)
    port = int(tcp.server_address[1])
    udp = _UDPServer(("127.0.0.1", port), _UDP)
    tcp.names = udp.names = names
    names.port = port
    threads = [threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True) for one in (tcp, udp)]
    for thread in threads:
        thread.start()
    try:
        yield names
    finally:
        for server in (tcp, udp):
            server.shutdown()
            server.server_close()
