"""The dashboard, put together: a process of its own that fills its view from the log, and the routes that ask it.

Exactly one process writes the view: whoever holds the lock beside it. It is a process, not a thread, because filling rows
would take the interpreter from requests; it reads the log alone, so it can neither hold up nor harm anything else. Where it
dies, it is started anew, and goes on from the checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import multiprocessing
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import Route

from quicklime.adapters.sqlite_store import SQLiteStore
from quicklime.errors import Fault
from quicklime.events import RequestRefused
from quicklime.log import LogUnreadable, Reader
from quicklime.projection import Projector, View
from quicklime.projection.tabular import Layout, Table
from quicklime.services.monitor import wire
from quicklime.services.monitor.api import dashboard, export, openapi, page, sessions, stream, why_not_ready
from quicklime.services.monitor.view import layout, rows
from quicklime.web.session import Sessions
from quicklime.wiring.directory import DataDirectory, write_file
from quicklime.wiring.local import Local, clock, opened_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from quicklime.config import Config
    from quicklime.web.auth import Guard

VIEWS: tuple[View, ...] = tuple(
    View(name=name, version=rows.VERSION, project=project, events=events)
    for name, project, events in (
        (rows.CERTIFICATES, rows.certificates, frozenset()),
        (rows.RECORDS, rows.records, None),
        (rows.REFUSALS, rows.refusals, frozenset({RequestRefused})),
    )
)
LAYOUT = Layout(
    tables=tuple(Table(name=name, columns=columns) for name, columns in layout.TABLES),
    schema=layout.SCHEMA,
    derived=layout.DERIVED,
)
ROLES = ("issuance", "renewal", "revocation", "ocsp", "crl", "monitor")

SESSION_KEY_OCTETS = 32
WAIT_SECONDS = 0.25
AWAY_SECONDS = 2.0
STOP_SECONDS_MAX = 5.0
NICENESS = 5
BATCH_RECORDS = 500


def view_file(directory: DataDirectory) -> Path:
    """Where the dashboard's view lies. It may be deleted while nothing serves."""
    return directory.path / "dashboard" / "view.sqlite"


def session_key(directory: DataDirectory) -> bytes:
    """What seals the sessions' cookies; made where it is missing. Deleting it signs everybody out."""
    path = directory.secrets / "session-key"
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        write_file(draft, secrets.token_bytes(SESSION_KEY_OCTETS))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it leaves the key of a process that was quicker
        draft.unlink()
    return path.read_bytes()


# --- the process that fills the view --------------------------------------------------------------------------------


def fill(config: Config, parent: int) -> None:
    """Follow the log until ``parent`` is gone or tells us to end. The target of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's matter: it ends us
    os.nice(NICENESS)
    path = view_file(DataDirectory(config.data_dir))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(path.with_name("lock"), parent), opened_log(config) as log:
        store = SQLiteStore(path, LAYOUT, writing=True)
        try:
            follow(log, Projector(log, store, VIEWS), lambda: os.getppid() == parent)
        finally:
            store.close()


def follow(log: Reader, projector: Projector, goes_on: Callable[[], bool]) -> None:
    """Apply what comes, for as long as ``goes_on`` says so. Raises Undecodable where a record is not ours."""
    while goes_on():
        try:
            applied = projector.advance(BATCH_RECORDS)
            if not applied:
                log.wait(applied.checkpoint, WAIT_SECONDS)
        except LogUnreadable:
            time.sleep(AWAY_SECONDS)


@contextmanager
def _alone(path: Path, parent: int) -> Iterator[None]:
    """Hold the lock of the one writer; wait for it while the parent lives."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while os.getppid() == parent:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(WAIT_SECONDS)
        yield
    finally:
        os.close(descriptor)


# --- what the serving process has of it -----------------------------------------------------------------------------


class Filler:
    """The process that fills the view, as the one process of a server that does the upkeep has it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._process: BaseProcess | None = None

    def start(self) -> None:
        """Start the process that fills the view."""
        # spawned, not forked: threads and the log's connections are this process's own
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=fill, args=(self._config, os.getpid()), name="dashboard-view", daemon=True
        )
        self._process.start()

    async def keep_running(self) -> None:
        """Start it anew where it has died. Raises Fault saying so, once per death."""
        if self._process is None or self._process.is_alive():
            return
        code = self._process.exitcode
        await asyncio.to_thread(self.start)
        raise Fault(f"the process that fills the dashboard's view ended with {code}")

    async def stop(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
            await asyncio.to_thread(self._process.join, STOP_SECONDS_MAX)
            if self._process.is_alive():
                self._process.kill()


class Dashboard:
    """What every process that serves the API has of the dashboard: its routes and its sessions; it only reads the view."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._started_at = clock()
        self._index = SQLiteStore(view_file(local.directory), LAYOUT, writing=False)
        self._ticker = stream.Ticker(self._index)
        self.sessions = Sessions(session_key(local.directory))

    def end_streams(self) -> None:
        """Before the server stops taking requests: a stream would hold it up."""
        self._ticker.close()

    def close(self) -> None:
        self._index.close()

    def routes(self, guard: Guard) -> list[Route]:
        sources = self._sources()
        return [
            *openapi.routes(),
            *dashboard.routes(sources, guard),
            *export.routes(sources, guard),
            *stream.routes(self._index, guard, self._ticker),
            *sessions.routes(guard, self.sessions, clock),
            *page.routes(),
        ]

    def _sources(self) -> dashboard.Sources:
        local = self._local

        def authority() -> tuple[str, str]:
            found = local.issuers.authority()
            return found.authority, found.name

        return dashboard.Sources(
            index=self._index,
            read=local.ledger.read,
            raw=lambda offset: bytes(local.log.read(offset, 1)[0].value),
            issuers=lambda: local.issuers.authority().issuers,
            chain=local.issuers.chain,
            here=lambda: frozenset(key.issuer for key in local.issuers.here()),
            authority=authority,
            log_head=local.log.head,
            views=self._views,
            not_ready=lambda: why_not_ready(
                local.issuers, local.follower, local.config.readiness.lag_records_max
            ),
            roles=ROLES,
            clock=clock,
            started_at=self._started_at,
        )

    def _views(self) -> list[wire.ViewLag]:
        follower = self._local.follower
        return [
            wire.ViewLag(
                name="lives, names, status",
                checkpoint=follower.checkpoint,
                lag_records=follower.lag(),
                state="following" if follower.stalled is None else "stopped",
            )
        ]
