"""How a responder without an issuing key gets its certificate: it asks the process that holds the key, over a local socket.

The responder's key is made by the responder and stays with it; what goes over the socket is a public key, and a certificate that
is in the log. The socket lies in the data directory, which only its owner may enter. What can be had here is a certificate that
signs OCSP answers, and nothing else.

One line of JSON each way per connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from quicklime.authority.commands import SystemCommand
from quicklime.authority.issuance import IssuanceDesk
from quicklime.errors import Fault, Refused
from quicklime.services.ocsp.responder import Obtain, Obtained

LINE_OCTETS_MAX = 65_536
NODE_CHARACTERS_MAX = 64
ANSWER_SECONDS_MAX = 30.0
ASKED_SECONDS_MAX = 5.0
# each is a record for ever: a responder that has gone wrong must not fill the log
GRANTS_PER_HOUR_MAX = 240


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A P-256 key (SPKI, DER) to be certified by ``issuer``; ``predecessor`` is the serial that it replaces."""

    issuer: str
    public_key: bytes
    node: str
    predecessor: str | None


class _Answer(msgspec.Struct, frozen=True):
    granted: Obtained | None = None
    refused: str = ""


Grant = Callable[[Asked], Awaitable[Obtained]]


def obtain_from(desk: IssuanceDesk) -> Grant:
    """Certificates for responders by the ordinary path."""

    async def grant(asked: Asked) -> Obtained:
        granted = await desk.issue_to_system(
            SystemCommand(
                profile="ocsp-responder",
                names=(),
                public_key=asked.public_key,
                key_type="ecdsa-p256",
                node=asked.node,
                issuer=asked.issuer,
                predecessor=asked.predecessor,
            )
        )
        found = granted.certificate
        return Obtained(
            certificate=granted.chain[0],
            serial=found.serial,
            not_before=found.not_before,
            not_after=found.not_after,
        )

    return grant


def node_of(issuer: str, number: int) -> str:
    """The node of a responder's lineage; the first keeps the name that it has where it is the only one."""
    return f"ocsp {issuer[:8]}" + (f" {number}" if number > 1 else "")


class ResponderDesk:
    """Answers at the socket."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._granted: list[float] = []
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=LINE_OCTETS_MAX)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASKED_SECONDS_MAX):
                line = await reader.readline()
            writer.write(msgspec.json.encode(await self._answer(line)) + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, OSError):
            pass  # whoever asked went away, or asks nothing that can be read: it hears nothing and asks again
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> _Answer:
        try:
            asked = msgspec.json.decode(line, type=Asked)
            _check(asked)
            self._count()
            return _Answer(granted=await self._grant(asked))
        except (Fault, Refused, msgspec.MsgspecError) as error:
            return _Answer(refused=f"{type(error).__name__}: {error}")

    def _count(self) -> None:
        now = asyncio.get_running_loop().time()
        self._granted = [one for one in self._granted if one > now - 3600]
        if len(self._granted) >= GRANTS_PER_HOUR_MAX:
            raise Fault(f"{GRANTS_PER_HOUR_MAX} responders were certified within the hour")
        self._granted.append(now)


def _check(asked: Asked) -> None:
    """Raises Fault where the key is not of the kind that responders make, or the node no name."""
    try:
        key = load_der_public_key(asked.public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Fault(f"the responder's key can't be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Fault("the responder's key is not on P-256")
    if not 0 < len(asked.node) <= NODE_CHARACTERS_MAX or not asked.node.isprintable():
        raise Fault("the responder's node is not a name")


def asking(path: Path, number: int) -> Obtain:
    """Obtain certificates from the desk whose socket is ``path``."""

    async def obtain(issuer: str, public_key: bytes, predecessor: str | None) -> Obtained:
        asked = Asked(issuer, public_key, node_of(issuer, number), predecessor)
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                line = await _exchange(path, msgspec.json.encode(asked) + b"\n")
            answer = msgspec.json.decode(line, type=_Answer)
        except (TimeoutError, OSError, ValueError) as error:
            raise Fault(
                f"the process that holds the issuing key did not answer: {type(error).__name__} {error}"
            ) from None
        if answer.granted is None:
            raise Fault(f"no certificate for the OCSP responder: {answer.refused}")
        return answer.granted

    return obtain


async def _exchange(path: Path, line: bytes) -> bytes:
    # a socket's path is at most 107 octets, a data directory's may be longer
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        reader, writer = await asyncio.open_unix_connection(
            f"/proc/self/fd/{folder}/{path.name}", limit=LINE_OCTETS_MAX
        )
    finally:
        os.close(folder)
    try:
        writer.write(line)
        return await reader.readline()
    finally:
        writer.close()


def listen_at(path: Path) -> socket.socket:
    """The desk's socket, made anew. Made by the supervisor, so that who asks waits while the upkeep is replaced."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o600)
        listening.listen()
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    finally:
        os.close(folder)
    return listening
