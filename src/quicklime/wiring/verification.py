"""Verify a whole log: read every record again, independently of any view, and check what the records claim."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quicklime import codec, lifecycle
from quicklime.adapters.memory_store import MemoryStore
from quicklime.codec import Undecodable
from quicklime.errors import Fault
from quicklime.events import (
    CertificateIssued,
    CertificatePlanned,
    CRLPublished,
    CRLPublishedV2,
    Event,
    IssuerAdded,
)
from quicklime.log import Reader, Record
from quicklime.pki import algorithms, der
from quicklime.pki.certificate import IssuerFacts, assemble_certificate, issuer_id, tbs_of
from quicklime.projection import Folding

Progress = Callable[[str], None]
TOLD_SECONDS = 2.0


@dataclass
class Report:
    """``refused`` counts records that lost to an earlier one, which is no fault. ``faults`` are (offset, what).

    ``late`` are the offsets of issuances whose plan had been given up meanwhile (a slow key, a clock that jumped): signed as
    planned, and handed out to nobody.
    """

    records: int = 0
    certificates: int = 0
    refused: int = 0
    late: list[int] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)


def verify(log: Reader, progress: Progress) -> Report:
    """Read ``log`` from record 0 to its head."""
    report = Report()
    checks = _Checks(report)
    told = time.monotonic()
    store = MemoryStore()
    while page := log.read(report.records):
        with store.write() as batch:
            lives = Folding(batch)
            for record in page:
                report.records += 1
                _one(record, lives, checks, report)
            lives.flush()
        if time.monotonic() - told > TOLD_SECONDS:
            told = time.monotonic()
            progress(f"{report.records} of {log.head()} records")
    return report


def _one(record: Record, lives: Folding, checks: _Checks, report: Report) -> None:
    try:
        envelope = codec.decode_envelope(record.value)
        event = codec.decode(record.value)
    except Undecodable as error:
        report.faults.append((record.offset, str(error)))
        return
    if record.type != envelope.type:
        report.faults.append((record.offset, f"record of type {record.type!r} holds {envelope.type!r}"))
    changes = lifecycle.evolve(lives, record.offset, event)
    lives.keep(changes)
    checks.envelope(record.offset, envelope)
    if changes.refusal is not None:
        report.refused += 1
        if isinstance(event, CertificateIssued):
            _not_standing(record.offset, event, lives, report, changes.refusal.detail)
        return
    try:
        checks.event(record.offset, event)
    except (Fault, InvalidSignature, ValueError) as error:
        report.faults.append((record.offset, f"{type(error).__name__}: {error}"))


def _not_standing(offset: int, event: CertificateIssued, lives: Folding, report: Report, why: str) -> None:
    plan = lives.certificate(event.serial)
    if (
        plan is not None
        and plan.status == "abandoned"
        and sha256(tbs_of(event.certificate)).digest() == plan.tbs_sha256
    ):
        report.late.append(offset)
        return
    # a certificate that was signed though its plan did not stand: somebody else's producer, or a fault of ours
    report.faults.append((offset, f"an issuance that does not stand: {why}"))


class _Checks:
    """What an event claims, against what stands before it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._source: str | None = None
        self._ids: set[str] = set()
        self._issuers: dict[str, IssuerFacts] = {}
        self._plans: dict[str, CertificatePlanned] = {}
        self._complete: dict[tuple[str, int, int], tuple[int, int]] = {}

    def envelope(self, offset: int, envelope: codec.Envelope) -> None:
        if self._source is None:
            self._source = envelope.source
        if envelope.source != self._source:
            self._fault(offset, f"source {envelope.source!r}, expected {self._source!r}")
        if envelope.id in self._ids:
            self._fault(offset, f"the id {envelope.id!r} stands twice")
        self._ids.add(envelope.id)

    def event(self, offset: int, event: Event) -> None:
        match event:
            case IssuerAdded():
                if issuer_id(event.certificate) != event.issuer:
                    self._fault(offset, f"the certificate is not that of issuer {event.issuer}")
                self._issuers[event.issuer] = IssuerFacts.of(event.certificate)
            case CertificatePlanned():
                self._plans[event.serial] = event
            case CertificateIssued():
                self._issued(offset, event)
            case CRLPublished() | CRLPublishedV2():
                self._crl(offset, event)
            case _:
                pass

    def _issued(self, offset: int, event: CertificateIssued) -> None:
        plan = self._plans.pop(event.serial)
        tbs, facts = plan.tbs, self._issuers.get(plan.issuer)
        if facts is None:
            self._fault(offset, f"no issuer {plan.issuer} stands in the log")
            return
        if tbs_of(event.certificate) != tbs:
            self._fault(offset, "the certificate is not over the planned bytes")
        signature = der.contents(der.children(event.certificate)[2])[1:]
        if assemble_certificate(tbs, facts.algorithm, signature) != event.certificate:
            self._fault(offset, "the certificate is not of the planned form")
        algorithms.verify(facts.public_key, signature, tbs, facts.algorithm)
        for what, said, found in _claims(plan, x509.load_der_x509_certificate(event.certificate)):
            if said != found:
                self._fault(offset, f"the plan says {what} {said!r}, the certificate {found!r}")
        self._report.certificates += 1

    def _crl(self, offset: int, event: CRLPublished | CRLPublishedV2) -> None:
        if event.covers > offset:
            self._fault(offset, f"a CRL that covers {event.covers} records, of which {offset} stand")
        if not isinstance(event, CRLPublishedV2):
            return
        scope = (event.issuer, event.shards, event.shard)
        if event.base is None:
            self._complete[scope] = (event.number, event.covers)
        elif self._complete.get(scope) != (event.base, event.base_covers):
            # RFC 5280, Section 5.2.4
            self._fault(offset, f"a delta CRL whose base {event.base} is not the last complete one")

    def _fault(self, offset: int, what: str) -> None:
        self._report.faults.append((offset, what))


def _claims(plan: CertificatePlanned, signed: x509.Certificate) -> Iterator[tuple[str, object, object]]:
    """(what, as the plan says it, as the signed octets say it): a true certificate under another's plan would pass else."""
    spki = signed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    yield "serial", plan.serial, f"{signed.serial_number:040x}"
    yield "key", sha256(plan.public_key).hexdigest(), sha256(spki).hexdigest()
    yield "notBefore", plan.not_before, int(signed.not_valid_before_utc.timestamp())
    yield "notAfter", plan.not_after, int(signed.not_valid_after_utc.timestamp())
    names: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        san = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += [f"dns:{name}" for name in san.get_values_for_type(x509.DNSName)]
        names += [f"ip:{address}" for address in san.get_values_for_type(x509.IPAddress)]
    yield "names", sorted(plan.names), sorted(names)
