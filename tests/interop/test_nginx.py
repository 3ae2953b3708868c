"""A real nginx with certificates of every type, reached by `openssl s_client` and `curl`; client certificates, before nginx and
before our own API; what is revoked is refused by both."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clients import Bearer, certified, curl, openssl_request, refusal
from tests.support.stack import Stack, free_port, program, run

pytestmark = pytest.mark.peers

HOST = "web.lab.internal"
READY_SECONDS = 15.0
KEY_TYPES = ("rsa-2048", "ecdsa-p256", "ecdsa-p384", "ed25519")

HEAD = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log info;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    ssl_session_cache off; ssl_session_tickets off;
    ssl_protocols TLSv1.2 TLSv1.3;
"""
SERVER = """\
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {chain}; ssl_certificate_key {key};
        {more}
        location / {{ return 200 "$ssl_client_verify $ssl_client_s_dn\\n"; }}
    }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    port: int
    bearer: Bearer


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """``plain`` by type of key; ``mutual`` wants client certificates and asks our responder about them; ``staples`` staples."""

    folder: Path
    authority: Stack
    plain: dict[str, Site]
    mutual: Site
    staples: Site

    def get(self, site: Site, *more: str | Path, host: str = HOST, fails: bool = False) -> bytes:
        command: list[str | Path] = ["curl", "--silent", "--show-error", "--fail"]
        command += ["--cacert", self.authority.root, "--resolve", f"{host}:{site.port}:127.0.0.1"]
        return run(*command, *more, f"https://{host}:{site.port}/", fails=fails)

    def handshake(self, site: Site, *more: str) -> str:
        """What `openssl s_client` says, which fails where the server's certificate does not verify."""
        return run(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-servername", HOST),
            *("-verify_return_error", "-x509_strict", "-verify_hostname", HOST),
            "-CAfile",
            self.authority.root,
            *more,
            given=b"",
        ).decode(errors="replace")


@pytest.fixture(scope="module")
def nginx(authority: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    sites = {
        name: Site(
            port=free_port(), bearer=certified(authority, folder / name, f"DNS:{HOST}", key_type=key_type)
        )
        for name, key_type in (
            *zip(KEY_TYPES, KEY_TYPES, strict=True),
            ("mutual", "ecdsa-p256"),
            ("staples", "ecdsa-p256"),
        )
    }
    trusted = folder / "trusted.pem"
    trusted.write_bytes(sites["mutual"].bearer.issuer.read_bytes() + authority.root.read_bytes())
    more = {
        # its own OCSP client decides about its clients
        "mutual": f"ssl_verify_client on; ssl_client_certificate {trusted}; ssl_verify_depth 2; ssl_ocsp leaf;",
        "staples": f"ssl_stapling on; ssl_stapling_verify on; ssl_trusted_certificate {trusted};",
    }
    config = folder / "nginx.conf"
    config.write_text(
        HEAD.format(folder=folder)
        + "".join(
            SERVER.format(
                port=site.port, chain=site.bearer.chain, key=site.bearer.key, more=more.get(name, "")
            )
            for name, site in sites.items()
        )
        + "}\n"
    )
    command = [program("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    mutual, staples = sites.pop("mutual"), sites.pop("staples")
    found = Nginx(folder=folder, authority=authority, plain=sites, mutual=mutual, staples=staples)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while subprocess.run(
            ["curl", "--silent", "--insecure", f"https://127.0.0.1:{sites['ed25519'].port}/"],
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode:
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline, (folder / "error.log").read_text()
            time.sleep(0.05)
        yield found
        log = (folder / "error.log").read_text()
        assert "[emerg]" not in log
        assert "[crit]" not in log, log
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_servers_of_every_type_are_believed(nginx: Nginx, key_type: str) -> None:
    site = nginx.plain[key_type]
    assert nginx.get(site) == b"NONE \n"
    for version in ("-tls1_2", "-tls1_3"):
        said = nginx.handshake(site, version)
        assert "Verify return code: 0 (ok)" in said
        assert "Verified peername: web.lab.internal" in said
    # and by nobody who does not know our root, nor under another name
    with pytest.raises(AssertionError, match="unable to get issuer certificate"):
        nginx.handshake(site, "-CAfile", str(site.bearer.issuer))
    refused = nginx.get(site, host="other.lab.internal", fails=True)
    assert b"no alternative certificate subject name matches" in refused


def test_gnutls_believes_it_too(nginx: Nginx) -> None:
    for key_type in ("rsa-2048", "ecdsa-p256", "ed25519"):
        site = nginx.plain[key_type]
        said = run(
            *("gnutls-cli", "--x509cafile", nginx.authority.root, "--verify-hostname", HOST),
            *("--sni-hostname", HOST, "--port", str(site.port), "127.0.0.1"),
            given=b"",
        )
        assert b"The certificate is trusted" in said


def test_nginx_staples_what_our_responder_said(nginx: Nginx) -> None:
    deadline = time.monotonic() + READY_SECONDS
    # the first handshake makes nginx ask; a later one has the answer
    while "OCSP Response Status: successful" not in (said := nginx.handshake(nginx.staples, "-status")):
        assert time.monotonic() < deadline, said + (nginx.folder / "error.log").read_text()
        time.sleep(0.1)
    assert "Cert Status: good" in said
    assert nginx.staples.bearer.serial.upper() in said.replace(":", "")
    assert nginx.get(nginx.staples, "--cert-status")


@pytest.mark.parametrize("key_type", ["rsa-2048", "ecdsa-p256", "ecdsa-p384", "ed25519"])
def test_nginx_takes_our_clients(nginx: Nginx, key_type: str, tmp_path: Path) -> None:
    bearer = certified(
        nginx.authority, tmp_path, "DNS:caller.lab.internal", key_type=key_type, profile="client"
    )
    said = nginx.get(nginx.mutual, "--cert", bearer.chain, "--key", bearer.key)
    assert said == b"SUCCESS CN=caller.lab.internal\n"


def test_nginx_refuses_who_is_no_client(nginx: Nginx, tmp_path: Path) -> None:
    assert b"400" in nginx.get(nginx.mutual, fails=True)
    server = certified(nginx.authority, tmp_path, f"DNS:{HOST}")
    assert b"400" in nginx.get(nginx.mutual, "--cert", server.chain, "--key", server.key, fails=True)
    run(
        *("openssl", "req", "-x509", "-nodes", "-newkey", "ed25519", "-subj", "/CN=caller.lab.internal"),
        *("-keyout", tmp_path / "stranger.key", "-out", tmp_path / "stranger.pem"),
    )
    stranger = ("--cert", tmp_path / "stranger.pem", "--key", tmp_path / "stranger.key")
    assert b"400" in nginx.get(nginx.mutual, *stranger, fails=True)


def test_nginx_refuses_a_revoked_client(nginx: Nginx, tmp_path: Path) -> None:
    """By its own OCSP client, the moment that we revoke; it had not asked before, so no cache of its own is in the way."""
    bearer = certified(nginx.authority, tmp_path, "DNS:caller.lab.internal", profile="client")
    body = json.dumps({"secret": bearer.told["revocation_secret"], "reason": "keyCompromise"})
    curl(nginx.authority, f"/v1/certificates/{bearer.serial}/revocation", "--data", body, *JSON)
    assert b"400" in nginx.get(nginx.mutual, "--cert", bearer.chain, "--key", bearer.key, fails=True)
    assert "certificate revoked" in (nginx.folder / "error.log").read_text()


JSON = ("--header", "Content-Type: application/json")
PKCS10 = ("--header", "Content-Type: application/pkcs10")


def _ask_as(
    authority: Stack, bearer: Bearer, csr: Path, *, fails: bool = False, profile: str = "server"
) -> bytes:
    identity = ("--cert", bearer.chain, "--key", bearer.key)
    path = f"/v1/certificates?profile={profile}"
    return curl(authority, path, *identity, *PKCS10, "--data-binary", f"@{csr}", fails=fails)


def test_a_client_certificate_is_an_identity_of_our_own_api(authority: Stack, tmp_path: Path) -> None:
    deployer = certified(authority, tmp_path / "d", "DNS:deployer.lab.internal", profile="client")
    _, inside = openssl_request(tmp_path / "in", "ecdsa-p256", "DNS:shop.apps.lab.internal")
    _, outside = openssl_request(tmp_path / "out", "ecdsa-p256", "DNS:db.lab.internal")
    got = json.loads(_ask_as(authority, deployer, inside))
    assert got["names"] == ["dns:shop.apps.lab.internal"]
    # whose certificate it was stands in the log
    (plan,) = [
        data
        for event in authority.events()
        if event["type"] == "quicklime.certificate.planned.v1"
        and (data := authority.data_of(event))["serial"] == got["serial"]
    ]
    assert (plan["requester"]["kind"], plan["requester"]["id"]) == ("certificate", deployer.serial)
    assert refusal(_ask_as(authority, deployer, outside, fails=True)) == (403, ["name-not-allowed"])
    refused = _ask_as(authority, deployer, inside, profile="peer", fails=True)
    assert refusal(refused) == (403, ["profile-not-allowed"])
    # what it got, and itself, it may see; what others got is not there for it
    identity = ("--cert", deployer.chain, "--key", deployer.key)
    for serial in (got["serial"], deployer.serial):
        assert json.loads(curl(authority, f"/v1/certificates/{serial}", *identity))["serial"] == serial
    other = certified(authority, tmp_path / "o", "DNS:other.lab.internal")
    assert refusal(curl(authority, f"/v1/certificates/{other.serial}", *identity, fails=True)) == (
        404,
        ["certificate-unknown"],
    )


def test_a_client_certificate_without_a_rule_gets_nothing(authority: Stack, tmp_path: Path) -> None:
    nobody = certified(authority, tmp_path / "n", "DNS:nobody.lab.internal", profile="client")
    _, csr = openssl_request(tmp_path / "in", "ecdsa-p256", "DNS:shop.apps.lab.internal")
    status, codes = refusal(_ask_as(authority, nobody, csr, fails=True))
    assert status == 403
    assert "name-not-allowed" in codes
    itself = curl(authority, f"/v1/certificates/{nobody.serial}", "--cert", nobody.chain, "--key", nobody.key)
    assert json.loads(itself)["serial"] == nobody.serial


def test_a_revoked_client_certificate_is_no_identity(authority: Stack, tmp_path: Path) -> None:
    deployer = certified(authority, tmp_path / "d", "DNS:deployer.lab.internal", profile="client")
    _, csr = openssl_request(tmp_path / "in", "ecdsa-p256", "DNS:shop.apps.lab.internal")
    body = json.dumps({"secret": deployer.told["revocation_secret"]})
    curl(authority, f"/v1/certificates/{deployer.serial}/revocation", "--data", body, *JSON)
    assert refusal(_ask_as(authority, deployer, csr, fails=True)) == (401, ["unauthenticated"])


def test_a_strangers_certificate_does_not_pass_the_handshake(authority: Stack, tmp_path: Path) -> None:
    run(
        *("openssl", "req", "-x509", "-nodes", "-newkey", "ed25519", "-subj", "/CN=deployer.lab.internal"),
        *("-addext", "subjectAltName=DNS:deployer.lab.internal"),
        *("-keyout", tmp_path / "stranger.key", "-out", tmp_path / "stranger.pem"),
    )
    said = run(
        *("curl", "--silent", "--show-error", "--cacert", authority.root),
        *("--cert", tmp_path / "stranger.pem", "--key", tmp_path / "stranger.key"),
        f"{authority.api}/health/ready",
        fails=True,
    )
    assert b"ready" not in said
