"""What an authority gave out, before judges that nobody here wrote: pkilint, and `openssl` in its strict mode."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.pkix_lint import chain_findings, crl_findings, findings
from tests.support.stack import Stack, run

# RFC 5280 has no wildcards, RFC 9525, Section 6.3, has: pkilint reads the first alone
WILDCARD = "pkix.invalid_domain_name_syntax"
ISSUED, ADDED = "quicklime.certificate.issued.v1", "quicklime.issuer.added.v1"


def judge_crl(stack: Stack, der: bytes, folder: Path) -> None:
    """pkilint finds nothing, and OpenSSL finds it signed by its issuer."""
    assert crl_findings(der) == set()
    issuers = _issuers(stack)
    (folder / "judged-issuers.pem").write_bytes(b"".join(_pem(one) for one in issuers))
    run("openssl", "crl", "-inform", "DER", "-noout", "-CAfile", folder / "judged-issuers.pem", given=der)


def judge_log(stack: Stack, folder: Path) -> int:
    """Every certificate that the log holds, whoever asked for it, before every judge; how many there are."""
    issuers = _issuers(stack)
    above = {one.subject.public_bytes(): one for one in issuers}
    for one in issuers:
        if one.subject != one.issuer:
            _judge(one, above[one.issuer.public_bytes()])
        else:
            assert findings(one.public_bytes(Encoding.DER)) == set()
    leaves = [x509.load_der_x509_certificate(one) for one in _in_log(stack, ISSUED)]
    for leaf in leaves:
        _judge(leaf, above[leaf.issuer.public_bytes()])
    _verify_strictly([*issuers, *leaves], issuers, folder)
    return len(leaves)


def _judge(one: x509.Certificate, issuer: x509.Certificate) -> None:
    one.verify_directly_issued_by(issuer)
    der, issuer_der = (each.public_bytes(Encoding.DER) for each in (one, issuer))
    said = findings(der) | chain_findings(issuer_der, der)
    if _has_wildcard(one):
        said = {each for each in said if not each.startswith(WILDCARD)}
    assert said == set(), f"{one.serial_number:040x}"


def _verify_strictly(
    judged: Sequence[x509.Certificate], issuers: Sequence[x509.Certificate], folder: Path
) -> None:
    """In one run of `openssl verify`. Version 3.0 can't read ML-DSA keys; those certificates it is not shown."""
    (folder / "judged-root.pem").write_bytes(
        b"".join(_pem(one) for one in issuers if one.subject == one.issuer)
    )
    (folder / "judged-issuing.pem").write_bytes(b"".join(_pem(one) for one in issuers))
    files = []
    for number, one in enumerate(judged):
        if _is_known_to_openssl(one):
            files.append(folder / f"judged-{number}.pem")
            files[-1].write_bytes(_pem(one))
    command: list[str | Path] = ["openssl", "verify", "-x509_strict", "-check_ss_sig"]
    command += ["-CAfile", folder / "judged-root.pem", "-untrusted", folder / "judged-issuing.pem"]
    said = run(*command, *files)
    assert said.count(b": OK") == len(files)


def _issuers(stack: Stack) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(one) for one in _in_log(stack, ADDED)]


def _in_log(stack: Stack, kind: str) -> list[bytes]:
    return [b64decode(stack.data_of(one)["certificate"]) for one in stack.events() if one["type"] == kind]


def _has_wildcard(one: x509.Certificate) -> bool:
    try:
        names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return any(name.startswith("*.") for name in names.get_values_for_type(x509.DNSName))


def _is_known_to_openssl(one: x509.Certificate) -> bool:
    try:
        key = one.public_key()
    except UnsupportedAlgorithm:
        return False
    return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)


def _pem(one: x509.Certificate) -> bytes:
    return one.public_bytes(Encoding.PEM)
