"""The authority of one data directory, put together: log, views, keys, desks. The running server and local commands share it.

Several processes may open the same directory at once: the log takes several writers, the views several projectors.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.authority.founding import FoundingDesk
from quicklime.authority.issuance import IssuanceDesk
from quicklime.authority.issuers import Issuers
from quicklime.authority.ledger import Ledger
from quicklime.authority.revocation import RevocationDesk
from quicklime.authority.tokens import TokenDesk
from quicklime.config import Config
from quicklime.errors import BrokenState
from quicklime.events import Requester
from quicklime.pki.certificate import URLs
from quicklime.projection import Follower, Projector, State, View
from quicklime.services.crl import view as crl_view
from quicklime.services.issuance import view as issuance_view
from quicklime.services.monitor import view as monitor_view
from quicklime.services.ocsp import view as ocsp_view
from quicklime.services.renewal import view as renewal_view
from quicklime.services.revocation import view as revocation_view
from quicklime.wiring.backends import CheckedLog, open_log, open_store
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.entropy import Entropy
from quicklime.wiring.settings import profiles_of
from quicklime.wiring.signers import load_signers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quicklime.pki.profile import Profile
    from quicklime.pki.signer import Signer
    from quicklime.projection import Store

Progress = Callable[[str], None]

VIEWS: tuple[View, ...] = tuple(
    View(name=module.NAME, version=module.VERSION, project=module.project, events=module.EVENTS)
    for module in (issuance_view, renewal_view, revocation_view, ocsp_view, crl_view, monitor_view)
)

PROGRESS_SECONDS = 1.0


def clock() -> int:
    """The present, in UNIX seconds."""
    return int(time.time())


def local_requester() -> Requester:
    """Whoever typed the command on this machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())  # a user without an entry in the system's list, as in many containers
    return Requester(kind="local", id=name, role="admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What commands on this machine work with."""

    config: Config
    directory: DataDirectory
    log: CheckedLog
    store: Store
    projector: Projector
    follower: Follower
    ledger: Ledger
    issuers: Issuers
    issuance: IssuanceDesk
    revocation: RevocationDesk
    tokens: TokenDesk
    founding: FoundingDesk
    profiles: Mapping[str, Profile]
    requester: Requester

    @property
    def state(self) -> State:
        return self.ledger.state


@contextmanager
def opened(config: Config) -> Iterator[tuple[DataDirectory, CheckedLog, Store, Projector]]:
    """The log and the views of an initialised data directory. Raises BrokenState."""
    directory = DataDirectory(config.data_dir)
    with opened_log(config) as log:
        store = open_store(config, directory)
        try:
            yield directory, log, store, Projector(log, store, VIEWS)
        finally:
            store.close()


@contextmanager
def opened_log(config: Config) -> Iterator[CheckedLog]:
    """The log alone, to be read. Raises BrokenState."""
    directory = DataDirectory(config.data_dir)
    if not directory.is_initialised():
        raise BrokenState(
            f"no authority in {directory.path}", hint=f"quicklime init --data-dir {directory.path}"
        )
    log = open_log(config, directory)
    try:
        yield log
    finally:
        log.close()


def scratch_store(path: str) -> Store:
    """An empty store to rebuild a view in."""
    return LMDBStore(path)


@asynccontextmanager
async def open_local(
    config: Config, *, progress: Progress | None = None, keys: bool = True
) -> AsyncIterator[Local]:
    """Everything, caught up with the log. Raises BrokenState, and Undecodable where a record is not ours.

    ``keys`` False leaves the issuing keys alone, for what must work when they are lost.
    """
    with opened(config) as (directory, log, store, projector):
        if progress is not None and (seen := projector.checkpoint()) > (head := log.head()):
            progress(
                f"warning: the log ends at record {head}, but the views had seen {seen}: it lost its end"
            )
        await asyncio.to_thread(projector.catch_up, None if progress is None else _told(progress))
        signers = load_signers(directory, config) if keys else {}
        async with assembled(config, directory, log, store, projector, signers) as local:
            yield local


@asynccontextmanager
async def assembled(
    config: Config,
    directory: DataDirectory,
    log: CheckedLog,
    store: Store,
    projector: Projector,
    signers: Mapping[str, Signer],
    *,
    now: Callable[[], int] = clock,
) -> AsyncIterator[Local]:
    """The desks over an open log and store; the follower runs as long as the block. ``now`` is the desks' clock."""
    follower = Follower(log, projector)
    ledger = Ledger(log=log, store=store, follower=follower, clock=now, entropy=Entropy())
    profiles = profiles_of(config)
    issuers = Issuers(ledger, signers, profiles, URLs(str(config.status.url), config.crl.shards))
    public = frozenset(profile.name for profile in profiles.values() if not profile.internal)
    follower.start()
    try:
        yield Local(
            config=config,
            directory=directory,
            log=log,
            store=store,
            projector=projector,
            follower=follower,
            ledger=ledger,
            issuers=issuers,
            issuance=IssuanceDesk(ledger, issuers),
            revocation=RevocationDesk(ledger),
            tokens=TokenDesk(ledger, public),
            founding=FoundingDesk(ledger),
            profiles=profiles,
            requester=local_requester(),
        )
    finally:
        await asyncio.to_thread(follower.stop)


def _told(progress: Progress) -> Callable[[int, int], None]:
    """Says how far a long replay has come, at most once a second, and nothing where it is short."""
    told = time.monotonic()

    def tell(done: int, head: int) -> None:
        nonlocal told
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            progress(f"reading the log: {done} of {head} records")

    return tell
