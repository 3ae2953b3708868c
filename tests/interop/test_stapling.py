"""Stapling through what happens to a responder: good, away, started anew, revoked; seen by `openssl s_client -status`."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.test_nginx import HEAD, HOST, READY_SECONDS, SERVER
from tests.support.clients import Bearer, certified
from tests.support.stack import Stack, free_port, program, run, running

pytestmark = pytest.mark.peers


@dataclass(frozen=True, slots=True, kw_only=True)
class Stapler:
    """nginx: at ``asks`` it fetches answers itself, at ``given`` it staples what lies in ``answer``."""

    authority: Stack
    folder: Path
    process: subprocess.Popen[bytes]
    bearer: Bearer
    asks: int
    given: int

    @property
    def answer(self) -> Path:
        return self.folder / "answer.der"

    def stapled(self, port: int) -> str:
        """What `openssl s_client -status` says of the handshake, which must succeed."""
        said = run(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST, "-status"),
            *("-verify_return_error", "-CAfile", self.authority.root),
            given=b"",
        )
        return said.decode(errors="replace")

    def until_stapled(self, port: int, what: str) -> str:
        """The first handshake makes nginx ask; a later one has the answer."""
        deadline = time.monotonic() + READY_SECONDS
        while what not in (said := self.stapled(port)):
            assert time.monotonic() < deadline, said + (self.folder / "error.log").read_text()
            time.sleep(0.1)
        return said

    def fetch(self) -> None:
        fetch(self.authority, self.bearer, self.answer)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)


def fetch(authority: Stack, bearer: Bearer, answer: Path) -> None:
    """Fetch an answer for nginx to staple, as an operator's script does; openssl judges it."""
    run(
        *("openssl", "ocsp", "-no_nonce", "-url", f"{authority.status}/ocsp"),
        *("-issuer", bearer.issuer, "-cert", bearer.leaf, "-CAfile", authority.root),
        *("-respout", answer),
    )


@pytest.fixture(scope="module")
def stapler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stapler]:
    folder = tmp_path_factory.mktemp("stapling")
    with running(folder / "authority") as authority:
        bearer = certified(authority, folder / "site", f"DNS:{HOST}", key_type="ecdsa-p256")
        trusted, config = folder / "trusted.pem", folder / "nginx.conf"
        trusted.write_bytes(bearer.issuer.read_bytes() + authority.root.read_bytes())
        asks, given = free_port(), free_port()
        more = f"ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate {trusted};"
        config.write_text(
            # with a master process, which reads its configuration anew at SIGHUP; as its own user, who may read the folder
            HEAD.format(folder=folder).replace("master_process off;", "user root;")
            + SERVER.format(port=asks, chain=bearer.chain, key=bearer.key, more=more)
            + SERVER.format(
                port=given,
                chain=bearer.chain,
                key=bearer.key,
                more=f"ssl_stapling on; ssl_stapling_file {folder}/answer.der;",
            )
            + "}\n"
        )
        command = [program("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
        # it must lie there before nginx starts
        fetch(authority, bearer, folder / "answer.der")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + READY_SECONDS
            for port in (asks, given):
                with socket.socket() as probe:
                    while probe.connect_ex(("127.0.0.1", port)):
                        assert process.poll() is None, (folder / "error.log").read_text()
                        assert time.monotonic() < deadline, (folder / "error.log").read_text()
                        time.sleep(0.05)
            yield Stapler(
                authority=authority, folder=folder, process=process, bearer=bearer, asks=asks, given=given
            )
        finally:
            process.terminate()
            process.wait(10)


def test_a_staple_outlives_its_responder_and_a_revocation_is_in_the_next_one(stapler: Stapler) -> None:
    for port in (stapler.asks, stapler.given):
        said = stapler.until_stapled(port, "OCSP Response Status: successful")
        assert "Cert Status: good" in said
        assert stapler.bearer.serial.upper() in said.replace(":", "")

    # away, for as long as the answer is fresh
    stapler.authority.stop()
    for port in (stapler.asks, stapler.given):
        assert "Cert Status: good" in stapler.stapled(port)

    # started anew, it gives the very answer that it gave before
    before = stapler.answer.read_bytes()
    stapler.authority.start()
    stapler.fetch()
    assert stapler.answer.read_bytes() == before
    stapler.reload()
    assert "Cert Status: good" in stapler.until_stapled(stapler.asks, "OCSP Response Status: successful")

    with stapler.authority.client() as client:
        path = f"/v1/certificates/{stapler.bearer.serial}/revocation"
        client.post(path, json={"reason": "keyCompromise"}).raise_for_status()
    stapler.fetch()
    stapler.reload()
    said = stapler.until_stapled(stapler.given, "Cert Status: revoked")
    assert "keyCompromise" in said
    # nginx itself staples nothing that is not good
    stapler.until_stapled(stapler.asks, "OCSP response: no response sent")
