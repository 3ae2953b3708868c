"""However the log is read, in one batch or in many, by views that are asked about everything or not: the tables are the same."""

from __future__ import annotations

import msgspec
import pytest

from quicklime import codec
from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.memory_store import MemoryStore
from quicklime.codec import Undecodable
from quicklime.events import CertificateAbandoned, CertificateRevoked, Event, RevocationSecretAdded
from quicklime.log import Entry, MemoryLog
from quicklime.projection import Projector, Store, View, digest, open_plans
from quicklime.projection import projector as module
from quicklime.wiring.local import VIEWS
from tests.support.lives import FOUNDING, LOCAL, WHEN, issued, planned, serial, token_created
from vectors.make import EXAMPLES, golden


def history() -> list[Event]:
    """Plans that are issued, renewed, abandoned, revoked (also before they are issued) and refused, over many batches."""
    events: list[Event] = [*FOUNDING, token_created()]
    for number in range(0, 60, 6):
        events += [
            planned(number, idempotency=bytes((number,)) * 32),
            issued(number),
            planned(number + 1, predecessor=number),
            planned(number + 2, predecessor=number),  # refused: the other came first
            issued(number + 1),
            RevocationSecretAdded(
                serial=serial(number + 1), revocation_secret_sha256=b"another", added_at=WHEN
            ),
            planned(number + 3),
            RevocationSecretAdded(serial=serial(number + 3), revocation_secret_sha256=b"its", added_at=WHEN),
            CertificateAbandoned(serial=serial(number + 3), cause="test", abandoned_at=WHEN),
            planned(number + 4, idempotency=bytes((number,)) * 32),  # refused: the key is taken
            CertificateRevoked(serial=serial(number), reason=4, revoked_at=WHEN, requester=LOCAL),
            planned(number + 5, key=b"other"),
            CertificateRevoked(serial=serial(number + 5), reason=4, revoked_at=WHEN, requester=LOCAL),
            issued(number + 5),
        ]
    return [*events, planned(99)]


async def log_of(events: list[Event]) -> MemoryLog:
    log = MemoryLog()
    await log.append(
        [
            Entry(
                event.TYPE,
                codec.encode(event, event_id="00" * 16, source="b" * 36, time_seconds=WHEN),
            )
            for event in events
        ]
    )
    return log


def tables(log: MemoryLog, store: Store, views: tuple[View, ...]) -> dict[str, str]:
    return {name: digest(store, name) for name in Projector(log, store, views).tables}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 1000])
async def test_batches_of_any_size_make_the_same(limit: int) -> None:
    log = await log_of(history())
    whole, parts = MemoryStore(), MemoryStore()
    Projector(log, whole, VIEWS).catch_up()
    projector = Projector(log, parts, VIEWS)
    while projector.advance(limit):
        pass
    assert tables(log, parts, VIEWS) == tables(log, whole, VIEWS)
    assert open_plans(parts) == open_plans(whole) == [serial(99)]


@pytest.mark.parametrize("pages", [1, 3, 1000])
async def test_writes_of_several_pages_make_the_same(pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await log_of(history())
    whole, parts = MemoryStore(), MemoryStore()
    Projector(log, whole, VIEWS).catch_up()
    monkeypatch.setattr(module, "READ_RECORDS_MAX", 4)
    monkeypatch.setattr(module, "REPLAY_PAGES", pages)
    told: list[tuple[int, int]] = []
    assert Projector(log, parts, VIEWS).catch_up(lambda done, head: told.append((done, head))) == log.head()
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert tables(log, parts, VIEWS) == tables(log, whole, VIEWS)


async def test_views_need_not_be_asked_about_what_they_do_not_tell_of() -> None:
    log = await log_of([*history(), *EXAMPLES[-3:], *history()])
    assert all(view.events is not None for view in VIEWS)
    asked = tuple(View(name=view.name, version=view.version, project=view.project) for view in VIEWS)
    one, other = MemoryStore(), MemoryStore()
    Projector(log, one, VIEWS).catch_up()
    Projector(log, other, asked).catch_up()
    assert tables(log, one, VIEWS) == tables(log, other, asked)


async def test_every_store_has_the_same(tmp_path: object) -> None:
    log = await log_of(history())
    memory, lmdb = MemoryStore(), LMDBStore(str(tmp_path))
    Projector(log, memory, VIEWS).catch_up()
    Projector(log, lmdb, VIEWS).catch_up()
    assert tables(log, memory, VIEWS) == tables(log, lmdb, VIEWS)
    lmdb.close()


@pytest.mark.parametrize("page", [2, 3, 1000])
async def test_what_precedes_a_record_that_can_not_be_read_counts(
    page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_RECORDS_MAX", page)
    log = await log_of(history()[:8])
    await log.append([Entry("quicklime.poison.v1", b"{}")])
    store = MemoryStore()
    projector = Projector(log, store, VIEWS)
    with pytest.raises(Undecodable, match="record 8"):
        projector.catch_up()
    assert projector.checkpoint() == 8
    other = MemoryStore()
    Projector(await log_of(history()[:8]), other, VIEWS).catch_up()
    assert tables(log, store, VIEWS) == tables(log, other, VIEWS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.TYPE)
def test_a_type_known_beforehand_changes_nothing_but_the_time_it_takes(example: Event) -> None:
    value = golden(example)
    for kind in ("", example.TYPE, EXAMPLES[0].TYPE, EXAMPLES[-1].TYPE, "quicklime.unknown.v9"):
        assert codec.decode(value, kind) == example
    with pytest.raises(Undecodable):
        codec.decode(value[:-1], example.TYPE)
    spoilt = msgspec.json.encode({**msgspec.json.decode(value), "data": {"unknown": 1}})
    with pytest.raises(Undecodable):
        codec.decode(spoilt, example.TYPE)
