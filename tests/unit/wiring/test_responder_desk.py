"""How a responder without an issuing key gets its certificate: over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from quicklime.errors import Fault
from quicklime.services.ocsp.responder import Obtained
from quicklime.wiring.parts import responder_desk
from quicklime.wiring.parts.responder_desk import (
    GRANTS_PER_HOUR_MAX,
    Asked,
    ResponderDesk,
    asking,
    listen_at,
    obtain_from,
)
from tests.support.authority import Authority, running
from tests.support.lab import subscriber_key

KEY = "ecdsa-p256"


@asynccontextmanager
async def desk(path: Path, here: Authority) -> AsyncIterator[None]:
    listening = listen_at(path)
    serving = ResponderDesk(obtain_from(here.issuance))
    await serving.start(listening)
    try:
        yield
    finally:
        await serving.stop()


def issuer_of(here: Authority) -> str:
    return here.lab.facts.issuer


async def test_a_certificate_for_the_key_that_was_shown_is_had(tmp_path: Path) -> None:
    async with running() as here, desk(tmp_path / "desk", here):
        obtained = await asking(tmp_path / "desk", 2)(issuer_of(here), subscriber_key(KEY), None)
        assert (tmp_path / "desk").stat().st_mode & 0o777 == 0o600
        known = here.state.certificate(obtained.serial)
    assert known is not None
    assert (known.profile, known.node, known.public_key) == (
        "ocsp-responder",
        f"ocsp {issuer_of(here)[:8]} 2",
        subscriber_key(KEY),
    )
    made = x509.load_der_x509_certificate(obtained.certificate)
    usages = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [usage.dotted_string for usage in usages] == ["1.3.6.1.5.5.7.3.9"]
    assert made.extensions.get_extension_for_class(x509.OCSPNoCheck).critical is False


async def test_its_successor_replaces_it(tmp_path: Path) -> None:
    async with running() as here, desk(tmp_path / "desk", here):
        obtain = asking(tmp_path / "desk", 1)
        first = await obtain(issuer_of(here), subscriber_key(KEY), None)
        second = await obtain(issuer_of(here), subscriber_key(KEY), first.serial)
        known = here.state.certificate(second.serial)
    assert known is not None
    assert known.predecessor == first.serial


async def test_the_path_may_be_longer_than_a_socket_s_may(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    async with running() as here, desk(folder / "desk", here):
        assert (await asking(folder / "desk", 1)(issuer_of(here), subscriber_key(KEY), None)).serial
    assert stat.S_ISSOCK((folder / "desk").stat().st_mode)


@pytest.mark.parametrize("kind", ["rsa-3072", "ecdsa-p384", "ed25519"])
async def test_a_key_of_another_kind_is_not_certified(tmp_path: Path, kind: str) -> None:
    async with running() as here, desk(tmp_path / "desk", here):
        before = len(here.events())
        with pytest.raises(Fault, match="not on P-256"):
            await asking(tmp_path / "desk", 1)(issuer_of(here), subscriber_key(kind), None)
        assert len(here.events()) == before


@pytest.mark.parametrize("issuer", ["00" * 20, "nobody"])
async def test_an_issuer_that_is_not_here_certifies_nothing(tmp_path: Path, issuer: str) -> None:
    async with running() as here, desk(tmp_path / "desk", here):
        with pytest.raises(Fault, match="issuer"):
            await asking(tmp_path / "desk", 1)(issuer, subscriber_key(KEY), None)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[1]\n",
        b'{"issuer":"a","public_key":"AA==","node":"n","predecessor":null,"profile":"server"}\n',
        b'{"issuer":"a","public_key":"AA==","node":"","predecessor":null}\n',
        b"\xff\n",
    ],
)
async def test_nothing_else_can_be_asked(tmp_path: Path, line: bytes) -> None:
    async with running() as here, desk(tmp_path / "desk", here):
        before = len(here.events())
        answer = await responder_desk._exchange(tmp_path / "desk", line)
        assert b'"granted":null' in answer
        assert len(here.events()) == before


async def test_a_line_without_end_is_not_kept(tmp_path: Path) -> None:
    async with running() as here, desk(tmp_path / "desk", here):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "desk"))
        writer.write(b"x" * (4 * responder_desk.LINE_OCTETS_MAX))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_who_certifies_without_end_is_stopped() -> None:
    granted = 0

    async def grant(asked: Asked) -> Obtained:
        nonlocal granted
        del asked
        granted += 1
        return Obtained(certificate=b"", serial="", not_before=0, not_after=0)

    serving = ResponderDesk(grant)
    line = b'{"issuer":"a","public_key":"%s","node":"n","predecessor":null}' % b64encode(subscriber_key(KEY))
    answers = [await serving._answer(line) for _ in range(GRANTS_PER_HOUR_MAX + 5)]
    assert granted == GRANTS_PER_HOUR_MAX
    assert [answer.granted is None for answer in answers] == [False] * GRANTS_PER_HOUR_MAX + [True] * 5


async def test_nobody_there_is_a_fault_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="did not answer"):
        await asking(tmp_path / "desk", 1)("aa", b"", None)
