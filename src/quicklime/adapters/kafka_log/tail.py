"""The newest records, in memory: what this process reads of the topic as it grows, and what it has appended itself.

Invariant: ``end`` only grows, and every record before it stands in the topic for good: a consumer is shown none that a
majority of the replicas does not have, and an acknowledged append is one that they have.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from quicklime.adapters.kafka_log.cluster import Cluster
from quicklime.errors import BrokenState
from quicklime.log import LogUnreadable, Record

RECORDS_MAX = 8192
OCTETS_MAX = 32 << 20
PAGE = 1000
POLL_SECONDS = 0.25
CONFIRM_SECONDS = 0.5
FRESH_SECONDS_MAX = 3.0
SETTLE_SECONDS_MAX = 2.0
TYPE_HEADER = "ce_type"  # CloudEvents Kafka Protocol Binding 1.0.2, Sections 3.2.3 and 3.3.3

_FOR_EVER = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001  their name


def record_of(message: Message) -> Record:
    """The record in a message; one that is not ours has no type, and is read all the same."""
    kind = ""
    for header in message.headers() or ():
        if header[0] == TYPE_HEADER and isinstance(header[1], bytes):
            kind = header[1].decode("ascii", "replace")
    offset = message.offset()
    assert offset is not None
    return Record(offset, kind, message.value() or b"")


def check_message(message: Message, expected: int, topic: str) -> bool:
    """Whether it is the record at ``expected``; False for an error that may pass. Raises BrokenState."""
    error = message.error()
    if error is not None:
        if error.code() in _FOR_EVER:
            raise BrokenState(
                f"topic {topic!r} has no record {expected} any more: {error.str()}",
                hint="the topic was cut or made anew: bring the log back from the backup",
            )
        return False
    if message.offset() != expected:
        raise BrokenState(
            f"offset {expected} of topic {topic!r} holds no record, the next is {message.offset()}: "
            "somebody wrote in a transaction, or records were deleted",
            hint="let nobody else write to it; quicklime log copy what stands before into a new topic",
        )
    return True


class Tail:
    """Shared by the thread that reads, the thread that is told of deliveries, and whoever asks."""

    def __init__(self, cluster: Cluster) -> None:
        self._topic = cluster.topic
        self._place = TopicPartition(cluster.topic, 0)
        self._consumer = Consumer(consumer_settings(cluster, queued_min_messages=10_000))
        self._changed = threading.Condition()
        self._records: deque[Record] = deque()
        self._octets = 0
        self._early: dict[int, Record] = {}
        self._settling: list[tuple[int, float, Callable[[], None]]] = []
        self._confirmed = 0.0
        self._trouble = ""
        self._broken: BrokenState | None = None
        self._closed = False
        try:
            _, self._end = self._consumer.get_watermark_offsets(self._place, timeout=FRESH_SECONDS_MAX * 2)
        except KafkaException as error:
            self._consumer.close()
            raise LogUnreadable(f"topic {self._topic!r} can't be read: {error.args[0].str()}") from None
        self._position = (
            self._end
        )  # of the consumer; ``_end`` may be ahead of it by what we appended ourselves
        self._confirmed = time.monotonic()
        self._consumer.assign([TopicPartition(self._topic, 0, self._position)])
        self._thread = threading.Thread(target=self._run, name="log tail", daemon=True)
        self._thread.start()

    def end(self) -> int:
        """How many records stand, as far as is known: what others appended shows a few milliseconds later.

        Raises LogUnreadable where no broker confirmed it lately, BrokenState where the topic is damaged.
        """
        self.check()
        return self._end

    def check(self) -> None:
        """Raises LogUnreadable, BrokenState."""
        if self._closed:
            raise LogUnreadable("the log is closed")
        if self._broken is not None:
            raise BrokenState(str(self._broken), hint=self._broken.hint)
        silent = time.monotonic() - self._confirmed
        if silent > FRESH_SECONDS_MAX:
            raise LogUnreadable(f"no broker has answered for {silent:.0f} s: {self._trouble or 'silence'}")

    def read(self, start: int, limit: int) -> Sequence[Record] | None:
        """From ``start`` on; empty at the end; None where that is not in memory any more."""
        with self._changed:
            first = self._end - len(self._records)
            if start < first:
                return None
            stop = min(start - first + limit, len(self._records))
            return [self._records[place] for place in range(start - first, stop)]

    def wait(self, offset: int, timeout_seconds: float) -> bool:
        """Until a record stands at ``offset``. Raises LogUnreadable, BrokenState."""
        until = time.monotonic() + timeout_seconds
        with self._changed:
            while self._end <= offset:
                self.check()
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, POLL_SECONDS))
        return True

    def add(self, records: Sequence[Record]) -> None:
        """Records that stand, in any order: those that follow the end are shown, others wait for what is between."""
        with self._changed:
            for record in records:
                if record.offset >= self._end:
                    self._early[record.offset] = record
            while (following := self._early.pop(self._end, None)) is not None:
                self._records.append(following)
                self._octets += len(following.value)
                self._end += 1
            while len(self._records) > RECORDS_MAX or self._octets > OCTETS_MAX:
                self._octets -= len(self._records.popleft().value)
            self._changed.notify_all()
        self._settle()

    def settle(self, offset: int, then: Callable[[], None]) -> None:
        """Call ``then`` once ``offset`` can be read here; if that takes too long, call it all the same."""
        with self._changed:
            if self._end <= offset:
                self._settling.append((offset, time.monotonic() + SETTLE_SECONDS_MAX, then))
                return
        then()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._settle()

    def _settle(self) -> None:
        now = time.monotonic()
        with self._changed:
            due = [one for one in self._settling if one[0] < self._end or one[1] < now or self._closed]
            if not due:
                return
            self._settling = [one for one in self._settling if one not in due]
        for _, _, then in due:
            then()

    # --- the thread that reads --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            try:
                message = self._consumer.poll(POLL_SECONDS)
                if message is not None:
                    self._take([message, *self._consumer.consume(PAGE - 1, 0)])
                self._confirm()
                self._settle()
            except BrokenState as error:
                with self._changed:
                    self._broken = error
                    self._changed.notify_all()
                break
            except KafkaException as error:
                self._trouble = error.args[0].str()
        self._consumer.close()

    def _take(self, messages: Sequence[Message]) -> None:
        records = []
        for message in messages:
            if not check_message(message, self._position, self._topic):
                error = message.error()
                self._trouble = "" if error is None else error.str()
                continue
            records.append(record_of(message))
            self._position += 1
        if records:
            self._confirmed = time.monotonic()
            self.add(records)

    def _confirm(self) -> None:
        """Ask the leader, when it has sent nothing for a while, whether it is there."""
        if time.monotonic() - self._confirmed < CONFIRM_SECONDS:
            return
        first, _ = self._consumer.get_watermark_offsets(self._place, timeout=1.0)
        if first > 0:
            raise BrokenState(
                f"the records before {first} of topic {self._topic!r} are gone",
                hint="bring the log back from the backup; quicklime doctor says how the topic must be set",
            )
        self._confirmed = time.monotonic()


def consumer_settings(cluster: Cluster, **more: object) -> dict[str, Any]:
    """For a consumer that is told where to read, belongs to no group, and stores no offset in Kafka."""
    return cluster.settings(
        group_id="quicklime",  # librdkafka asks for one; nothing is ever committed under it
        enable_auto_commit=False,
        enable_auto_offset_store=False,
        auto_offset_reset="error",
        # each record as it stands, in the order in which it stands, whoever wrote it and how
        isolation_level="read_uncommitted",
        check_crcs=True,
        fetch_error_backoff_ms=50,
        fetch_queue_backoff_ms=10,  # a queue that was full must not put off who reads elsewhere by a second
        **more,
    )
