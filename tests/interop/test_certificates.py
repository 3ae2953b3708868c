"""Everything that is issued, before judges that nobody here wrote: pkilint, `openssl verify -x509_strict`, GnuTLS."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.pki import algorithms
from quicklime.pki import issuer as pki_issuer
from quicklime.pki.certificate import URLs
from quicklime.pki.profile import BUILTIN, Profile
from tests.support.lab import DAY, NOW, Lab, entropy, lab, subscriber_key
from tests.support.pkix_lint import SINGLE_LABELS, chain_findings, findings

# OpenSSL 3.0 knows no ML-DSA; `cryptography` and pkilint do
OPENSSL_TYPES = tuple(one for one in algorithms.KEY_TYPES if not one.startswith("ml-dsa"))
ISSUER_TYPES = ("ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519")
PURPOSE = {"server": "sslserver", "client": "sslclient", "peer": "sslserver", "ocsp-responder": "ocsphelper"}
NAMES = ("dns:*.web.lab.internal", "dns:web.lab.internal", "ip:10.0.0.1", "ip:fd00::1")


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def _issued(here: Lab, profile: Profile, key_type: str, names: tuple[str, ...] = NAMES) -> bytes:
    return here.sign(
        here.tbs(
            profile=profile,
            spki=subscriber_key(key_type),
            names=names,
            not_after=NOW + profile.validity_seconds - 1,
            seed=f"{profile.name} {key_type}".encode(),
        )
    )


def _openssl_verify(folder: Path, here: Lab, leaf: bytes, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "root.pem").write_bytes(_pem(here.root))
    (folder / "chain.pem").write_bytes(_pem(here.intermediate))
    (folder / "leaf.pem").write_bytes(_pem(leaf))
    command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-attime", str(NOW + 60)]
    command += ["-CAfile", "root.pem", "-untrusted", "chain.pem", *more, "leaf.pem"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.peers
@pytest.mark.parametrize("issuer_type", ISSUER_TYPES)
@pytest.mark.parametrize("profile", BUILTIN.values(), ids=BUILTIN)
def test_openssl_verifies_the_chain_strictly(profile: Profile, issuer_type: str, tmp_path: Path) -> None:
    here = lab(issuer_type)
    for key_type in OPENSSL_TYPES:
        leaf = _issued(here, profile, key_type)
        done = _openssl_verify(tmp_path, here, leaf, "-purpose", PURPOSE[profile.name])
        assert done.returncode == 0, f"{key_type}: {done.stdout}{done.stderr}"


@pytest.mark.peers
def test_openssl_knows_for_whom_it_is(tmp_path: Path) -> None:
    leaf = _issued(lab(), BUILTIN["server"], "ecdsa-p256")
    for right in (
        ("-verify_hostname", "a.web.lab.internal"),
        ("-verify_ip", "10.0.0.1"),
        ("-verify_ip", "fd00::1"),
    ):
        assert _openssl_verify(tmp_path, lab(), leaf, *right).returncode == 0
    for wrong in (
        ("-verify_hostname", "lab.internal"),
        ("-verify_ip", "10.0.0.2"),
        ("-purpose", "sslclient"),
    ):
        assert _openssl_verify(tmp_path, lab(), leaf, *wrong).returncode != 0


@pytest.mark.peers
@pytest.mark.parametrize("name", ["dns:web.example.org", "ip:192.0.2.1"])
def test_openssl_refuses_what_the_name_constraints_refuse(name: str, tmp_path: Path) -> None:
    done = _openssl_verify(tmp_path, lab(), _issued(lab(), BUILTIN["server"], "ecdsa-p256", (name,)))
    assert done.returncode != 0
    assert "permitted subtree violation" in done.stderr


@pytest.mark.peers
def test_openssl_takes_a_certificate_without_a_subject(tmp_path: Path) -> None:
    leaf = _issued(lab(), BUILTIN["client"], "ecdsa-p256", ("ip:10.0.0.1",))
    assert _openssl_verify(tmp_path, lab(), leaf).returncode == 0
    responder = _issued(lab(), BUILTIN["ocsp-responder"], "ecdsa-p256", ())
    assert _openssl_verify(tmp_path, lab(), responder, "-purpose", "ocsphelper").returncode == 0


@pytest.mark.peers
@pytest.mark.parametrize("issuer_type", ["ecdsa-p256", "rsa-3072"])
def test_gnutls_verifies_the_chain(issuer_type: str, tmp_path: Path) -> None:
    now = int(time.time())  # certtool judges by the clock
    here = lab(issuer_type, now)
    leaf = here.sign(here.tbs(names=NAMES, not_before=now - 60, not_after=now + DAY))
    (tmp_path / "chain.pem").write_bytes(_pem(leaf) + _pem(here.intermediate) + _pem(here.root))
    (tmp_path / "root.pem").write_bytes(_pem(here.root))
    command = ["certtool", "--verify", "--infile", "chain.pem", "--load-ca-certificate", "root.pem"]
    command += ["--verify-hostname", "web.lab.internal", "--verify-purpose", "1.3.6.1.5.5.7.3.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The certificate is trusted" in done.stdout


@pytest.mark.parametrize("profile", BUILTIN.values(), ids=BUILTIN)
def test_pkilint_finds_nothing_in_what_is_issued(profile: Profile) -> None:
    # it reads RFC 5280 alone, which has no wildcards; RFC 9525, Section 6.3, has
    plain = tuple(name for name in NAMES if "*" not in name)
    for key_type in algorithms.KEY_TYPES:
        assert findings(_issued(lab(), profile, key_type, plain)) == set(), key_type
    assert findings(_issued(lab(), profile, "ecdsa-p256", ("ip:10.0.0.1",))) == set()
    (wildcard,) = findings(_issued(lab(), profile, "ecdsa-p256"))
    assert wildcard == 'pkix.invalid_domain_name_syntax: Invalid domain name syntax: "*.web.lab.internal"'


@pytest.mark.parametrize("issuer_type", [*ISSUER_TYPES, "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_pkilint_finds_nothing_in_authorities_and_between_them(issuer_type: str) -> None:
    here = lab(issuer_type)
    leaf = _issued(here, BUILTIN["server"], "ecdsa-p256", ("dns:web.lab.internal",))
    said = findings(here.root) | findings(here.intermediate) | findings(leaf)
    said |= chain_findings(here.root, here.intermediate) | chain_findings(here.intermediate, leaf)
    if issuer_type.startswith("ml-dsa"):
        # it can't verify these signatures yet, says so, and nothing else
        assert said
        said = {one for one in said if "unsupported" not in one.lower()}
    assert said == set()


def test_pkilint_sees_what_is_wrong() -> None:
    here = lab()
    assert chain_findings(here.root, _issued(here, BUILTIN["server"], "ecdsa-p256"))


def test_single_labels_are_all_that_pkilint_minds_in_the_defaults() -> None:
    """The default domains and a status address on localhost: names of one label, which it takes for mistakes."""
    signer = FileSigner(generate("ecdsa-p256"), "file:root.pem")
    root = pki_issuer.self_sign_root(
        signer,
        name="Quicklime Root CA",
        entropy=entropy,
        now=NOW,
        days=3650,
        domains=("internal", "home.arpa", "localhost", "test"),
        ip_ranges=("10.0.0.0/8", "fc00::/7", "::1/128"),
    )
    issuing = FileSigner(generate("ecdsa-p256"), "file:issuing.pem")
    intermediate = pki_issuer.sign_intermediate(
        signer,
        root=root,
        spki=issuing.public_key,
        name="Quicklime Issuing CA",
        entropy=entropy,
        now=NOW,
        days=1095,
        urls=URLs("http://localhost:8080"),
    )
    for certificate in (root, intermediate):
        codes = {one.partition(":")[0] for one in findings(certificate)}
        assert codes
        assert codes <= SINGLE_LABELS


def test_validity_counts_its_last_second() -> None:
    leaf = x509.load_der_x509_certificate(_issued(lab(), BUILTIN["server"], "ecdsa-p256"))
    lasts = leaf.not_valid_after_utc.timestamp() - leaf.not_valid_before_utc.timestamp() + 1
    assert lasts == 30 * DAY
