"""Appending: librdkafka's producer behind asyncio, bounded, with an honest answer for each append.

Two producers, because Kafka writes a *batch* of records whole or not at all, and nothing else:

* one for appends of a single entry, which is every append of the main path: idempotent, sent at once; librdkafka gathers by
  itself what waits while earlier batches are under way;
* one for appends of several entries, which are rare (a founding, a rotation): one append is one batch, tried once.

Honest failure. Refused before anything was handed over, or refused by the broker on the only attempt: ``AppendFailed``. Handed
over and not acknowledged, for whatever reason: ``AppendUnknown``, since a request that was sent may still be carried out.
So that few come to that, nothing is handed over while the brokers are known to be away.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from functools import partial

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from quicklime.adapters.kafka_log.cluster import SOCKET_SECONDS, Cluster
from quicklime.adapters.kafka_log.tail import TYPE_HEADER, Tail
from quicklime.errors import InvariantBroken
from quicklime.log import AppendFailed, AppendUnknown, Entry, Record

QUEUE_ENTRIES_MAX = 10_000
QUEUE_OCTETS_MAX = 64 << 20
TOGETHER_ENTRIES_MAX = 10_000
RECORD_OCTETS_OVERHEAD = 256

ACKNOWLEDGE_SECONDS_MAX = 15.0  # longer than a cluster takes to choose another leader (9 s by default)
STALLED_SECONDS = 3.0
PROBE_SECONDS = 0.5
RENEW_SECONDS = 1.0
POLL_SECONDS = 0.25
FLUSH_SECONDS_MAX = 10.0
LINGER_FOR_EVER_MS = 900_000

_CONTENT_TYPE = ("content-type", b"application/cloudevents+json; charset=UTF-8")

# What a broker answers although it may have written the batch, and what means that no answer came.
_MAY_STAND = frozenset(
    {
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN,
        KafkaError.KAFKA_STORAGE_ERROR,
    }
)


_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001  their names


class _Waiting(msgspec.Struct, eq=False, gc=False):
    """An append of one entry that was handed over."""

    entry: Entry
    octets: int
    since: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[int]


class Appender:
    """The only writer of this process."""

    def __init__(
        self,
        cluster: Cluster,
        tail: Tail,
        *,
        message_octets_max: int,
        entries_max: int = QUEUE_ENTRIES_MAX,
        octets_max: int = QUEUE_OCTETS_MAX,
    ) -> None:
        self._cluster = cluster
        self._topic = cluster.topic
        self._tail = tail
        self._message_octets_max = message_octets_max
        self._entries_max = entries_max
        self._octets_max = octets_max
        self._waiting: dict[int, _Waiting] = {}  # in the order in which they were handed over
        self._octets = 0
        self._number = 0
        self._lock = threading.Lock()
        self._told: list[tuple[_Waiting, KafkaError | None, int | None]] = []
        self._away: str | None = None
        self._fatal = False
        self._closed = False
        self._producer = self._new_producer()
        self._together = Together(cluster, message_octets_max)
        self._thread = threading.Thread(target=self._run, name="log appender", daemon=True)
        self._thread.start()

    async def append(self, entries: Sequence[Entry]) -> int:
        """As the port says."""
        octets = self._check_entries(entries)
        loop = asyncio.get_running_loop()
        if len(entries) > 1:
            self._check_ready(len(entries), octets)
            first = await asyncio.to_thread(self._together.append, entries)
            self._tail.add([Record(first + place, one.type, one.value) for place, one in enumerate(entries)])
            done = loop.create_future()
            self._tail.settle(first + len(entries) - 1, partial(_wake, loop, [(done, first)]))
            return int(await done)
        waiting = _Waiting(entries[0], octets, time.monotonic(), loop, loop.create_future())
        with self._lock:
            self._check_ready(1, octets)
            self._number += 1
            number = self._number
            self._waiting[number] = waiting
            self._octets += octets
        try:
            self._producer.produce(
                self._topic,
                value=waiting.entry.value,
                headers=_headers(waiting.entry),
                partition=0,
                on_delivery=partial(self._delivered, number),
            )
        except (KafkaException, BufferError) as error:
            self._forget(number)
            raise AppendFailed(f"not handed over: {error}") from None
        return await waiting.future

    def close(self) -> None:
        """Answer all that waits, then let go. Appends that come later fail."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with contextlib.suppress(KafkaException):
            self._producer.flush(FLUSH_SECONDS_MAX)
            self._producer.purge()
            self._producer.flush(1.0)
        self._thread.join()
        self._answer()
        self._together.close()

    # --- before handing over ----------------------------------------------------------------------------------------

    def _check_entries(self, entries: Sequence[Entry]) -> int:
        """Their octets. Raises AppendFailed."""
        if not entries:
            raise AppendFailed("no entries: expected at least one")
        octets = 0
        for entry in entries:
            if not entry.type.isascii() or not entry.type.isprintable():
                raise AppendFailed(f"entry of type {entry.type[:80]!r}: expected printable ASCII")
            octets += len(entry.type) + len(entry.value) + RECORD_OCTETS_OVERHEAD
        if octets > self._message_octets_max:
            raise AppendFailed(
                f"{octets} octets in one append, topic {self._topic!r} takes at most {self._message_octets_max}"
            )
        if len(entries) > TOGETHER_ENTRIES_MAX:
            raise AppendFailed(
                f"{len(entries)} entries in one append, expected at most {TOGETHER_ENTRIES_MAX}"
            )
        return octets

    def _check_ready(self, entries: int, octets: int) -> None:
        """Raises AppendFailed where nothing should be handed over now."""
        if self._closed:
            raise AppendFailed("the log is closed")
        if self._away is not None:
            raise AppendFailed(f"the brokers at {self._cluster.brokers} take no records: {self._away}")
        waiting = len(self._waiting)
        if waiting + entries > self._entries_max or self._octets + octets > self._octets_max:
            if waiting == 0 and entries > 1:
                return  # one large append alone
            raise AppendFailed(
                f"{waiting} entries of {self._octets} octets wait already, expected at most "
                f"{self._entries_max} entries of {self._octets_max} octets"
            )
        oldest = next(iter(self._waiting.values()), None)
        if oldest is not None and (silent := time.monotonic() - oldest.since) > STALLED_SECONDS:
            raise AppendFailed(f"no broker has acknowledged a record for {silent:.0f} s")

    def _forget(self, number: int) -> _Waiting | None:
        with self._lock:
            found = self._waiting.pop(number, None)
            if found is not None:
                self._octets -= found.octets
        return found

    # --- the thread that hears of deliveries ------------------------------------------------------------------------

    def _new_producer(self) -> Producer:
        return Producer(
            self._cluster.settings(
                acks="all",
                enable_idempotence=True,
                compression_type="zstd",
                linger_ms=0,
                message_max_bytes=self._message_octets_max,
                queue_buffering_max_messages=self._entries_max + 1,
                queue_buffering_max_kbytes=max(1, self._octets_max >> 9),  # twice: ours is the bound
                message_timeout_ms=int(ACKNOWLEDGE_SECONDS_MAX * 1000),
                request_timeout_ms=int(SOCKET_SECONDS * 1000) - 1000,
            )
            | {"error_cb": self._error}
        )

    def _run(self) -> None:
        looked = 0.0
        while not self._closed:
            try:
                self._producer.poll(POLL_SECONDS)
                self._answer()
                if self._fatal:
                    self._renew()
                elif self._away is not None and time.monotonic() - looked > PROBE_SECONDS:
                    looked = time.monotonic()
                    self._probe()
            except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
                self._away = f"{type(error).__name__}: {error}"
                self._fatal = True

    def _delivered(self, number: int, error: KafkaError | None, message: Message) -> None:
        waiting = self._forget(number)
        if waiting is not None:
            self._told.append((waiting, error, message.offset()))

    def _answer(self) -> None:
        """Tell those whose records were delivered since the last time, or were not."""
        told, self._told = self._told, []
        if not told:
            return
        stand = [
            Record(offset, waiting.entry.type, waiting.entry.value)
            for waiting, error, offset in told
            if error is None and offset is not None
        ]
        lost: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int | Exception]]] = {}
        won: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int | Exception]]] = {}
        for waiting, error, offset in told:
            if error is None and offset is not None:
                won.setdefault(waiting.loop, []).append((waiting.future, offset))
            else:
                why = "no answer" if error is None else error.str()
                if error is not None and error.code() in _PURGED:
                    why = self._away or why  # what was wrong with the producer
                self._away = self._away or why
                unknown = AppendUnknown(f"the record may stand or not: {why}")
                lost.setdefault(waiting.loop, []).append((waiting.future, unknown))
        for loop, answers in lost.items():
            _wake(loop, answers)
        if stand:
            self._tail.add(stand)
            # who is told finds all records up to his own in memory: nobody has to wait for them under an event loop
            for loop, answers in won.items():
                self._tail.settle(stand[-1].offset, partial(_wake, loop, answers))

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = True
        if error.fatal() or error.code() in {KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION}:  # noqa: SLF001
            self._away = error.str()

    def _renew(self) -> None:
        """After what librdkafka can't mend in place: all that waits is unknown, and another producer goes on, a little later."""
        old = self._producer
        with contextlib.suppress(KafkaException):  # it fails because it has failed
            old.purge()
            old.flush(1.0)
        self._answer()
        with self._lock:
            left, self._waiting, self._octets = list(self._waiting.values()), {}, 0
        for waiting in left:
            unknown = AppendUnknown(f"the record may stand or not: {self._away}")
            _wake(waiting.loop, [(waiting.future, unknown)])
        time.sleep(RENEW_SECONDS)
        with self._lock:
            self._producer = self._new_producer()
            self._fatal = False

    def _probe(self) -> None:
        """Look whether the topic takes records again: a leader, and replicas enough."""
        try:
            found = self._producer.list_topics(self._topic, timeout=1.0).topics[self._topic]
            partition = found.partitions[0]
        except (KafkaException, KeyError):
            return
        if partition.leader < 0:
            self._away = "no leader"
        elif len(partition.isrs) < self._cluster.min_insync:
            self._away = (
                f"{len(partition.isrs)} replicas in sync, expected at least {self._cluster.min_insync}"
            )
        else:
            self._away = None


class Together:
    """Appends several entries as one batch, which a broker writes whole or not at all.

    librdkafka cuts its queue into batches when it sends. This producer sends nothing by itself (its linger is never over)
    and holds one append at a time; all entries are in the queue of the partition when ``flush`` says to send, and fit into one
    batch, so one batch it is. It tries once and is not idempotent, so that the broker's refusal is the last word.
    """

    def __init__(self, cluster: Cluster, message_octets_max: int) -> None:
        self._topic = cluster.topic
        self._settings = cluster.settings(
            acks="all",
            enable_idempotence=False,
            retries=0,
            compression_type="zstd",
            linger_ms=LINGER_FOR_EVER_MS,
            message_timeout_ms=0,  # never by itself: a part of them could be over before the rest
            message_max_bytes=message_octets_max + (1 << 16),
            batch_size=message_octets_max,
            batch_num_messages=TOGETHER_ENTRIES_MAX,
            queue_buffering_max_messages=TOGETHER_ENTRIES_MAX + 1,
            queue_buffering_max_kbytes=(message_octets_max >> 9) + 1,
            request_timeout_ms=int(SOCKET_SECONDS * 1000) - 1000,
        )
        self._lock = threading.Lock()
        self._producer: Producer | None = None

    def append(self, entries: Sequence[Entry]) -> int:
        """The first offset. Blocks. Raises AppendFailed, AppendUnknown."""
        with self._lock:
            producer = self._producer = self._producer or Producer(self._settings)
            told: list[tuple[KafkaError | None, int | None]] = []
            try:
                self._queue(producer, entries, told)
            except (KafkaException, BufferError) as error:
                self._drop(producer)  # nothing was sent: ``flush`` was not called
                raise AppendFailed(f"nothing was appended: {error}") from None
            if producer.flush(ACKNOWLEDGE_SECONDS_MAX):
                self._drop(producer)
                raise AppendUnknown(
                    f"no broker has acknowledged the records in {ACKNOWLEDGE_SECONDS_MAX:.0f} s"
                )
        return _first(told, len(entries))

    def close(self) -> None:
        with self._lock:
            if self._producer is not None:
                self._drop(self._producer)

    def _queue(
        self, producer: Producer, entries: Sequence[Entry], told: list[tuple[KafkaError | None, int | None]]
    ) -> None:
        for entry in entries:
            producer.produce(
                self._topic,
                value=entry.value,
                headers=_headers(entry),
                partition=0,
                on_delivery=lambda error, message: told.append((error, message.offset())),
            )
        # what was queued before the partition was known is moved into its queue one by one: that must be over
        found = producer.list_topics(self._topic, timeout=SOCKET_SECONDS).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        if found.partitions[0].leader < 0:
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))

    def _drop(self, producer: Producer) -> None:
        self._producer = None
        producer.purge()
        producer.poll(0)


def _first(told: Sequence[tuple[KafkaError | None, int | None]], count: int) -> int:
    """The first offset of a batch of ``count`` that was answered."""
    errors = [error for error, _ in told if error is not None]
    if errors:
        # librdkafka's own codes are negative: they tell that no answer came
        if any(error.code() < 0 or error.code() in _MAY_STAND for error in errors):
            raise AppendUnknown(f"the records may stand or not: {errors[0].str()}")
        raise AppendFailed(f"nothing was appended: {errors[0].str()}")
    offsets = [offset for _, offset in told]
    first = offsets[0]
    if first is None or offsets != list(range(first, first + count)):
        raise InvariantBroken(f"one append has the offsets {offsets[:5]!r} ..., expected {count} in a row")
    return first


def _headers(entry: Entry) -> list[tuple[str, str | bytes | None]]:
    return [_CONTENT_TYPE, (TYPE_HEADER, entry.type.encode())]


def _wake(
    loop: asyncio.AbstractEventLoop, answers: Sequence[tuple[asyncio.Future[int], int | Exception]]
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits there any more
        loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[asyncio.Future[int], int | Exception]]) -> None:
    for future, answer in answers:
        if future.done():  # cancelled: the record stands all the same
            continue
        if isinstance(answer, int):
            future.set_result(answer)
        else:
            future.set_exception(type(answer)(str(answer)))  # each gets its own traceback
