"""Durable appends, replay and issuing on real brokers, one and three, beside the embedded log; the brokers' CPU counted.

Everything runs on this machine: brokers, log and load share its cores, so three brokers cost three times what one does, where
machines of their own would work side by side. What holds is the CPU per record, and the order of things.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from bench.process import cpu_seconds
from bench.table import show
from quicklime.adapters.kafka_log import Cluster, KafkaLog, create
from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.log import Entry, Log
from quicklime.telemetry import configure
from tests.support import authority
from tests.support.authority import base64, subscriber
from tests.support.kafka import Kafka, running

VALUE = os.urandom(1500)
SECONDS = 2.0
AT_ONCE = (1, 16, 256)
REPLAYED = 20_000
ISSUED_AT_ONCE = 16

Open = Callable[[], Log]


def run(rounds: int, certificates: int) -> None:
    configure("error", "text")  # a line for each certificate is not what is measured
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-", dir=".") as folder:
        kafkas = {
            nodes: stack.enter_context(running(Path(folder).absolute() / f"k{nodes}", nodes=nodes))
            for nodes in (1, 3)
        }
        rows: list[list[object]] = []
        for name, opened, reopened, brokers in _logs(Path(folder), kafkas):
            for many in AT_ONCE:
                found = [asyncio.run(_appends(opened, many, brokers)) for _ in range(rounds)]
                rows.append([name, f"append, {many} at once", *_medians(found)])
            replays = [asyncio.run(_replays(opened, reopened, brokers)) for _ in range(rounds)]
            rows.append([name, "replay", *_medians(replays)])
            issued = [asyncio.run(_issues(opened, certificates, brokers)) for _ in range(rounds)]
            rows.append([name, f"issue over the API, {ISSUED_AT_ONCE} at once", *_medians(issued)])
    print(
        f"{rounds} rounds; records of {len(VALUE)} octets, {SECONDS:.0f} s of appends, {REPLAYED} records replayed\n"
    )
    show(["log", "what", "per second", "ms of ours each", "ms of brokers' each"], rows)


def _logs(folder: Path, kafkas: dict[int, Kafka]) -> list[tuple[str, Open, Callable[[Log], Log], list[int]]]:
    """(name, a new log, the same log opened by another, the brokers' processes) of each."""
    paths: dict[int, Path] = {}
    clusters: dict[int, Cluster] = {}

    def in_file() -> Log:
        path = folder / f"{uuid.uuid4()}.sqlite"
        log = SQLiteLog(path, create=True)
        paths[id(log)] = path
        return log

    def on_kafka(nodes: int) -> Open:
        def opened() -> Log:
            cluster = Cluster(url=f"kafka://{kafkas[nodes].bootstrap}/{uuid.uuid4()}", replicas=nodes)
            create(cluster)
            log = KafkaLog(cluster)
            clusters[id(log)] = cluster
            return log

        return opened

    return [
        ("SQLite", in_file, lambda log: SQLiteLog(paths[id(log)]), []),
        *(
            (
                f"Kafka, {nodes} broker{'s' if nodes > 1 else ''}",
                on_kafka(nodes),
                lambda log: KafkaLog(clusters[id(log)]),
                kafka.pids(),
            )
            for nodes, kafka in kafkas.items()
        ),
    ]


class _Meter:
    """CPU of this process and of the brokers, from when it was made."""

    def __init__(self, brokers: list[int]) -> None:
        self._brokers = brokers
        self._began = time.monotonic()
        self._ours, self._theirs = time.process_time(), self._others()

    def _others(self) -> float:
        return sum(map(cpu_seconds, self._brokers))

    def read(self, count: int) -> tuple[float, float, float]:
        """(per second, our milliseconds each, the brokers' milliseconds each)."""
        seconds = time.monotonic() - self._began
        ours, theirs = time.process_time() - self._ours, self._others() - self._theirs
        return count / seconds, ours / count * 1000, theirs / count * 1000


def _medians(found: list[tuple[float, float, float]]) -> list[object]:
    rate, ours, theirs = (statistics.median(values) for values in zip(*found, strict=True))
    return [f"{rate:.0f}", f"{ours:.3f}", f"{theirs:.3f}"]


async def _appends(opened: Open, at_once: int, brokers: list[int]) -> tuple[float, float, float]:
    entry = Entry("bench.record.v1", VALUE)
    with closing(opened()) as log:
        await log.append([entry])
        meter = _Meter(brokers)
        end, count = time.monotonic() + SECONDS, 0

        async def writer() -> None:
            nonlocal count
            while time.monotonic() < end:
                await log.append([entry])
                count += 1

        await asyncio.gather(*(writer() for _ in range(at_once)))
        return meter.read(count)


async def _replays(
    opened: Open, reopened: Callable[[Log], Log], brokers: list[int]
) -> tuple[float, float, float]:
    with closing(opened()) as log:
        for _ in range(REPLAYED // 500):
            await log.append([Entry("bench.record.v1", VALUE)] * 500)
        with closing(reopened(log)) as again:
            meter = _Meter(brokers)
            count = 0
            while page := again.read(count):
                count += len(page)
            return meter.read(count)


async def _issues(opened: Open, certificates: int, brokers: list[int]) -> tuple[float, float, float]:
    request = {"csr": base64(subscriber().csr("dns:web.lab.internal"))}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".") as folder, closing(opened()) as log:
        store = LMDBStore(folder)
        async with authority.running(log=log, store=store) as one:
            left = certificates
            meter = _Meter(brokers)

            async def client() -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    answer = await one.ask("POST", "/v1/certificates", token=one.admin, json=request)
                    if answer.status_code != 201:
                        raise SystemExit(answer.text)

            await asyncio.gather(*(client() for _ in range(ISSUED_AT_ONCE)))
            figures = meter.read(certificates)
        store.close()
        return figures
