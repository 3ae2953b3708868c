"""A TCP proxy on loopback that loses acknowledgements: a broker gets the records, its answer does not come back.

It reads the frames of Kafka's protocol: four octets of length; a request begins with its API key, version and correlation id,
an answer with the correlation id.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

PRODUCE = 0


class Proxy:
    """Forwards connections from ``port`` to ``target``. While ``losing`` is set, an answer to a produce request ends its connection."""

    def __init__(self, port: int, target: int) -> None:
        self.losing = threading.Event()
        self.lost = threading.Event()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += (client, server)
                produced: set[int] = set()
                threading.Thread(target=self._ask, args=(client, server, produced), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, produced), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, produced: set[int]) -> None:
        for frame in _frames(client):
            key, _, correlation = struct.unpack_from(">hhi", frame, 4)
            if key == PRODUCE:
                produced.add(correlation)
            server.sendall(frame)
        _cut(client, server)

    def _answer(self, server: socket.socket, client: socket.socket, produced: set[int]) -> None:
        for frame in _frames(server):
            (correlation,) = struct.unpack_from(">i", frame, 4)
            if correlation in produced and self.losing.is_set():
                self.lost.set()
                break
            client.sendall(frame)
        _cut(client, server)


def _frames(source: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError, struct.error):
        while True:
            head = _exactly(source, 4)
            yield head + _exactly(source, struct.unpack(">i", head)[0])


def _exactly(source: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = source.recv(count - len(found))
        if not data:
            raise OSError("the connection ended")
        found += data
    return found


def _cut(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
