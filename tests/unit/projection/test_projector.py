"""The projector: each record once, whatever breaks; and what it does with a store or a log that is not what it was."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from quicklime import codec
from quicklime.adapters.memory_store import MemoryStore
from quicklime.codec import Undecodable
from quicklime.errors import Fault
from quicklime.events import Event
from quicklime.lifecycle import Changes
from quicklime.log import Entry, MemoryLog
from quicklime.projection import META, Projector, State, View, digest, pairs
from quicklime.wiring.local import VIEWS
from tests.support.flaky import FlakyStore
from tests.support.lives import FOUNDING, issued, planned, serial

SOURCE = "0b9f6a52-6f0c-4e1e-9d83-7a4f6f7d2c11"


def entry(event: Event, number: int) -> Entry:
    return Entry(event.TYPE, codec.encode(event, event_id=f"{number:032x}", source=SOURCE, time_seconds=0))


async def log_of(*events: Event) -> MemoryLog:
    log = MemoryLog()
    for number, event in enumerate(events):
        await log.append([entry(event, number)])
    return log


async def some_log() -> MemoryLog:
    return await log_of(*FOUNDING, planned(1), issued(1), planned(2, predecessor=1), issued(2))


def tables(store: MemoryStore, projector: Projector) -> dict[str, str]:
    return {table: digest(store, table) for table in projector.tables}


def counting(seen: list[int]) -> View:
    """A view that says which records it was shown."""

    def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
        seen.append(offset)
        yield b"last", str(offset).encode()

    return View(name="counting", version=1, project=project)


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
async def test_the_size_of_a_batch_makes_no_difference(step: int) -> None:
    log = await some_log()
    one, other = MemoryStore(), MemoryStore()
    stepping, whole = Projector(log, one, VIEWS), Projector(log, other, VIEWS)
    while stepping.advance(step):
        pass
    whole.catch_up()
    assert tables(one, stepping) == tables(other, whole)


async def test_a_write_that_broke_off_is_done_again_and_counts_once() -> None:
    log, store = await some_log(), FlakyStore()
    projector = Projector(log, store, VIEWS)
    projector.advance(4)
    before = tables(store, projector)
    store.breaks = True
    with pytest.raises(Fault):
        projector.advance()
    assert tables(store, projector) == before
    assert projector.checkpoint() == 4
    projector.catch_up()
    fresh = MemoryStore()
    other = Projector(log, fresh, VIEWS)
    other.catch_up()
    assert tables(store, projector) == tables(fresh, other)


async def test_two_projectors_over_one_store_show_each_record_to_one_of_them() -> None:
    log, store, seen = await some_log(), MemoryStore(), list[int]()
    one, other = (Projector(log, store, [counting(seen)]) for _ in range(2))
    while one.advance(1) or other.advance(2):
        other.advance(1)
    assert seen == list(range(log.head()))


async def test_a_poison_record_stops_the_view_where_it_stands_and_all_before_counts() -> None:
    log = await some_log()
    await log.append([Entry("quicklime.certificate.issued.v1", b"{}")])
    store = MemoryStore()
    projector = Projector(log, store, VIEWS)
    assert len(projector.advance()) == 7
    for _ in range(2):
        with pytest.raises(Undecodable, match="record 7"):
            projector.advance()
    assert projector.checkpoint() == 7
    found = State(store.get).certificate(serial(2))
    assert found is not None
    assert found.status == "issued"


async def test_a_store_of_another_layout_is_made_anew() -> None:
    log, store = await some_log(), MemoryStore()
    Projector(log, store, VIEWS).catch_up()
    seen: list[int] = []
    projector = Projector(log, store, [counting(seen)])
    assert projector.checkpoint() == 0
    projector.catch_up()
    assert seen == list(range(log.head()))


async def test_a_store_of_another_log_is_made_anew() -> None:
    store = MemoryStore()
    Projector(await some_log(), store, VIEWS).catch_up()
    other = await log_of(FOUNDING[0], *FOUNDING[1:], planned(3))
    # the same founding under another id: another log
    changed = MemoryLog()
    for number, event in enumerate([*FOUNDING, planned(3)]):
        await changed.append([entry(event, number + 100)])
    projector = Projector(changed, store, VIEWS)
    projector.catch_up()
    state = State(store.get)
    assert other.head() == changed.head() == projector.checkpoint()
    assert state.certificate(serial(1)) is None
    assert state.certificate(serial(3)) is not None


async def test_a_checkpoint_that_can_not_be_read_counts_as_none() -> None:
    log, store = await some_log(), MemoryStore()
    projector = Projector(log, store, VIEWS)
    projector.catch_up()
    before = tables(store, projector)
    with store.write() as batch:
        batch.put(META, b"checkpoint", b"\xc1")
    again = Projector(log, store, VIEWS)
    assert again.checkpoint() == 0
    again.catch_up()
    assert tables(store, again) == before


async def test_a_rebuilt_table_is_the_same_to_the_byte_also_where_it_was_damaged() -> None:
    log, store = await some_log(), MemoryStore()
    projector = Projector(log, store, VIEWS)
    projector.catch_up()
    before = tables(store, projector)
    for view in VIEWS:
        with store.write() as batch:
            batch.clear(view.name)
            batch.put(view.name, b"rubbish", b"x")
        assert projector.rebuild(view.name, MemoryStore()) == log.head()
        assert dict(pairs(store, view.name)).keys().isdisjoint({b"rubbish"})
    assert tables(store, projector) == before


async def test_a_record_that_comes_twice_changes_nothing() -> None:
    once, twice = MemoryLog(), MemoryLog()
    for number, event in enumerate([*FOUNDING, planned(1), issued(1)]):
        await once.append([entry(event, number)])
        for _ in range(1 if number < 3 else 2):
            await twice.append([entry(event, number)])
    states = []
    for log in (once, twice):
        store = MemoryStore()
        Projector(log, store, VIEWS).catch_up()
        states.append(State(store.get).certificate(serial(1)))
    first, second = states
    assert first is not None
    assert second is not None
    assert (first.status, first.tbs_sha256, first.successor) == (
        second.status,
        second.tbs_sha256,
        second.successor,
    )
    assert second.plan_offset == 3
