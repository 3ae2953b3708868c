"""The log on Apache Kafka: one topic with one partition, whose offsets are the log's offsets.

Invariant: what is at an offset of the topic is at that offset of the log, to the byte. No transaction ever writes to the topic,
since its markers would take offsets; no compaction and no retention takes any away.

Value: the event's bytes. Headers: ``content-type``, and the type as ``ce_type``, so that a reader can skip without decoding
(CloudEvents Kafka Protocol Binding 1.0.2, Sections 3.3.1 and 3.3.3). No key: there is nothing to partition by.

Open it after ``fork``, not before: librdkafka's threads do not come along.
"""

from __future__ import annotations

from collections.abc import Sequence

from quicklime.adapters.kafka_log import topic
from quicklime.adapters.kafka_log.appender import QUEUE_ENTRIES_MAX, QUEUE_OCTETS_MAX, Appender
from quicklime.adapters.kafka_log.cluster import SASL, Cluster
from quicklime.adapters.kafka_log.history import History
from quicklime.adapters.kafka_log.tail import Tail
from quicklime.adapters.kafka_log.topic import create
from quicklime.log import READ_RECORDS_MAX, Entry, Record

__all__ = ["SASL", "Cluster", "KafkaLog", "create"]

FEW_RECORDS = 8


class KafkaLog:
    """The log in the topic of ``cluster``. Every method may be called from any thread; ``append`` under any event loop.

    ``head`` and ``read`` near the end answer from memory. Raises BrokenState where the topic can't be trusted, LogUnreadable
    where no broker answers. A cancelled ``append`` is like a lost answer. ``as_it_is`` opens a topic that can't be trusted any
    more, to be read and taken away.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        queue_entries_max: int = QUEUE_ENTRIES_MAX,
        queue_octets_max: int = QUEUE_OCTETS_MAX,
        as_it_is: bool = False,
    ) -> None:
        self._cluster = cluster
        found = topic.find(cluster) if as_it_is else topic.check(cluster)
        self._tail = Tail(cluster)
        self._replay = History(cluster, ahead=20_000, octets=4 << 20)
        self._look_up = History(cluster, ahead=1, octets=32 << 10)
        self._appender = Appender(
            cluster,
            self._tail,
            message_octets_max=found.message_octets_max,
            entries_max=queue_entries_max,
            octets_max=queue_octets_max,
        )

    def head(self) -> int:
        return self._tail.end()

    def read(self, start: int, limit: int = READ_RECORDS_MAX) -> Sequence[Record]:
        limit = min(limit, READ_RECORDS_MAX)
        if start >= self._tail.end() or limit < 1:
            return ()
        recent = self._tail.read(start, limit)
        if recent is not None:
            return recent
        return (self._look_up if limit <= FEW_RECORDS else self._replay).read(start, limit)

    def wait(self, offset: int, timeout_seconds: float) -> bool:
        return self._tail.wait(offset, timeout_seconds)

    async def append(self, entries: Sequence[Entry]) -> int:
        return await self._appender.append(entries)

    def close(self) -> None:
        """Append all that waits, then let go. Appends and reads that come later fail."""
        self._appender.close()
        self._tail.close()
        self._replay.close()
        self._look_up.close()

    def check(self) -> None:
        """Look at the topic's settings once more, and at what was read of it. Raises BrokenState, LogUnreadable."""
        topic.check(self._cluster)
        self._tail.check()
