"""The dashboard over an authority in this process: its view in a file, its routes beside the others, requests without a socket."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from quicklime.adapters.sqlite_store import SQLiteStore
from quicklime.log import MemoryLog, Reader
from quicklime.projection import Projector
from quicklime.services.monitor.api import dashboard, export, openapi, page, sessions, stream
from quicklime.telemetry import Lines, Metrics
from quicklime.web.application import Application
from quicklime.web.limits import Rate
from quicklime.web.session import Sessions
from quicklime.wiring.monitor import LAYOUT, VIEWS
from tests.support.authority import ADDRESS, Authority, running

SESSION_KEY = b"k" * 32


def filled(path: Path, log: Reader, *, at_once: int = 1000) -> None:
    """The view of ``log`` in a new file."""
    store = SQLiteStore(path, LAYOUT, writing=True)
    projector = Projector(log, store, VIEWS)
    while projector.advance(at_once):
        pass
    store.close()


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, those that triggers keep too."""
    with closing(sqlite3.connect(path)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if not name.startswith("sqlite_")
        ]
        # how FTS packs its segments depends on how many rows came at once; what it finds is asked of it
        found = {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for name in names
            if not name.startswith("search")
        }
        words = "SELECT rowid FROM search WHERE words MATCH 'internal' ORDER BY rowid"
        return found | {"search": connection.execute(words).fetchall()}


def prefix(log: Reader, count: int) -> MemoryLog:
    """The first ``count`` records as a log of their own."""
    shorter = MemoryLog()
    shorter._records = list(log.read(0, count))
    return shorter


@dataclass(slots=True, kw_only=True)
class Watched:
    """An authority with its dashboard."""

    authority: Authority
    index: SQLiteStore
    projector: Projector
    application: Application
    ticker: stream.Ticker

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        cookie: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        given = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        if token is not None:
            given.append((b"authorization", f"Bearer {token}".encode()))
        if cookie is not None:
            given.append((b"cookie", cookie.encode()))
        transport = httpx.ASGITransport(app=self.application, client=(ADDRESS, 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost:8443") as client:
            return await client.request(method, path, headers=given, **more)

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of an answer to whoever may read everything, after the view has caught up."""
        self.projector.catch_up()
        answer = await self.ask("GET", f"/v1/monitor/{path}", token=self.authority.admin, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@asynccontextmanager
async def watched(folder: Path, *, built: Path | None = None, **options: Any) -> AsyncIterator[Watched]:
    """As ``running``, with the dashboard."""
    async with running(**options) as authority:
        path = folder / "view.sqlite"
        store = SQLiteStore(path, LAYOUT, writing=True)
        projector = Projector(authority.log, store, VIEWS)
        projector.catch_up()
        seal = Sessions(SESSION_KEY)
        guard = replace(authority.guard, token=authority.state.token, sessions=seal)
        ticker = stream.Ticker(store)
        sources = dashboard.Sources(
            index=store,
            read=authority.ledger.read,
            raw=lambda offset: authority.log.read(offset, 1)[0].value,
            issuers=lambda: authority.issuers.authority().issuers,
            chain=authority.issuers.chain,
            here=lambda: frozenset(key.issuer for key in authority.issuers.here()),
            authority=lambda: (authority.issuers.authority().authority, "Lab"),
            log_head=authority.log.head,
            views=list,
            not_ready=list,
            roles=("monitor",),
            clock=authority.clock,
            started_at=authority.clock.now,
        )
        routes = [
            *openapi.routes(),
            *dashboard.routes(sources, guard),
            *export.routes(sources, guard),
            *stream.routes(store, guard, ticker),
            *sessions.routes(guard, seal, authority.clock),
            *page.routes(built or folder / "no page"),
        ]
        yield Watched(
            authority=authority,
            index=store,
            projector=projector,
            application=Application(routes, metrics=Metrics(), lines=Lines(), rate=Rate(60_000)),
            ticker=ticker,
        )
        ticker.close()
        store.close()
