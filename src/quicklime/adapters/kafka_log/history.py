"""Records of any age, fetched from the brokers: one consumer for replays, which read on and on, one for single look-ups."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from quicklime.adapters.kafka_log.cluster import Cluster
from quicklime.adapters.kafka_log.tail import check_message, consumer_settings, record_of
from quicklime.log import LogUnreadable, Record

READ_SECONDS_MAX = 8.0


class History:
    """Reads from where it is told to; what follows the last read is at hand already. One caller at a time."""

    def __init__(self, cluster: Cluster, *, ahead: int, octets: int) -> None:
        self._topic = cluster.topic
        self._settings = consumer_settings(
            cluster,
            queued_min_messages=ahead,
            fetch_message_max_bytes=octets,
            queued_max_messages_kbytes=32 << 10,
        )
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._position = -1
        self._closed = False

    def read(self, start: int, limit: int) -> Sequence[Record]:
        """Up to ``limit`` records from ``start``, at which one must stand. Raises LogUnreadable, BrokenState."""
        with self._lock:
            if self._closed:
                raise LogUnreadable("the log is closed")
            try:
                records = self._read(start, limit)
            except BaseException:
                self._position = -1  # whatever is in the consumer's queue does not follow
                raise
            self._position = start + len(records)
            return records

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None

    def _read(self, start: int, limit: int) -> Sequence[Record]:
        consumer = self._consumer = self._consumer or Consumer(self._settings)
        if self._position != start:
            consumer.assign([TopicPartition(self._topic, 0, start)])
        trouble = "no answer in time"
        until = time.monotonic() + READ_SECONDS_MAX
        records: list[Record] = []
        while not records and (left := until - time.monotonic()) > 0:
            try:
                message = consumer.poll(left)
                messages = [] if message is None else [message, *consumer.consume(limit - 1, 0)]
            except KafkaException as error:
                trouble = error.args[0].str()
                continue
            for one in messages:
                if check_message(one, start + len(records), self._topic):
                    records.append(record_of(one))
                elif (error_of := one.error()) is not None:
                    trouble = error_of.str()
        if not records:
            raise LogUnreadable(f"record {start} of topic {self._topic!r} can't be read: {trouble}")
        return records
