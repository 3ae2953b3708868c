"""ACME clients that nobody here wrote, unchanged, against a running authority: on loopback, with a name server of the tests."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.names import NameServer, serving_names
from tests.support.stack import SETTINGS, Stack, free_port, program, run, running

pytestmark = pytest.mark.peers

CLIENT_SECONDS = 60
SYSTEM_ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")

ACME = """
[acme]
accounts_per_hour = 1000

[acme.directories.default]

[acme.directories.bound]
binding_required = true

[acme.validation]
networks = ["127.0.0.0/8"]
http_port = {http}
tls_alpn_port = {tls}
caa_identities = ["ca.lab.internal"]
perspectives = [{{{{ name = "here", resolver = "{resolver}" }}}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    stack: Stack
    names: NameServer
    http: int
    tls: int
    folder: Path

    def url(self, directory: str = "default") -> str:
        return f"{self.stack.api}/acme/{directory}/directory"

    def client(self, *command: str | Path, fails: bool = False) -> str:
        """Run an ACME client that trusts the root alone."""
        root = str(self.stack.root)
        trust = dict.fromkeys(
            ("REQUESTS_CA_BUNDLE", "LEGO_CA_CERTIFICATES", "SSL_CERT_FILE", "CURL_CA_BUNDLE"), root
        )
        done = subprocess.run(
            [program(str(command[0])), *map(str, command[1:])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=os.environ | trust | {"HOME": str(self.folder)},
            cwd=self.folder,
            timeout=CLIENT_SECONDS,
            check=False,
        )
        said = f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}\n{self.stack.tail(15)}"
        assert (done.returncode != 0) == fails, said
        return done.stdout + done.stderr

    def status_of(self, certificate: x509.Certificate) -> str:
        with self.stack.client() as client:
            answer = client.get(f"/v1/certificates/{certificate.serial_number:040x}/status")
        return str(answer.json()["status"])

    def lineage_of(self, certificate: x509.Certificate) -> dict[str, object]:
        with self.stack.client() as client:
            found = client.get(f"/v1/certificates/{certificate.serial_number:040x}").json()
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("acme")
    with serving_names() as names:
        names.wild = "127.0.0.1"
        http_port, tls_port = free_port(), free_port()
        settings = SETTINGS + ACME.format(http=http_port, tls=tls_port, resolver=names.address)
        with running(folder / "authority", settings=settings) as stack:
            yield Lab(stack=stack, names=names, http=http_port, tls=tls_port, folder=folder)


def _verified(lab: Lab, path: Path) -> x509.Certificate:
    """The leaf of a chain file, which openssl verifies to the root."""
    chain = x509.load_pem_x509_certificates(path.read_bytes())
    assert len(chain) == 2
    run("openssl", "verify", "-x509_strict", "-CAfile", lab.stack.root, "-untrusted", path, path)
    return chain[0]


def _names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(one.value) for one in found)


# --- certbot --------------------------------------------------------------------------------------------------------


def _certbot(
    lab: Lab, *arguments: str | Path, folder: str = "certbot", directory: str = "default", fails: bool = False
) -> str:
    home = lab.folder / folder
    said = lab.client(
        "certbot",
        *arguments,
        *("--non-interactive", "--server", lab.url(directory)),
        *("--config-dir", home, "--work-dir", home / "work", "--logs-dir", home / "logs"),
        fails=fails,
    )
    # why something failed stands in its log
    return said + (home / "logs" / "letsencrypt.log").read_text() if fails else said


def test_certbot_gets_renews_changes_and_revokes(lab: Lab) -> None:
    _certbot(
        lab,
        *(
            "certonly",
            "--standalone",
            "--http-01-port",
            str(lab.http),
            "--agree-tos",
            "-m",
            "ada@lab.internal",
        ),
        *("-d", "certbot.lab.internal", "-d", "www.certbot.lab.internal"),
    )
    live = lab.folder / "certbot" / "live" / "certbot.lab.internal" / "fullchain.pem"
    first = _verified(lab, live)
    assert _names(first) == ["certbot.lab.internal", "www.certbot.lab.internal"]
    _certbot(lab, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    second = _verified(lab, live)
    assert second.serial_number != first.serial_number
    _certbot(lab, "update_account", "-m", "bob@lab.internal")
    _certbot(
        lab,
        "revoke",
        "--reason",
        "superseded",
        "--cert-name",
        "certbot.lab.internal",
        "--no-delete-after-revoke",
    )
    assert lab.status_of(second) == "revoked"
    assert lab.status_of(first) == "good"


def test_certbot_revokes_with_the_certificates_key(lab: Lab) -> None:
    _certbot(
        lab,
        *(
            "certonly",
            "--standalone",
            "--http-01-port",
            str(lab.http),
            "--agree-tos",
            "-m",
            "ada@lab.internal",
        ),
        *("-d", "bykey.lab.internal"),
    )
    live = lab.folder / "certbot" / "live" / "bykey.lab.internal"
    found = _verified(lab, live / "fullchain.pem")
    _certbot(
        lab,
        *("revoke", "--cert-path", live / "cert.pem", "--key-path", live / "privkey.pem"),
        *("--reason", "keycompromise", "--no-delete-after-revoke"),
        folder="certbot",
    )
    assert lab.status_of(found) == "revoked"


def test_certbot_with_an_external_account_binding(lab: Lab) -> None:
    arguments = (
        "certonly",
        "--standalone",
        "--http-01-port",
        str(lab.http),
        "--agree-tos",
        "-m",
        "a@lab.internal",
    )
    refused = _certbot(
        lab, *arguments, "-d", "x.bound.lab.internal", folder="bound", directory="bound", fails=True
    )
    assert "external account binding" in refused.lower()
    key = lab.stack.told(
        *(
            "acme",
            "eab",
            "create",
            "--directory",
            "bound",
            "--name",
            "**.bound.lab.internal",
            "--certificates",
            "1",
        )
    )
    eab = ("--eab-kid", key["key"], "--eab-hmac-key", key["mac"])
    _certbot(lab, *arguments, *eab, "-d", "x.bound.lab.internal", folder="bound", directory="bound")
    over = _certbot(
        lab, *arguments, "-d", "y.bound.lab.internal", folder="bound", directory="bound", fails=True
    )
    assert "1 of 1 certificates" in over
    (row,) = lab.stack.told("acme", "eab", "list")
    assert row["certificates"] == "1/1"
    assert row["account"] in {one["id"] for one in lab.stack.told("acme", "account", "list")}


def test_certbot_by_dns_with_a_wildcard(lab: Lab) -> None:
    hook = _hook(lab, "certbot-dns", '"$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION"')
    _certbot(
        lab,
        *("certonly", "--manual", "--preferred-challenges", "dns", "--manual-auth-hook", str(hook)),
        *("--agree-tos", "-m", "ada@lab.internal", "-d", "*.wild.lab.internal", "-d", "wild.lab.internal"),
    )
    found = _verified(lab, lab.folder / "certbot" / "live" / "wild.lab.internal" / "fullchain.pem")
    assert _names(found) == ["*.wild.lab.internal", "wild.lab.internal"]


def test_a_name_outside_the_authority_is_refused_in_words_that_the_client_shows(lab: Lab) -> None:
    said = _certbot(
        lab,
        *(
            "certonly",
            "--standalone",
            "--http-01-port",
            str(lab.http),
            "--agree-tos",
            "-m",
            "ada@lab.internal",
        ),
        *("-d", "www.example.com"),
        fails=True,
    )
    assert "is outside" in said


class _TXT(http.server.BaseHTTPRequestHandler):
    """Takes a name and a value from a client's hook, and puts them into the name server."""

    names: NameServer

    def do_POST(self) -> None:
        name, value = self.rfile.read(int(self.headers["content-length"])).decode().split()
        key = f"_acme-challenge.{name}"
        found = self.names.records.get((key, "TXT"), [])
        self.names.put(key, "TXT", *found, f'"{value}"')
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture(scope="module")
def hooks(lab: Lab) -> Iterator[int]:
    handler = type("Handler", (_TXT,), {"names": lab.names})
    with _serving(handler, 0) as port:
        yield port


@contextlib.contextmanager
def _serving(handler: object, port: int) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


_HOOKS: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _know_hooks(hooks: int) -> None:
    _HOOKS["port"] = hooks


def _hook(lab: Lab, name: str, arguments: str) -> Path:
    path = lab.folder / name
    path.write_text(
        f'#!/bin/sh\nset -- {arguments}\nexec curl -fsS --data "$1 $2" http://127.0.0.1:{_HOOKS["port"]}/\n'
    )
    path.chmod(0o755)
    return path


# --- lego -----------------------------------------------------------------------------------------------------------


def _lego(lab: Lab, *arguments: str, domain: str) -> str:
    return lab.client(
        "lego",
        *(
            "--server",
            lab.url(),
            "--accept-tos",
            "--email",
            "ada@lab.internal",
            "--path",
            lab.folder / "lego",
        ),
        *("--domains", domain),
        *arguments,
    )


def test_lego_by_http_renews_and_revokes(lab: Lab) -> None:
    ways = ("--http", "--http.port", f"127.0.0.1:{lab.http}")
    _lego(lab, *ways, "run", domain="lego.lab.internal")
    path = lab.folder / "lego" / "certificates" / "lego.lab.internal.crt"
    first = _verified(lab, path)
    _lego(lab, *ways, "renew", "--days", "999", "--no-random-sleep", domain="lego.lab.internal")
    second = _verified(lab, path)
    assert second.serial_number != first.serial_number
    _lego(lab, "revoke", domain="lego.lab.internal")
    assert lab.status_of(second) == "revoked"


def test_lego_by_tls_alpn(lab: Lab) -> None:
    _lego(lab, "--tls", "--tls.port", f"127.0.0.1:{lab.tls}", "run", domain="alpn.lab.internal")
    _verified(lab, lab.folder / "lego" / "certificates" / "alpn.lab.internal.crt")


# --- acme-tiny and uacme --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _web_root(lab: Lab) -> Iterator[Path]:
    """A static server on the port of http-01; the folder of challenges."""
    folder = lab.folder / "web" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True, exist_ok=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with _serving(functools.partial(Quiet, directory=str(lab.folder / "web")), lab.http):
        yield folder


def test_acme_tiny(lab: Lab) -> None:
    folder = lab.folder
    run("openssl", "genrsa", "-out", folder / "account.key", "2048")
    run(
        *("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "tiny.key"),
        *("-subj", "/CN=tiny.lab.internal", "-addext", "subjectAltName=DNS:tiny.lab.internal"),
        *("-out", folder / "tiny.csr"),
    )
    with _web_root(lab) as challenges:
        chain = lab.client(
            *("acme-tiny", "--directory-url", lab.url(), "--account-key", folder / "account.key"),
            *("--csr", folder / "tiny.csr", "--acme-dir", challenges, "--disable-check", "--quiet"),
        )
    (folder / "tiny.pem").write_text(chain)
    assert _names(_verified(lab, folder / "tiny.pem")) == ["tiny.lab.internal"]


def test_uacme(lab: Lab) -> None:
    folder = lab.folder
    with _web_root(lab) as challenges:
        hook = folder / "uacme-hook"
        hook.write_text(
            "#!/bin/sh\n"
            'case "$1 $2" in\n'
            f"'begin http-01') printf %s \"$5\" > '{challenges}'/\"$4\" ;;\n"
            "begin*) exit 1 ;;\n"
            "esac\n"
        )
        hook.chmod(0o755)
        # its TLS library knows the system's certificates alone: it gets a view of the files in which ours is among them
        bundle = folder / "uacme-roots.pem"
        bundle.write_bytes(SYSTEM_ROOTS.read_bytes() + lab.stack.root.read_bytes())
        inside = f'mount --bind {bundle} {SYSTEM_ROOTS} && exec "$@"'
        apart = (
            "unshare",
            "--mount",
            *(() if os.geteuid() == 0 else ("--map-root-user",)),
            "sh",
            "-c",
            inside,
            "sh",
        )
        common = (*apart, program("uacme"), "-a", lab.url(), "-c", folder / "uacme", "-h", hook, "-y")
        lab.client(*common, "new", "ada@lab.internal")
        lab.client(*common, "issue", "uacme.lab.internal")
        lab.client(*common, "newkey")
        lab.client(*common, "-f", "issue", "uacme.lab.internal")
        path = folder / "uacme" / "uacme.lab.internal" / "cert.pem"
        found = _verified(lab, path)
        lab.client(*common, "revoke", path)
    assert lab.status_of(found) == "revoked"
    lab.client(*common, "deactivate")


# --- Caddy ----------------------------------------------------------------------------------------------------------


def test_caddy_gets_its_own_certificate(lab: Lab) -> None:
    folder = lab.folder / "caddy"
    folder.mkdir()
    config = folder / "Caddyfile"
    config.write_text(
        f"""{{
    admin off
    http_port {lab.http}
    https_port {lab.tls}
    skip_install_trust
    acme_ca {lab.url()}
    acme_ca_root {lab.stack.root}
    storage file_system {folder / "storage"}
}}
caddy.lab.internal {{
    respond "served"
}}
"""
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ
            | {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
    try:
        certificate = _served(lab, "caddy.lab.internal")
        assert _names(certificate) == ["caddy.lab.internal"]
    except TimeoutError as error:
        raise AssertionError(f"{(folder / 'log').read_text()[-3000:]}\n{lab.stack.tail(15)}") from error
    finally:
        process.terminate()
        process.wait(15)


def _served(lab: Lab, name: str) -> x509.Certificate:
    """The certificate that is served for ``name`` once it is one of ours."""
    context = ssl.create_default_context(cafile=str(lab.stack.root))
    deadline = time.monotonic() + CLIENT_SECONDS
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", lab.tls), 5) as raw,
            context.wrap_socket(raw, server_hostname=name) as tls,
        ):
            found = tls.getpeercert(binary_form=True)
            assert found is not None
            return x509.load_der_x509_certificate(found)
        time.sleep(0.2)
    raise TimeoutError(name)
