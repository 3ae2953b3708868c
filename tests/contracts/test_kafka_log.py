"""The log on Kafka alone: what a topic can have wrong, what a broker can do, and that one append is one batch."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public by its documentation
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from quicklime.adapters.kafka_log import Cluster, KafkaLog, create
from quicklime.errors import BrokenState
from quicklime.log import AppendFailed, Entry, LogUnreadable, Record
from tests.support.kafka import Kafka


def entry(text: str) -> Entry:
    return Entry("test.thing.done.v1", text.encode())


def everything(log: KafkaLog) -> list[Record]:
    records: list[Record] = []
    while page := log.read(len(records)):
        records.extend(page)
    return records


# --- one append is one batch ----------------------------------------------------------------------------------------


async def test_several_entries_are_one_batch_of_the_brokers(kafka1: Kafka, topic1: Cluster) -> None:
    """Kafka writes a batch whole or not at all; what the broker's own tool finds in its file is what counts."""
    counts = [4, 1, 2, 700, 3]
    with contextlib.closing(KafkaLog(topic1)) as log:
        # the first append of a process is the hardest: neither topic nor leader is known yet
        for number in counts:
            await log.append([entry("x" * 500 + str(n)) for n in range(number)])
        await asyncio.gather(
            *(log.append([entry(str(n)), entry("and")]) for n in range(10)), log.append([entry("1")])
        )
    found = batches(kafka1, topic1)
    assert found[: len(counts)] == counts
    assert sorted(found[len(counts) :]) == [1] + [2] * 10


def batches(kafka: Kafka, cluster: Cluster) -> list[int]:
    """How many records each batch has in the broker's own file."""
    (file,) = (kafka.data(0) / f"{cluster.topic}-0").glob("*.log")
    printed = kafka.tool("org.apache.kafka.tools.DumpLogSegments", "--files", str(file))
    return [int(count) for count in re.findall(r"^baseOffset: .* count: (\d+) ", printed, re.MULTILINE)]


async def test_any_kafka_tool_reads_type_and_value(topic1: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic1)) as log:
        await log.append([Entry("quicklime.a.b.v1", b"\x00\xff{")])
    with Consumer({"bootstrap.servers": topic1.brokers, "group.id": "any"}) as consumer:
        consumer.assign([TopicPartition(topic1.topic, 0, 0)])
        message = consumer.poll(10)
        assert message is not None
        assert message.key() is None
        assert message.value() == b"\x00\xff{"
        assert message.headers() == [
            ("content-type", b"application/cloudevents+json; charset=UTF-8"),
            ("ce_type", b"quicklime.a.b.v1"),
        ]


# --- several writers ------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from quicklime.adapters.kafka_log import Cluster, KafkaLog
from quicklime.log import Entry

async def main(url, replicas, name, count):
    log = KafkaLog(Cluster(url=url, replicas=replicas))
    async def one(n):
        parts = "ab" if n % 10 == 0 else "a"
        offset = await log.append([Entry("t.v1", f"{name}.{n}.{part}".encode()) for part in parts])
        print(offset, name, n, flush=True)
    for n in range(0, count, 4):
        await asyncio.gather(*(one(m) for m in range(n, n + 4)))
    log.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
"""


def writer(cluster: Cluster, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), cluster.url, str(cluster.replicas), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


def answered(process: subprocess.Popen[str]) -> dict[int, bytes]:
    assert process.stdout is not None
    told = [line.split() for line in process.stdout.read().splitlines()]
    return {int(line[0]): f"{line[1]}.{line[2]}.a".encode() for line in told if len(line) == 3}


def test_several_processes_append_to_one_order(topic3: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic3)) as reader:
        processes = [writer(topic3, name, 200) for name in "xyz"]
        told = [answered(process) for process in processes]
        assert [process.wait() for process in processes] == [0, 0, 0]
        assert reader.wait(3 * 220 - 1, 10)
        records = everything(reader)
    with contextlib.closing(KafkaLog(topic3)) as fresh:
        assert everything(fresh) == records
    assert [record.offset for record in records] == list(range(3 * 220))
    for one in told:
        assert len(one) == 200
        for offset, value in one.items():
            assert records[offset].value == value
            if int(value.split(b".")[1]) % 10 == 0:
                assert records[offset + 1].value == value[:-1] + b"b"


def test_a_killed_writer_loses_nothing_that_was_answered(topic3: Cluster) -> None:
    process = writer(topic3, "k", 1_000_000)
    time.sleep(1.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    told = answered(process)
    assert told
    with contextlib.closing(KafkaLog(topic3)) as log:
        records = everything(log)
    for offset, value in told.items():
        assert records[offset].value == value
    values = [record.value for record in records]
    for record in records:
        if record.value.endswith(b".b"):
            assert values[record.offset - 1] == record.value[:-1] + b"a"


async def test_who_waits_is_woken_by_another_process(topic1: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic1)) as ours, contextlib.closing(KafkaLog(topic1)) as theirs:
        woken: list[bool] = []
        thread = threading.Thread(target=lambda: woken.append(ours.wait(0, 10)))
        thread.start()
        await theirs.append([entry("a")])
        thread.join(10)
        assert woken == [True]
        assert ours.read(0) == theirs.read(0)
        assert ours.head() == 1


async def test_what_another_wrote_in_between_is_read_in_its_place(topic1: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic1)) as ours, contextlib.closing(KafkaLog(topic1)) as theirs:
        for number in range(30):
            log = theirs if number % 3 else ours
            assert await log.append([entry(str(number))]) == number
            # whoever appended finds all up to his own record at hand
            assert log.head() == number + 1
            assert log.read(number, 1) == [Record(number, "test.thing.done.v1", str(number).encode())]
        assert ours.wait(29, 5)
        assert everything(ours) == everything(theirs)


# --- bounds ---------------------------------------------------------------------------------------------------------


async def test_what_can_not_be_appended_is_refused(topic1: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic1)) as log:
        for entries in (
            [],
            [Entry("a\nb", b"")],
            [Entry("ü", b"")],
            [entry("x" * (9 << 20))],
            [entry("x" * (5 << 20))] * 2,
        ):
            with pytest.raises(AppendFailed):
                await log.append(entries)
        assert log.head() == 0
        assert await log.append([entry("a")]) == 0


async def test_a_full_queue_refuses_at_once(topic1: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic1, queue_entries_max=10)) as log:
        answers = await asyncio.gather(
            *(log.append([entry(str(n))]) for n in range(200)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, AppendFailed)]
        stand = [answer for answer in answers if isinstance(answer, int)]
        assert refused
        assert len(refused) + len(stand) == 200
        assert log.head() == len(stand)


async def test_after_closing_nothing_goes_and_what_was_answered_is_there(topic1: Cluster) -> None:
    log = KafkaLog(topic1)
    await log.append([entry("a")])
    log.close()
    for append in ([entry("b")], [entry("b"), entry("c")]):
        with pytest.raises(AppendFailed):
            await log.append(append)
    for read in (log.head, lambda: log.read(0)):
        with pytest.raises(LogUnreadable):
            read()
    with contextlib.closing(KafkaLog(topic1)) as again:
        assert [record.value for record in again.read(0)] == [b"a"]


# --- what others do to the topic ------------------------------------------------------------------------------------


def test_a_record_without_our_header_is_read_all_the_same(kafka1: Kafka, topic1: Cluster) -> None:
    producer = Producer({"bootstrap.servers": kafka1.bootstrap})
    producer.produce(topic1.topic, value=b"not ours", partition=0)
    producer.produce(
        topic1.topic, value=None, key=b"k", headers=[("ce_type", None), ("other", b"\xff")], partition=0
    )
    producer.flush()
    with contextlib.closing(KafkaLog(topic1)) as log:
        assert everything(log) == [Record(0, "", b"not ours"), Record(1, "", b"")]


def test_a_transaction_of_somebody_else_is_no_silent_gap(kafka1: Kafka, topic1: Cluster) -> None:
    with contextlib.closing(KafkaLog(topic1)) as log:
        producer = Producer({"bootstrap.servers": kafka1.bootstrap, "transactional.id": str(uuid.uuid4())})
        producer.init_transactions()
        for _ in range(2):
            producer.begin_transaction()
            producer.produce(topic1.topic, value=b"in a transaction", partition=0)
            producer.commit_transaction()
        with pytest.raises(BrokenState, match="offset 1 of topic") as broken:
            log.wait(99, 30)
        assert broken.value.hint
        with pytest.raises(BrokenState, match="holds no record"):
            log.head()
    with contextlib.closing(KafkaLog(topic1)) as again, pytest.raises(BrokenState, match="holds no record"):
        everything(again)


# --- the topic's settings -------------------------------------------------------------------------------------------


def test_no_topic_is_told_with_the_command_that_makes_it(kafka1: Kafka) -> None:
    with pytest.raises(BrokenState) as broken:
        KafkaLog(Cluster(url=f"kafka://{kafka1.bootstrap}/none-{uuid.uuid4()}", replicas=1))
    assert "quicklime log create" in broken.value.hint


def test_a_topic_that_is_there_is_not_made_again(topic1: Cluster) -> None:
    with pytest.raises(BrokenState, match="there already"):
        create(topic1)


def test_more_replicas_than_brokers_are_told(kafka1: Kafka) -> None:
    with pytest.raises(BrokenState, match="too few brokers for 3"):
        create(Cluster(url=f"kafka://{kafka1.bootstrap}/{uuid.uuid4()}", replicas=3))


FORGETFUL = {
    "retention.ms": "604800000",
    "retention.bytes": "1000000",
    "cleanup.policy": "compact,delete",
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "true",
    "max.message.bytes": "1000",
}


def test_a_topic_that_would_forget_is_refused_with_the_command_that_mends_it(
    kafka3: Kafka, topic3: Cluster
) -> None:
    for setting, value in FORGETFUL.items():
        configure(kafka3, topic3, setting, value)
    with pytest.raises(BrokenState) as broken:
        KafkaLog(topic3)
    for setting, value in FORGETFUL.items():
        assert f"{setting}={value}, expected " in str(broken.value)
    command = broken.value.hint.split()
    assert command[0] == "kafka-configs.sh"
    # the very command that was told, by Kafka's own tool
    kafka3.tool("kafka.admin.ConfigCommand", *command[1:])
    KafkaLog(topic3).close()


@pytest.mark.parametrize("setting", FORGETFUL)
def test_each_forgetful_setting_is_enough_to_refuse(kafka3: Kafka, topic3: Cluster, setting: str) -> None:
    configure(kafka3, topic3, setting, FORGETFUL[setting])
    with pytest.raises(BrokenState, match=re.escape(f"{setting}={FORGETFUL[setting]}, expected")):
        KafkaLog(topic3)


def configure(kafka: Kafka, cluster: Cluster, setting: str, value: str | None) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    what = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    entry = ConfigEntry(setting, value, incremental_operation=what)
    resource = ConfigResource(ResourceType.TOPIC, cluster.topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(10)


def test_too_few_replicas_and_a_second_partition_are_refused(kafka3: Kafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka3.bootstrap})
    name = str(uuid.uuid4())
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(10)
    with pytest.raises(BrokenState) as broken:
        KafkaLog(Cluster(url=f"kafka://{kafka3.bootstrap}/{name}"))
    for fault in (
        "2 partitions, expected 1",
        "1 replicas, expected 3",
        "min.insync.replicas=1, expected at least 2",
    ):
        assert fault in str(broken.value)
    assert "quicklime log copy" in broken.value.hint


def test_a_single_replica_is_flushed_at_each_record(kafka1: Kafka, topic1: Cluster) -> None:
    KafkaLog(topic1).close()
    configure(kafka1, topic1, "flush.messages", None)
    with pytest.raises(BrokenState, match=r"flush.messages=\d+, expected 1"):
        KafkaLog(topic1)


def test_a_bad_url_is_told() -> None:
    for url in (
        "kafka://",
        "kafka://host:9092",
        "kafka://host/a/b",
        "http://host:9092/a",
        "kafka://ho st:1/a",
    ):
        with pytest.raises(BrokenState, match="expected kafka://"):
            Cluster(url=url)


def test_brokers_that_are_not_there_are_told_soon() -> None:
    began = time.monotonic()
    with pytest.raises(LogUnreadable, match=r"127\.0\.0\.1:1 "):
        KafkaLog(Cluster(url="kafka://127.0.0.1:1/t"))
    assert time.monotonic() - began < 60
