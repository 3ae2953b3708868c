"""The intermediate's key is lost: what the guide says is what brings the authority back, and old certificates stay known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stack import Stack, run


@pytest.mark.parametrize("lost", ["key", "passphrase"])
def test_a_new_intermediate_is_brought_in_where_the_old_key_is_lost(tmp_path: Path, lost: str) -> None:
    stack = Stack(folder=tmp_path)
    stack.found()
    stack.start()
    stack.quicklime("issue", "web.lab.internal", "--out", str(tmp_path))
    stack.stop()
    if lost == "passphrase":
        # what the passphrase opens is lost with it
        (stack.data / "secrets" / "issuer-passphrase").write_text("a new one, of our own\n")
    (stack.data / "issuers" / "issuing.pem").unlink()

    said = stack.quicklime("doctor", fails=True).decode()
    assert "the key of the active issuer" in said
    assert "quicklime issuer rotate" in said
    offline = stack.data / "root-take-me-offline"
    stack.quicklime("issuer", "rotate", "--csr-out", str(tmp_path / "next.csr"))
    stack.quicklime(
        *("issuer", "sign-csr", str(tmp_path / "next.csr"), "--root-key", str(offline / "root-key.pem")),
        *("--passphrase-file", str(offline / "passphrase"), "--out", str(tmp_path / "next.pem")),
    )
    stack.quicklime("issuer", "rotate", "--certificate", str(tmp_path / "next.pem"))

    assert "the key of the retired issuer" in stack.quicklime("doctor").decode()
    stack.start()
    try:
        stack.quicklime("issue", "new.lab.internal", "--out", str(tmp_path))
        new = tmp_path / "new.lab.internal.pem"
        run("openssl", "verify", "-x509_strict", "-CAfile", stack.root, "-untrusted", new, new)
        # the old ones are known, can be revoked, and are renewed under the new intermediate
        old = tmp_path / "web.lab.internal.pem"
        assert stack.told("status", str(old))["status"] == "good"
        stack.quicklime("renew", str(old))
        run("openssl", "verify", "-x509_strict", "-CAfile", stack.root, "-untrusted", old, old)
    finally:
        stack.stop()
