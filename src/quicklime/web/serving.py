"""The API's own certificate: obtained through the ordinary path at start, replaced long before it ends, without a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from quicklime.web.render import pem
from quicklime.web.server import ServingTLS

RENEWAL_NUMERATOR, RENEWAL_DENOMINATOR = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The certificate that is served now; ``chain`` is DER, leaf first."""

    serial: str
    issuer: str
    chain: Sequence[bytes]
    not_before: int
    not_after: int

    @property
    def due_at(self) -> int:
        lifetime = self.not_after - self.not_before
        return self.not_before + lifetime * RENEWAL_NUMERATOR // RENEWAL_DENOMINATOR


Obtain = Callable[[bytes, str | None], Awaitable[Served]]
"""(SPKI, serial of the one before) -> the certificate. Raises Refused, Fault."""


class ServingCertificate:
    """Keeps ``tls`` served with a certificate that is valid; its key is made here and never written."""

    def __init__(
        self, tls: ServingTLS, obtain: Obtain, clock: Callable[[], int], active: Callable[[], str]
    ) -> None:
        """``active()`` is the issuer that signs now: after a rotation the certificate moves to it."""
        self._tls = tls
        self._obtain = obtain
        self._clock = clock
        self._active = active
        self.served: Served | None = None

    async def renew_where_due(self) -> Served | None:
        """Obtain and install a certificate where there is none, or it is time; the new one, None where nothing was due."""
        now = self._served_until()
        if self._clock() < now:
            return None
        key = ec.generate_private_key(ec.SECP256R1())
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        served = await self._obtain(spki, None if self.served is None else self.served.serial)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._tls.replace(b"".join(map(pem, served.chain)) + private)
        self.served = served
        return served

    def _served_until(self) -> int:
        """Until when the certificate that is served will do."""
        if self.served is None or self.served.issuer != self._active():
            return 0
        return self.served.due_at
