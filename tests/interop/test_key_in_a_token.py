"""An authority whose issuing key is in a PKCS#11 token (SoftHSM) serves, issues, and takes up a next key in the same token."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stack import SETTINGS, Stack, program, run

pytestmark = pytest.mark.peers

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN = "123456"


def _uri(folder: Path, name: str) -> str:
    module = next(path for path in MODULES if Path(path).exists())
    return f"pkcs11:token=ca;object={name}?module-path={module}&pin-source=file:{folder}/token-pin"


def test_the_key_of_the_issuer_may_be_in_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens").mkdir()
    settings = f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    (tmp_path / "softhsm2.conf").write_text(settings)
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    token = ["--init-token", "--free", "--label", "ca", "--pin", PIN, "--so-pin", "5555"]
    run(program("softhsm2-util"), *token)
    (tmp_path / "token-pin").touch(mode=0o600)
    (tmp_path / "token-pin").write_text(PIN)

    stack = Stack(folder=tmp_path, settings=SETTINGS + '\n[server]\nurl = "https://127.0.0.1:{api_port}"\n')
    stack.found("--signer", _uri(tmp_path, "issuing"))
    assert not list((stack.data / "issuers").glob("*.pem"))
    try:
        stack.start()
        _verified(stack, tmp_path / "first")
        offline = stack.data / "root-take-me-offline"
        csr, next_one = tmp_path / "next.csr", tmp_path / "next.pem"
        stack.quicklime("issuer", "rotate", "--csr-out", str(csr), "--signer", _uri(tmp_path, "issuing-2"))
        keys = ["--root-key", str(offline / "root-key.pem"), "--passphrase-file", str(offline / "passphrase")]
        stack.quicklime("issuer", "sign-csr", str(csr), *keys, "--out", str(next_one))
        found = stack.told("issuer", "rotate", "--certificate", str(next_one))
        assert found["status"] == "active"
        stack.restart()
        issuer = _verified(stack, tmp_path / "second")
        assert issuer == found["issuer"]
        stack.stop()
    finally:
        if stack.process is not None:
            stack.process.kill()
            stack.process.wait()


def _verified(stack: Stack, out: Path) -> str:
    """Issue a certificate, have OpenSSL verify it, and say which issuer it is by."""
    told = stack.told("issue", "web.lab.internal", "--out", str(out))
    chain = out / "web.lab.internal.pem"
    run("openssl", "verify", "-x509_strict", "-CAfile", stack.root, "-untrusted", chain, chain)
    return str(told["issuer"])
