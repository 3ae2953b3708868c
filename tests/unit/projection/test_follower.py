"""The follower: whoever waits for an offset is woken, or told why not."""

from __future__ import annotations

import asyncio

import pytest

from quicklime.adapters.memory_store import MemoryStore
from quicklime.errors import Fault
from quicklime.log import Entry, LogUnreadable, MemoryLog, Record
from quicklime.projection import Follower, Projector
from quicklime.wiring.local import VIEWS
from tests.support.lives import FOUNDING, planned
from tests.unit.projection.test_projector import entry, some_log


class Hidden(MemoryLog):
    """A log that can be hidden."""

    hidden = False

    def head(self) -> int:
        self._look()
        return super().head()

    def read(self, start: int, limit: int = 1000) -> list[Record]:
        self._look()
        return list(super().read(start, limit))

    def _look(self) -> None:
        if self.hidden:
            raise LogUnreadable("hidden")


def follower_of(log: MemoryLog) -> Follower:
    return Follower(log, Projector(log, MemoryStore(), VIEWS))


async def test_who_waits_under_a_loop_needs_no_thread() -> None:
    log = await some_log()
    follower = follower_of(log)
    changes = await follower.reached(log.head() - 1)
    assert changes is not None
    assert changes.refusal is None
    assert follower.checkpoint == log.head()
    assert follower.authority is not None


async def test_who_waits_for_a_record_to_come_is_woken_by_it() -> None:
    log = await some_log()
    follower = follower_of(log)
    follower.start()
    try:
        waiting = asyncio.create_task(follower.reached(log.head()))
        await asyncio.sleep(0)
        await log.append([entry(planned(5), 50)])
        changes = await asyncio.wait_for(waiting, 30)
    finally:
        await asyncio.to_thread(follower.stop)
    assert changes is not None
    assert list(changes.certificates) == [planned(5).serial]


async def test_a_poison_record_is_told_to_whoever_waits_behind_it_and_after_it() -> None:
    log = await some_log()
    await log.append([Entry("rubbish.v1", b"rubbish")])
    follower = follower_of(log)
    follower.start()
    try:
        for _ in range(2):
            with pytest.raises(Fault, match="the projector stopped"):
                await asyncio.wait_for(follower.reached(log.head() - 1), 30)
    finally:
        await asyncio.to_thread(follower.stop)
    assert follower.stalled is not None
    assert "record 7" in follower.stalled
    assert follower.lag() == 1


async def test_a_log_that_comes_back_is_followed_again() -> None:
    log = Hidden()
    for number, event in enumerate(FOUNDING):
        await log.append([entry(event, number)])
    follower = follower_of(log)
    log.hidden = True
    follower.start()
    try:
        waiting = asyncio.create_task(follower.reached(2))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert follower.stalled is None
        with pytest.raises(LogUnreadable):
            follower.lag()
        log.hidden = False
        assert await asyncio.wait_for(waiting, 30) is not None
    finally:
        await asyncio.to_thread(follower.stop)
