"""The topic that is the log: how it is made, and what would make it lose the authority's memory.

Rule: a topic that breaks one of these is refused, at each start, with the command that mends it: one partition (that is what
makes the order total), kept for ever, never compacted, enough replicas of which a majority must have each record, and no
leader that lacks records. A topic with a single replica is flushed at each record, since nobody else has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public by its documentation
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from quicklime.adapters.kafka_log.cluster import Cluster
from quicklime.errors import BrokenState
from quicklime.log import LogUnreadable

ADMIN_SECONDS = 8.0
KNOWN_SECONDS_MAX = 2.0
DETAIL_CHARACTERS_MAX = 600
MESSAGE_OCTETS_MAX = 8 << 20
MESSAGE_OCTETS_LEAST = 1 << 20


@dataclass(frozen=True, slots=True)
class Topic:
    """What was found of it."""

    partitions: int
    replicas: int
    first: int
    settings: Mapping[str, str]

    @property
    def message_octets_max(self) -> int:
        return min(int(self.settings["max.message.bytes"]), MESSAGE_OCTETS_MAX)


@dataclass(frozen=True, slots=True)
class TopicFault:
    """What is wrong, and what mends it: a setting to make, or else what to do."""

    what: str
    do: str = ""
    setting: str = ""


def _wanted(replicas: int, min_insync: int) -> dict[str, str]:
    settings = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": str(min_insync),
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(MESSAGE_OCTETS_MAX),
    }
    if replicas == 1:
        settings["flush.messages"] = "1"
    return settings


def create(cluster: Cluster) -> None:
    """Make the topic. Raises BrokenState where it is there, or the cluster can't hold it; LogUnreadable."""
    new = NewTopic(
        cluster.topic,
        num_partitions=1,
        replication_factor=cluster.replicas,
        config=_wanted(cluster.replicas, cluster.min_insync),
    )
    admin, said = _admin(cluster)  # it must outlive what it promises
    try:
        admin.create_topics([new], operation_timeout=ADMIN_SECONDS)[cluster.topic].result(ADMIN_SECONDS)
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            raise BrokenState(
                f"topic {cluster.topic!r} is there already",
                hint="use it as it is, or name another in log.url",
            ) from None
        if code == KafkaError.INVALID_REPLICATION_FACTOR:
            raise BrokenState(
                f"the cluster has too few brokers for {cluster.replicas} replicas",
                hint="start more brokers; to try things out on one, set log.replicas = 1",
            ) from None
        raise _away(cluster, error, admin, said) from None
    except TimeoutError as error:
        raise _away(cluster, error, admin, said) from None


def find(cluster: Cluster) -> Topic:
    """The topic as it is. Raises BrokenState where there is none, LogUnreadable where nobody answers."""
    admin, said = _admin(cluster)
    try:
        until = time.monotonic() + KNOWN_SECONDS_MAX
        while (found := _look(admin, cluster)) is None and time.monotonic() < until:
            time.sleep(KNOWN_SECONDS_MAX / 20)  # one that was just made is not known to every broker yet
        if found is None:
            raise BrokenState(
                f"no topic {cluster.topic!r} at {cluster.brokers}",
                hint="quicklime log create makes it; or name the right one in log.url",
            )
        resource = ConfigResource(ResourceType.TOPIC, cluster.topic)
        settings = admin.describe_configs([resource])[resource].result(ADMIN_SECONDS)
        place = TopicPartition(cluster.topic, 0)
        earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        first = admin.list_offsets({place: earliest})[place].result(ADMIN_SECONDS).offset
    except (KafkaException, TimeoutError) as error:
        raise _away(cluster, error, admin, said) from None
    return Topic(
        partitions=len(found),
        replicas=min(found),
        first=first,
        settings={name: entry.value for name, entry in settings.items()},
    )


def _look(admin: AdminClient, cluster: Cluster) -> list[int] | None:
    """How many replicas each partition has; None where the broker that was asked knows no such topic."""
    found = admin.list_topics(cluster.topic, timeout=ADMIN_SECONDS).topics[cluster.topic]
    if found.error is None:
        return [len(partition.replicas) for partition in found.partitions.values()]
    if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return None
    raise KafkaException(found.error)


def check(cluster: Cluster) -> Topic:
    """The topic, if it can be trusted with an authority. Raises BrokenState naming every fault and what mends it."""
    topic = find(cluster)
    faults = tuple(faults_of(topic, cluster))
    if faults:
        raise BrokenState(
            f"topic {cluster.topic!r} would lose the authority's memory: "
            + "; ".join(fault.what for fault in faults),
            hint="; ".join(_mending(faults, cluster)),
        )
    return topic


def faults_of(topic: Topic, cluster: Cluster) -> Iterator[TopicFault]:
    """Everything that is wrong with it."""
    anew = "quicklime log create with another topic in log.url, then quicklime log copy"
    if topic.partitions != 1:
        yield TopicFault(f"{topic.partitions} partitions, expected 1: the order must be total", anew)
    if topic.first > 0:
        yield TopicFault(f"the records before {topic.first} are gone", "bring the log back from the backup")
    if topic.replicas < cluster.replicas:
        yield TopicFault(
            f"{topic.replicas} replicas, expected {cluster.replicas}",
            f"kafka-reassign-partitions.sh --bootstrap-server {cluster.brokers} with {cluster.replicas} brokers for "
            f"{cluster.topic}-0; to try things out on one broker, log.replicas = 1",
        )
    least = {"min.insync.replicas": cluster.min_insync, "max.message.bytes": MESSAGE_OCTETS_LEAST}
    for name, wanted in _wanted(min(topic.replicas, cluster.replicas), cluster.min_insync).items():
        found = topic.settings.get(name, "")
        if name in least:
            if int(found) >= least[name]:
                continue
            expected = f"at least {least[name]}"
        elif found == wanted:
            continue
        else:
            expected = wanted
        yield TopicFault(f"{name}={found}, expected {expected}", setting=f"{name}={wanted}")


def _away(cluster: Cluster, error: Exception, admin: AdminClient, said: list[str]) -> LogUnreadable:
    """The fault of a cluster that does not answer, with what its connections said meanwhile, each thing once."""
    admin.poll(0)
    detail = error.args[0].str() if isinstance(error, KafkaException) else "no answer in time"
    details = "; ".join(dict.fromkeys([detail, *said]))
    return LogUnreadable(f"the brokers at {cluster.brokers} can't be used: {details[:DETAIL_CHARACTERS_MAX]}")


def _mending(faults: Sequence[TopicFault], cluster: Cluster) -> Iterator[str]:
    """What to do, each thing once; all settings by one command of Kafka's own."""
    yield from dict.fromkeys(fault.do for fault in faults if fault.do)
    if settings := ",".join(fault.setting for fault in faults if fault.setting):
        yield (
            f"kafka-configs.sh --bootstrap-server {cluster.brokers} --alter --entity-type topics "
            f"--entity-name {cluster.topic} --add-config {settings}"
        )


def _admin(cluster: Cluster) -> tuple[AdminClient, list[str]]:
    """A client, and what its connections say."""
    said: list[str] = []
    return AdminClient(cluster.settings() | {"error_cb": lambda error: said.append(error.str())}), said
