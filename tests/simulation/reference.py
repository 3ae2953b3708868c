"""What the log says, read by nobody but us: the judge over every process of a simulation.

It folds each record as soon as it stands, remembers what every prefix of the log makes of every view, and keeps books of its own
about what may never happen: they follow from the records and their verdicts, not from the fold's tables.
"""

from __future__ import annotations

import itertools
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from hashlib import sha256

from quicklime import codec
from quicklime.adapters.memory_store import MemoryStore
from quicklime.errors import Reason
from quicklime.events import (
    CertificateAbandoned,
    CertificateIssued,
    CertificatePlanned,
    CertificateRevoked,
    CRLPublished,
    CRLPublishedV2,
    Event,
    TokenCreated,
)
from quicklime.lifecycle.certificate import Certificate
from quicklime.log import MemoryLog
from quicklime.pki import der
from quicklime.pki.certificate import tbs_of
from quicklime.projection import Projector, State, Store, digest
from quicklime.wiring.local import VIEWS
from tests.support.flaky import Witness

Digests = dict[str, str]


class Reference(Witness):
    """The log's truth at its head."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.store = MemoryStore()
        self._projector = Projector(log, self.store, VIEWS)
        self.tables = self._projector.tables
        self.state = State(self.store.get)
        self.digests: list[Digests] = [self._digests(self.store)]
        self.events: list[Event] = []
        self.refusals: list[Reason | None] = []
        # the books
        self.plans: dict[bytes, CertificatePlanned] = {}  # plans that stand, by what is to be signed
        self.signed: Counter[bytes] = Counter()
        self.revoked: dict[str, int] = {}  # serial -> offset of the revocation that counts
        self.issued: dict[str, tuple[int, bytes]] = {}  # serial -> offset, DER
        self.abandoned: set[str] = set()
        self.numbers: dict[str, int] = {}
        self.secrets: set[bytes] = set()

    @property
    def head(self) -> int:
        return len(self.events)

    def catch_up(self) -> None:
        """Fold what stands by now, record by record, and check each."""
        while applied := self._projector.advance(1):
            (changes,) = applied.changes
            event = codec.decode(self._log.read(applied.first, 1)[0].value)
            self.events.append(event)
            self.refusals.append(changes.refusal)
            self.digests.append(self._digests(self.store))
            self._note(applied.first, event, changes.refusal)
            self._check_books()

    def _digests(self, store: Store) -> Digests:
        return {table: digest(store, table) for table in self.tables}

    def _note(self, offset: int, event: Event, refusal: Reason | None) -> None:
        if refusal is not None:
            return
        match event:
            case CertificatePlanned():
                assert event.tbs not in self.plans, "two plans for the same bytes"
                self.plans[event.tbs] = event
                if event.predecessor is not None:
                    assert event.predecessor in self.issued, "a renewal of what was never issued stands"
                    assert event.predecessor not in self.revoked, "a renewal of what was revoked stands"
                    wider = set(event.names) - set(self.certificate(event.predecessor).names)
                    assert not wider, "names widened"
            case CertificateIssued():
                plan = self.plans.get(tbs_of(event.certificate))
                assert plan is not None, f"{event.serial} was issued and not planned to the byte"
                assert plan.serial == event.serial
                assert event.serial not in self.issued, f"{event.serial} was issued twice"
                assert event.serial not in self.abandoned, f"{event.serial} was issued after it was given up"
                assert self.signed[plan.tbs] == 1, f"{event.serial} was issued and not signed by us once"
                self.issued[event.serial] = offset, event.certificate
            case CertificateAbandoned():
                assert event.serial not in self.issued, f"{event.serial} was given up after it was issued"
                self.abandoned.add(event.serial)
            case CertificateRevoked():
                assert event.serial not in self.revoked, f"{event.serial} was revoked twice"
                self.revoked[event.serial] = offset
            case CRLPublished() | CRLPublishedV2():
                # RFC 5280, Section 5.2.3
                assert event.number > self.numbers.get(event.issuer, 0), "a CRL number does not rise"
                assert event.covers <= offset, "a CRL covers what did not stand yet"
                self.numbers[event.issuer] = event.number
            case _:
                pass

    def _check_books(self) -> None:
        standing = [plan for plan in self.plans.values() if plan.serial not in self.abandoned]
        parents = Counter(plan.predecessor for plan in standing if plan.predecessor is not None)
        assert all(count == 1 for count in parents.values()), f"more than one successor: {parents}"
        claims = Counter(plan.idempotency_sha256 for plan in standing if plan.idempotency_sha256 is not None)
        assert all(count == 1 for count in claims.values()), "two plans stand under one idempotency key"
        uses = Counter(plan.requester.id for plan in standing if plan.requester.kind == "token")
        for event, refusal in zip(self.events, self.refusals, strict=True):
            if isinstance(event, TokenCreated) and refusal is None and event.uses_max is not None:
                assert uses[event.token] <= event.uses_max, f"token {event.token} was used too often"
                token = self.state.token(event.token)
                assert token is not None
                assert token.uses == uses[event.token], f"token {event.token} miscounts its uses"
        for claim in {plan.idempotency_sha256 for plan in self.plans.values()} - {None}:
            assert claim is not None
            holders = [plan.serial for plan in standing if plan.idempotency_sha256 == claim]
            assert self.state.claim(claim) == (holders[0] if holders else None), "a claim is held by another"
        children = {plan.predecessor: plan.serial for plan in standing}
        for serial, offset in self.revoked.items():
            life = self.certificate(serial)
            assert life.status == "revoked", f"{serial} came back from its revocation"
            assert life.revocation is not None
            assert life.revocation.offset == offset, f"{serial} is revoked by another record than the first"
        for serial, (offset, _) in self.issued.items():
            life = self.certificate(serial)
            assert life.issued_offset == offset
            assert life.successor == children.get(serial), f"{serial} has another successor than the log says"
            assert (life.status == "issued") == (serial not in self.revoked)

    def certificate(self, serial: str) -> Certificate:
        found = self.state.certificate(serial)
        assert found is not None, f"the log knows no certificate {serial}"
        return found

    # --- what is about to be done -----------------------------------------------------------------------------------

    def signing(self, data: bytes) -> None:
        """The log must hold what is about to be signed, and must have decided that it stands."""
        # RFC 5280, Sections 4.1 and 5.1: a TBSCertificate of version 3 begins with [0], a TBSCertList with an INTEGER
        if der.children(data)[0][0] != 0xA0:
            return
        self.catch_up()
        assert data in self.plans, "signed without a plan that stands in the log"
        self.signed[data] += 1
        assert self.signed[data] == 1, "the same plan was signed twice"

    # --- at every step ----------------------------------------------------------------------------------------------

    def check_view(self, whose: str, store: Store, checkpoint: int) -> None:
        """A process's store is to the byte what the records before its checkpoint make of it: replay is live."""
        found = self._digests(store)
        expected = self.digests[checkpoint]
        wrong = [table for table in self.tables if found[table] != expected[table]]
        assert not wrong, f"{whose} at {checkpoint} has other tables {wrong} than a replay"

    def check_replay(self, step: int) -> None:
        """All of the log once more into an empty store, in batches of some size: the same bytes."""
        store = MemoryStore()
        projector = Projector(self._log, store, VIEWS)
        while projector.advance(step):
            pass
        assert self._digests(store) == self.digests[-1], "a second replay has another outcome"

    def check_no_secret_in_clear(self) -> None:
        forms = [
            form
            for secret in self.secrets
            for form in (
                secret,
                b64encode(secret),
                urlsafe_b64encode(secret).rstrip(b"="),
                secret.hex().encode(),
            )
        ]
        for record in itertools.chain.from_iterable(self._pages()):
            assert not any(form in record for form in forms), "a secret stands in the log in clear"

    def _pages(self) -> list[list[bytes]]:
        return [
            [record.value for record in self._log.read(start)] for start in range(0, self._log.head(), 1000)
        ]

    def knows_secret(self, serial: str, secret: bytes) -> bool:
        return sha256(secret).digest() in self.certificate(serial).revocation_secrets_sha256
