"""One process of a simulation, put together as ``wiring.local`` and ``wiring.serving`` do it, over ports that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from quicklime.authority.crls import CRLDesk
from quicklime.authority.founding import FoundingDesk
from quicklime.authority.issuance import IssuanceDesk
from quicklime.authority.ledger import Ledger
from quicklime.authority.revocation import RevocationDesk
from quicklime.authority.tokens import TokenDesk
from quicklime.pki.profile import BUILTIN
from quicklime.pki.signer import Signer
from quicklime.projection import Projector
from quicklime.services.crl.publisher import Publisher, Rules
from quicklime.services.crl.shelf import Lists
from quicklime.telemetry import Lines, Metrics
from quicklime.web.auth import Guard
from quicklime.web.limits import Rate
from quicklime.wiring.local import VIEWS
from tests.support.flaky import FlakyLog, FlakyStore, Stage, SteppedFollower, Witness, WitnessedIssuers
from tests.support.lab import URLS
from tests.support.shelf import MemoryShelf, at_once


@dataclass(slots=True, kw_only=True, eq=False)
class Process:
    """One process: everything that dies with it, and the store that may outlive it."""

    name: str
    log: FlakyLog
    store: FlakyStore
    follower: SteppedFollower
    ledger: Ledger
    issuers: WitnessedIssuers
    issuance: IssuanceDesk
    revocation: RevocationDesk
    tokens: TokenDesk
    founding: FoundingDesk
    publisher: Publisher
    lists: Lists
    guard: Guard
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


def start(
    name: str,
    *,
    log: FlakyLog,
    store: FlakyStore,
    stage: Stage,
    witness: Witness,
    signers: Mapping[str, Signer],
    clock: Callable[[], int],
    entropy: Callable[[int], bytes],
) -> Process:
    """Read the log to its head, and be ready for commands."""
    projector = Projector(log, store, VIEWS)
    projector.catch_up()
    follower = SteppedFollower(log, projector)
    follower.stage, follower.process = stage, name

    ledger = Ledger(log=log, store=store, follower=follower, clock=clock, entropy=entropy)
    issuers = WitnessedIssuers(ledger, signers, BUILTIN, URLS)
    issuers.stage, issuers.process, issuers.witness = stage, name, witness
    shelf = MemoryShelf()
    public = frozenset(profile.name for profile in BUILTIN.values() if not profile.internal)
    return Process(
        name=name,
        log=log,
        store=store,
        follower=follower,
        ledger=ledger,
        issuers=issuers,
        issuance=IssuanceDesk(ledger, issuers),
        revocation=RevocationDesk(ledger),
        tokens=TokenDesk(ledger, public),
        founding=FoundingDesk(ledger),
        publisher=Publisher(
            desk=CRLDesk(ledger, issuers, aside=at_once),
            issuers=issuers,
            store=store,
            shelf=shelf,
            clock=clock,
            urls=URLS,
            rules=Rules(validity_seconds=86_400, refresh_seconds=3600),
            metrics=Metrics(),
            lines=Lines(),
        ),
        lists=Lists(store.get, shelf),
        guard=Guard(
            token_by_hash=ledger.state.token_by_hash,
            certificate=ledger.state.certificate,
            rules=(),
            clock=clock,
            failures=Rate(10**9, burst=10**9),
        ),
    )
