"""Several followers over one store: each sees what the others did, and takes the one turn to write only when it must."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from quicklime.adapters.memory_store import MemoryStore
from quicklime.log import MemoryLog
from quicklime.projection import Batch, Follower, Projector, Store
from quicklime.wiring.local import VIEWS
from tests.support.authority import running

SECONDS_MAX = 10


class Watched:
    """The store of another process: what it writes is counted; ``busy`` means that somebody else has the turn."""

    def __init__(self, shared: MemoryStore) -> None:
        self._shared = shared
        self.turns = 0
        self.busy = False

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._shared.get(table, key)

    def scan(
        self, table: str, *, prefix: bytes = b"", after: bytes | None = None, limit: int = 1000
    ) -> Sequence[tuple[bytes, bytes]]:
        return self._shared.scan(table, prefix=prefix, after=after, limit=limit)

    def close(self) -> None:
        """It is another's to close."""

    @contextmanager
    def write(self) -> Iterator[Batch]:
        self.turns += 1
        with self._shared.write() as batch:
            yield batch

    @contextmanager
    def write_at_once(self) -> Iterator[Batch | None]:
        if self.busy:
            yield None
            return
        self.turns += 1
        with self._shared.write_at_once() as batch:
            yield batch


def other(log: MemoryLog, store: Store) -> Follower:
    """A follower as another process has one; without its thread, so that only what is asked happens."""
    return Follower(log, Projector(log, store, VIEWS))


async def test_what_another_process_brought_in_is_seen_without_a_turn_to_write() -> None:
    log, store = MemoryLog(), MemoryStore()
    watched = Watched(store)
    async with running(log=log, store=store) as here:
        follower = other(log, watched)
        await here.token()
        assert follower.checkpoint == log.head()
        assert follower.lag() == 0
        assert watched.turns == 0


async def test_an_issuer_that_another_process_brought_in_is_known() -> None:
    log, store = MemoryLog(), MemoryStore()
    follower = other(log, Watched(store))
    assert follower.authority is None
    async with running(log=log, store=store) as here:
        assert follower.checkpoint == log.head()
        assert follower.authority == here.state.authority()


async def test_who_waits_while_another_has_the_turn_is_woken_by_what_that_one_did() -> None:
    log, store = MemoryLog(), MemoryStore()
    watched = Watched(store)
    async with running(log=log, store=store) as here:
        follower = other(log, watched)
        watched.busy = True
        waiting = asyncio.create_task(follower.reached(log.head()))
        await asyncio.sleep(0)
        await here.token()
        assert await asyncio.wait_for(waiting, SECONDS_MAX) is None
        assert watched.turns == 0


async def test_who_waits_brings_it_in_itself_once_the_turn_is_free() -> None:
    log, empty = MemoryLog(), Watched(MemoryStore())
    async with running(log=log):
        follower, last = other(log, empty), log.head() - 1
        empty.busy = True
        waiting = asyncio.create_task(follower.reached(last))
        await asyncio.sleep(0)
        assert follower.checkpoint == 0
        empty.busy = False
        assert await asyncio.wait_for(waiting, SECONDS_MAX) is not None
        assert follower.checkpoint == last + 1


async def test_two_followers_at_once_count_each_record_once() -> None:
    log, store = MemoryLog(), MemoryStore()
    async with running(log=log, store=store) as here:
        follower = other(log, Watched(store))
        for _ in range(20):
            await asyncio.gather(here.token(), follower.reached(log.head()))
        assert follower.checkpoint == log.head() == here.follower.checkpoint
        alone = MemoryStore()
        Projector(log, alone, VIEWS).catch_up()
    for table in here.projector.tables:
        assert store.scan(table, limit=10_000) == alone.scan(table, limit=10_000)
