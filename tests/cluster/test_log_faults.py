"""The log on three brokers while they are killed, stopped, wiped: nothing that was answered is lost, nothing stands twice.

Every fault is a signal to a real process. After each: what was answered is at its offset; what was refused stands nowhere; what
is unknown stands once or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from quicklime.adapters.kafka_log import Cluster, KafkaLog, create
from quicklime.log import AppendFailed, AppendUnknown, Entry, LogUnreadable, Record
from tests.support.kafka import Kafka, free_ports, running
from tests.support.proxy import Proxy

SOON_SECONDS = 60.0


class Load:
    """Writers that go on whatever happens, and what they were told of each append."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._numbers = itertools.count()
        self.stand: dict[int, list[bytes]] = {}
        self.failed: list[bytes] = []
        self.unknown: list[bytes] = []

    @asynccontextmanager
    async def running(self, writers: int = 8) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._write()) for _ in range(writers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def more(self, count: int) -> None:
        """Return when that many more were answered."""
        wanted = len(self.stand) + count
        until = time.monotonic() + SOON_SECONDS
        while len(self.stand) < wanted:
            assert time.monotonic() < until, f"{len(self.stand)} of {wanted}"
            await asyncio.sleep(0.02)

    async def _write(self) -> None:
        while True:
            number = next(self._numbers)
            # one in twenty has two entries
            values = [f"{number}.{part}".encode() for part in ("ab" if number % 20 == 0 else "a")]
            try:
                offset = await self._log.append([Entry("test.v1", value) for value in values])
            except AppendFailed:
                self.failed += values
                await asyncio.sleep(0.05)
            except AppendUnknown:
                self.unknown += values
            except asyncio.CancelledError:
                self.unknown += values
                raise
            else:
                self.stand[offset] = values

    def check(self, records: list[Record]) -> None:
        counts = Counter(record.value for record in records)
        assert max(counts.values()) == 1, "something stands twice"
        for offset, values in self.stand.items():
            assert [records[offset + place].value for place in range(len(values))] == values
        assert not counts.keys() & set(self.failed), "what was refused stands"
        assert len(records) == sum(map(len, self.stand.values())) + len(counts.keys() & set(self.unknown))
        for record in records:
            if record.value.endswith(b".b"):
                assert records[record.offset - 1].value == record.value[:-1] + b"a"


def everything(cluster: Cluster) -> list[Record]:
    """By a reader that has seen none of it before."""
    with contextlib.closing(KafkaLog(cluster)) as log:
        records: list[Record] = []
        while page := log.read(len(records)):
            records.extend(page)
        return records


def leader(kafka: Kafka, cluster: Cluster) -> int:
    """The node that leads the topic."""
    found = AdminClient({"bootstrap.servers": kafka.inner}).list_topics(cluster.topic, timeout=10)
    return int(found.topics[cluster.topic].partitions[0].leader) - 1


def await_replicas(kafka: Kafka, cluster: Cluster, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.inner})
    until = time.monotonic() + SOON_SECONDS
    while len(admin.list_topics(cluster.topic, timeout=10).topics[cluster.topic].partitions[0].isrs) != count:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def whole(kafka3: Kafka) -> Iterator[Kafka]:
    """Three brokers, before and after."""
    yield kafka3
    for node in range(kafka3.nodes):
        if kafka3.is_down(node):
            kafka3.run(node)
    kafka3.await_nodes(3)


async def test_a_leader_that_is_killed_and_comes_back_loses_and_doubles_nothing(
    whole: Kafka, topic3: Cluster
) -> None:
    with contextlib.closing(KafkaLog(topic3)) as log:
        load = Load(log)
        async with load.running():
            await load.more(300)
            dead = leader(whole, topic3)
            whole.send(dead, signal.SIGKILL)
            await load.more(300)
            whole.run(dead)
            await asyncio.to_thread(await_replicas, whole, topic3, 3)
            await load.more(300)
    load.check(everything(topic3))


async def test_a_leader_that_stands_still_for_a_while_loses_and_doubles_nothing(
    whole: Kafka, topic3: Cluster
) -> None:
    """Worse than a death: its connections stay open, and what it was sent is carried out, or not, when it goes on."""
    with contextlib.closing(KafkaLog(topic3)) as log:
        load = Load(log)
        async with load.running():
            await load.more(300)
            still = leader(whole, topic3)
            whole.send(still, signal.SIGSTOP)
            try:
                await load.more(300)
            finally:
                whole.send(still, signal.SIGCONT)
            await asyncio.to_thread(await_replicas, whole, topic3, 3)
            await load.more(300)
    load.check(everything(topic3))


async def test_with_all_brokers_away_it_says_so_and_goes_on_when_they_are_back(
    whole: Kafka, topic3: Cluster
) -> None:
    with contextlib.closing(KafkaLog(topic3)) as log:
        load = Load(log)
        async with load.running():
            await load.more(100)
            for node in range(3):
                whole.send(node, signal.SIGKILL)
            until = time.monotonic() + SOON_SECONDS
            while not load.failed:  # refused at once, not only after a long wait
                assert time.monotonic() < until
                await asyncio.sleep(0.02)
            assert len(load.unknown) <= 2 * 8, "more than what was under way"
            while True:
                try:
                    log.head()
                except LogUnreadable:
                    break
                assert time.monotonic() < until
                await asyncio.sleep(0.02)
            with pytest.raises(LogUnreadable):
                log.read(0)
            with pytest.raises(LogUnreadable):
                log.wait(10**9, 5)
            for node in range(3):
                whole.run(node)
            await load.more(100)
    load.check(everything(topic3))


async def test_a_broker_whose_disk_was_lost_gets_it_all_again(whole: Kafka, topic3: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic3)) as log:
        load = Load(log)
        async with load.running():
            await load.more(200)
            node = leader(whole, topic3)
            whole.send(node, signal.SIGKILL)
            await load.more(100)
            whole.wipe(node)
            whole.run(node)
            await asyncio.to_thread(await_replicas, whole, topic3, 3)
            await load.more(100)
    load.check(everything(topic3))


async def test_an_acknowledgement_that_is_lost(tmp_path: Path) -> None:
    """The records landed. One entry: the producer asks again and is told where it stands. Several: unknown, and there once."""
    (port,) = free_ports(1)
    with (
        running(tmp_path, advertised=port) as kafka,
        contextlib.closing(Proxy(port, int(kafka.bootstrap.rpartition(":")[2]))) as proxy,
    ):
        for entries in (1, 2):
            cluster = Cluster(url=f"kafka://127.0.0.1:{port}/{uuid.uuid4()}", replicas=1)
            create(cluster)
            with contextlib.closing(KafkaLog(cluster)) as log:
                assert await log.append([Entry("test.v1", b"before")] * entries) == 0
                proxy.lost.clear()
                proxy.losing.set()
                appending = asyncio.create_task(log.append([Entry("test.v1", b"lost?")] * entries))
                assert await asyncio.to_thread(proxy.lost.wait, 20)
                if entries == 2:
                    with pytest.raises(AppendUnknown):
                        await appending
                proxy.losing.clear()
                if entries == 1:
                    assert await appending == 1
                await _append_when_ready(log, [Entry("test.v1", b"after")] * entries)
            stand = [record.value for record in everything(cluster)]
            assert stand == [b"before"] * entries + [b"lost?"] * entries + [b"after"] * entries


async def _append_when_ready(log: KafkaLog, entries: list[Entry]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while True:
            with contextlib.suppress(AppendFailed):
                await log.append(entries)
                return
            await asyncio.sleep(0.1)
