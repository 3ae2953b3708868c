"""Lists as OpenSSL and GnuTLS judge them: complete, of shards with their distribution point, and with a delta list over an old base."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.pki.certificate import URLs
from quicklime.services.crl.publisher import Rules
from tests.support.authority import running
from tests.support.lab import lab
from tests.support.lists import Press, point_of
from tests.support.stack import SETTINGS, program, run
from tests.support.stack import running as serving

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


def test_a_server_with_shards_and_delta_lists_is_found_by_what_its_certificates_say(tmp_path: Path) -> None:
    """OpenSSL fetches the list by itself, from the URL in the certificate; a restart with one list more or less changes nothing."""
    settings = SETTINGS.replace(
        "delay_seconds = 0.2", "delay_seconds = 0.2\nshards = 4\ndelta_validity_seconds = 60"
    )
    with serving(tmp_path / "authority", settings=settings) as stack:
        out = tmp_path / "one"
        stack.quicklime("issue", "one.lab.internal", "--out", str(out))
        leaf = out / "one.lab.internal.pem"
        url = point_of(x509.load_pem_x509_certificate(leaf.read_bytes()))
        assert "/4/" in url
        # only the root, and the intermediate as an untrusted helper: the rest is fetched
        check = (
            program("openssl"), "verify", "-x509_strict", "-crl_check", "-crl_download", "-use_deltas", "-extended_crl",
            "-trusted", stack.root, "-untrusted", stack.data / "issuing.pem", leaf,
        )  # fmt: skip
        assert b"OK" in run(*check)
        stack.quicklime("revoke", str(leaf))
        end = time.monotonic() + 20
        while True:
            delta = httpx.get(url.replace(".crl", "-delta.crl"))
            if delta.status_code == 200 and len(x509.load_der_x509_crl(delta.content)) == 1:
                break
            assert time.monotonic() < end, stack.tail()
            time.sleep(0.1)
        base = httpx.get(url)
        assert len(x509.load_der_x509_crl(base.content)) == 0
        assert httpx.get(url, headers={"if-none-match": base.headers["etag"]}).status_code == 304
        part = httpx.get(url, headers={"range": "bytes=5-", "if-range": base.headers["etag"]})
        assert (part.status_code, part.content) == (206, base.content[5:])
        lists = tmp_path / "lists.pem"
        lists.write_bytes(
            b"".join(x509.load_der_x509_crl(one.content).public_bytes(Encoding.PEM) for one in (base, delta))
        )
        downloaded = [word for word in check if word != "-crl_download"]
        assert b"revoked" in run(*downloaded[:-1], "-CRLfile", lists, downloaded[-1], fails=True)
        # now without delta lists, and new certificates in one list: the old certificate stays where it is
        stack.config.write_text(
            stack.config.read_text().replace("shards = 4\ndelta_validity_seconds = 60\n", "")
        )
        stack.restart()
        assert b"revoked" in run(*check, fails=True)
        stack.quicklime("issue", "two.lab.internal", "--out", str(out))
        two = out / "two.lab.internal.pem"
        assert point_of(x509.load_pem_x509_certificate(two.read_bytes())).count("/") == 4
        assert b"OK" in run(*check[:-1], two)
        assert b"good for" in stack.quicklime("doctor")
