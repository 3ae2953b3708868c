"""What every test shares. Fixtures live in the folder that uses them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from quicklime.adapters.kafka_log import Cluster, create
from tests.support.kafka import Kafka, running
from tests.support.keyvalue import KeyValueServer

# No deadline: a busy machine is no fault. In CI the same examples each time: a red run can be repeated.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def kafka1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One broker for all tests that leave it alone."""
    with running(tmp_path_factory.mktemp("kafka1")) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def kafka3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Three brokers. Whoever kills one brings it back."""
    with running(tmp_path_factory.mktemp("kafka3"), nodes=3) as kafka:
        yield kafka


def new_topic(kafka: Kafka) -> Cluster:
    """A topic of its own for each test."""
    cluster = Cluster(url=f"kafka://{kafka.bootstrap}/t-{uuid.uuid4()}", replicas=kafka.nodes)
    create(cluster)
    return cluster


@pytest.fixture
def topic1(kafka1: Kafka) -> Cluster:
    return new_topic(kafka1)


@pytest.fixture
def topic3(kafka3: Kafka) -> Cluster:
    return new_topic(kafka3)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyValueServer]:
    """A real Valkey, out of its wheel. Each test takes a prefix of its own."""
    with KeyValueServer.valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyValueServer]:
    """Debian's Redis 7."""
    with KeyValueServer.redis(tmp_path_factory.mktemp("redis")) as server:
        yield server
