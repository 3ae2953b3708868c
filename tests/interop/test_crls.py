"""Lists as OpenSSL and GnuTLS judge them: complete, of shards with their distribution point, and with a delta list over an old base."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.pki.certificate import URLs
from quicklime.services.crl.publisher import Rules
from tests.support.authority import running
from tests.support.lab import lab
from tests.support.lists import Press, point_of
from tests.support.stack import program, run

pytestmark = pytest.mark.peers

DAY = 86_400
PLAIN = URLs("http://pki.lab.internal:8080")
DIVIDED = URLs(PLAIN.base_url, 4)
DELTAS = Rules(validity_seconds=7 * DAY, refresh_seconds=DAY, delta_validity_seconds=3600)


@pytest_asyncio.fixture(params=[PLAIN, DIVIDED], ids=["plain", "divided"])
async def press(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Press]:
    # these programs have no clock to be set, so the present it is
    now = int(time.time())
    async with running(now=now - 60, urls=request.param, at=lab("ecdsa-p256", now - DAY)) as authority:
        yield Press(authority, tmp_path / "lists", urls=request.param, rules=DELTAS)


def pem(folder: Path, name: str, *found: x509.Certificate | x509.CertificateRevocationList) -> Path:
    path = folder / f"{name}.pem"
    path.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in found))
    return path


def verify(
    folder: Path, press: Press, leaf: x509.Certificate, *lists: x509.CertificateRevocationList, fails: bool
) -> str:
    home = press.authority.lab
    intermediate = pem(folder, "intermediate", x509.load_der_x509_certificate(home.intermediate))
    root = pem(folder, "root", x509.load_der_x509_certificate(home.root))
    return run(
        program("openssl"), "verify", "-x509_strict", "-crl_check", "-extended_crl", "-use_deltas",
        "-trusted", root, "-untrusted", intermediate, "-CRLfile", pem(folder, "lists", *lists),
        pem(folder, "leaf", leaf), fails=fails,
    ).decode()  # fmt: skip


async def test_openssl_finds_what_is_revoked_and_nothing_else(press: Press, tmp_path: Path) -> None:
    good, gone = await press.certificate(), await press.certificate()
    await press.revoke(gone)
    await press.publish()
    assert "OK" in verify(tmp_path, press, good, press.fetch(point_of(good)), fails=False)
    assert "certificate revoked" in verify(tmp_path, press, gone, press.fetch(point_of(gone)), fails=True)


async def test_openssl_sees_the_revocation_in_a_delta_list_over_the_base_that_it_has(
    press: Press, tmp_path: Path
) -> None:
    gone = await press.certificate()
    await press.publish()
    base = press.fetch(point_of(gone))
    press.authority.clock.advance(2)
    await press.revoke(gone)
    await press.publish()
    delta = press.fetch(point_of(gone).replace(".crl", "-delta.crl"))
    assert "OK" in verify(tmp_path, press, gone, base, fails=False)
    assert "certificate revoked" in verify(tmp_path, press, gone, base, delta, fails=True)


async def test_openssl_takes_no_shard_for_another(press: Press, tmp_path: Path) -> None:
    if press.urls == PLAIN:
        pytest.skip("there is but one list")
    await press.publish()
    one = await press.certificate()
    while point_of(other := await press.certificate()) == point_of(one):
        pass
    said = verify(tmp_path, press, one, press.fetch(point_of(other)), fails=True)
    assert "different CRL scope" in said
    assert "different CRL scope" in verify(tmp_path, press, one, press.plain(), fails=True)


async def test_gnutls_reads_and_verifies_every_list(press: Press, tmp_path: Path) -> None:
    gone = await press.certificate()
    await press.publish()
    press.authority.clock.advance(2)
    await press.revoke(gone)
    await press.publish()
    complete, delta = point_of(gone), point_of(gone).replace(".crl", "-delta.crl")
    ca = pem(tmp_path, "ca", x509.load_der_x509_certificate(press.authority.lab.intermediate))
    for url in (complete, delta):
        file = pem(tmp_path, "list", press.fetch(url))
        said = run(program("certtool"), "--verify-crl", "--load-ca-certificate", ca, "--infile", file)
        assert b"Verified" in said
        info = run(program("certtool"), "--crl-info", "--infile", file).decode()
        assert "Version: 2" in info
        assert "error" not in info.lower()
        assert ("Revoked certificates (1)" in info) == (url == delta)
