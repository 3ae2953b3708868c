"""The lists of an authority in this process: published into a folder, asked for as clients do, each judged by pkilint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from quicklime.adapters.file_shelf import FileShelf
from quicklime.authority.crls import CRLDesk
from quicklime.events import CertificateRevoked, CRLPublishedV2, Requester
from quicklime.pki.certificate import URLs
from quicklime.pki.shards import Scope
from quicklime.services.crl import api
from quicklime.services.crl.publisher import Publisher, Rules
from quicklime.services.crl.shelf import Lists
from quicklime.telemetry import Lines
from quicklime.web.status_message import Handler, Part, Request, Response
from tests.support import pkix_lint
from tests.support.authority import Authority, Subscriber
from tests.support.lab import URLS

DAY = 86_400
RULES = Rules(validity_seconds=7 * DAY, refresh_seconds=DAY)
WITH_DELTAS = Rules(validity_seconds=7 * DAY, refresh_seconds=DAY, delta_validity_seconds=3600)
ADA = Requester(kind="local", id="ada", role="admin")


@dataclass(slots=True)
class Press:
    """A publisher and its server over one authority. Made anew over the same folder, it is what a restart is."""

    authority: Authority
    folder: Path
    urls: URLs = URLS
    rules: Rules = RULES
    publisher: Publisher = field(init=False)
    shelf: FileShelf = field(init=False)
    lists: Lists = field(init=False)
    handler: Handler = field(init=False)

    def __post_init__(self) -> None:
        it = self.authority
        self.shelf = FileShelf(self.folder)
        self.lists = Lists(it.store.get, self.shelf)
        self.publisher = Publisher(
            desk=CRLDesk(it.ledger, it.issuers),
            issuers=it.issuers,
            store=it.store,
            shelf=self.shelf,
            clock=it.clock,
            urls=self.urls,
            rules=self.rules,
            metrics=it.metrics,
            lines=Lines(),
        )
        self.handler = api.handler(self.lists, it.state.authority, it.clock)

    @property
    def issuer(self) -> str:
        return self.authority.lab.facts.issuer

    async def publish(self) -> int:
        """Publish until nothing is due; how many lists were made."""
        made = 0
        while more := await self.publisher.publish_where_due():
            made += more
            assert made < 10_000
        return made

    async def certificate(self, by: Subscriber | None = None) -> x509.Certificate:
        found = await self.authority.issued(by=by)
        return x509.load_pem_x509_certificate(found["certificate"].encode())

    async def revoke(self, certificate: x509.Certificate, reason: int = 4) -> None:
        """By a fact, so that a test needs no proof."""
        await self.authority.ledger.record(
            CertificateRevoked(
                serial=f"{certificate.serial_number:040x}",
                reason=reason,
                revoked_at=self.authority.clock(),
                requester=ADA,
            )
        )

    def ask(self, target: str, method: str = "GET", **headers: str) -> Response:
        given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        return self.handler(Request(method=method, target=target.encode(), headers=given, body=b""))

    def fetch(self, url: str) -> x509.CertificateRevocationList:
        """The list under ``url``, whichever base URL it has; judged by a linter and by its signature."""
        answer = self.ask(url[url.rindex("/crl/") :])
        assert answer.status == 200, (url, answer.status)
        return self.judged(octets(answer))

    def judged(self, der: bytes) -> x509.CertificateRevocationList:
        assert pkix_lint.crl_findings(der) == set()
        found = x509.load_der_x509_crl(der)
        facts = self.authority.lab.facts
        assert found.is_signature_valid(facts.public_key)  # type: ignore[arg-type]
        assert found.issuer.public_bytes() == facts.subject_der
        return found

    def plain(self) -> x509.CertificateRevocationList:
        return self.fetch(self.urls.crl(self.issuer))

    def published(self, shard: int = 0, shards: int = 1, *, delta: bool = False) -> CRLPublishedV2:
        found = self.lists.published(Scope(issuer=self.issuer, shards=shards, shard=shard), delta=delta)
        assert found is not None
        return found


def octets(response: Response) -> bytes:
    body = response.body
    return body.source.read(body.start, body.octets) if isinstance(body, Part) else body


def point_of(certificate: x509.Certificate) -> str:
    """The URL of the certificate's CRL."""
    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    (name,) = point.full_name
    return str(name.value)


def points_of(crl: x509.CertificateRevocationList) -> list[str]:
    """The URLs of the issuing distribution point; none where there is none."""
    try:
        found = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    except x509.ExtensionNotFound:
        return []
    assert found.critical
    assert found.value.full_name is not None
    return [str(name.value) for name in found.value.full_name]


def number_of(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def base_of(crl: x509.CertificateRevocationList) -> int | None:
    try:
        found = crl.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    except x509.ExtensionNotFound:
        return None
    assert found.critical
    return found.value.crl_number


def serials_of(crl: x509.CertificateRevocationList) -> set[int]:
    return {one.serial_number for one in crl}
