"""The API's TLS as another implementation sees it: which versions, which names, which certificates of clients."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.stack import Stack

pytestmark = pytest.mark.peers


def _handshake(authority: Stack, *options: str) -> str:
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{authority.api_port}", "-brief"),
            *("-CAfile", str(authority.root), "-verify_return_error", "-verify_ip", "127.0.0.1", *options),
        ],
        input=b"",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        check=False,
    )
    return done.stdout.decode()


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_both_versions_of_today_are_spoken(authority: Stack, option: str, version: str) -> None:
    said = _handshake(authority, option)
    assert f"Protocol version: {version}" in said
    assert "Verification: OK" in said


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_older_versions_of_tls_are_refused(authority: Stack, option: str) -> None:
    """The client is willing (security level 0): it is the server who refuses."""
    said = _handshake(authority, option, "-cipher", "ALL:@SECLEVEL=0")
    assert "CONNECTION ESTABLISHED" not in said
    assert "no protocols available" not in said
    assert "unexpected eof" in said or "alert protocol version" in said


def test_ciphers_without_forward_secrecy_are_refused(authority: Stack) -> None:
    """RFC 9325, Section 4.1."""
    said = _handshake(authority, "-tls1_2", "-cipher", "kRSA:@SECLEVEL=0")
    assert "CONNECTION ESTABLISHED" not in said
