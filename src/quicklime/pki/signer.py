"""The port to a private key that signs certificates, CRLs and OCSP responses.

Contract, kept by every adapter (``tests/contracts/test_signer.py``):

* ``sign`` returns the signature value as it stands in the BIT STRING of a certificate over exactly ``data``, or raises
  ``SignerUnavailable``; it never returns a partial signature. RSA signatures, and whatever a token computed, were verified;
  certificates are verified once more, whatever the key (``pki.certificate.check_issued``).
* The private key never leaves the adapter: it is in no repr, no log line and no exception text.
* ``blocking`` says whether a call may take longer than a millisecond (a token on a bus, RSA, ML-DSA): such a signer is
  called on a thread, never on the event loop.
"""

from __future__ import annotations

from typing import Protocol

from quicklime.errors import Fault


class SignerUnavailable(Fault):
    """The key can't be used now (token gone, session lost, passphrase missing). Nothing was signed."""


class Signer(Protocol):
    @property
    def uri(self) -> str:
        """Where the key lives, without any secret: ``file:issuing.pem``, ``pkcs11:token=ca;object=issuing``."""
        ...

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        ...

    @property
    def algorithm(self) -> bytes:
        """AlgorithmIdentifier, DER, as it stands in ``signature`` and ``signatureAlgorithm`` (RFC 5280, 4.1.1.2)."""
        ...

    @property
    def blocking(self) -> bool: ...

    def sign(self, data: bytes) -> bytes:
        """The signature over ``data``. Raises SignerUnavailable."""
        ...
