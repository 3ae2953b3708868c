"""Real Apache Kafka on loopback, in KRaft mode, without a container: one node or three, on free ports.

The jars come from Maven Central once per machine (``tests/kafka/pom.xml``) and lie outside the repository, in
``${XDG_CACHE_HOME:-~/.cache}/quicklime/kafka``. ``make kafka`` and ``make kafka3`` start the same by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

POM = Path(__file__).parents[1] / "kafka" / "pom.xml"
START_SECONDS_MAX = 90.0
HEAP = ("-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
STORAGE_TOOL = "kafka.tools.StorageTool"


def jars() -> Path:
    """The folder with Kafka's jars, fetched by Maven where this machine does not have them yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quicklime" / "kafka"
    folder = cache / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes ask at once
        if not folder.exists():
            draft = Path(tempfile.mkdtemp(prefix=".fetching-", dir=cache))
            command = [
                "mvn",
                "-q",
                "-B",
                "-f",
                str(POM),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={draft}",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(draft)
                raise RuntimeError(f"mvn could not fetch Kafka: {(done.stdout + done.stderr)[-2000:]}")
            draft.rename(folder)
    return folder


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, no two the same."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def kafka_id() -> str:
    """A UUID as Kafka writes it. It may not begin with a hyphen, which its own parser takes for an option."""
    while True:
        text = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


class Kafka:
    """``nodes`` brokers, each a controller too. Start it, use ``bootstrap``, stop it.

    ``advertised`` is the port that clients are sent to, where that is not the broker's own. ``settings`` go into every node's file; ``scram`` are users with their passwords (SCRAM-SHA-256). With ``listener`` the
    clients come in by that protocol (``SSL``, ``SASL_SSL``, ``SASL_PLAINTEXT``); the nodes among themselves stay plain.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 1,
        settings: Mapping[str, str] | None = None,
        listener: str = "PLAINTEXT",
        scram: Mapping[str, str] | None = None,
        ports: list[int] | None = None,
        advertised: int | None = None,
    ) -> None:
        self.nodes = nodes
        self._folder = folder
        self._settings = dict(settings or {})
        self._listener = listener
        self._scram = dict(scram or {})
        self._advertised = advertised
        keys = [value for name, value in self._settings.items() if name.endswith("jwks.endpoint.url")]
        # a broker reads keys only from where its process was told it may
        self._options = [
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.{kind}={url}"
            for url in keys
            for kind in ("urls", "files")
        ]
        found = ports or free_ports(3 * nodes)
        self._client_ports, self._inner_ports, self._quorum_ports = (
            found[:nodes],
            found[nodes : 2 * nodes],
            found[2 * nodes :],
        )
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * nodes
        self._directory_ids = [kafka_id() for _ in range(nodes)]
        self._cluster = kafka_id()
        self._classpath = f"{jars()}/*"

    @property
    def bootstrap(self) -> str:
        """Where clients begin: host:port of every node."""
        return ",".join(f"127.0.0.1:{port}" for port in self._client_ports)

    @property
    def inner(self) -> str:
        """The plain listener of the nodes among themselves, for those who look after the cluster."""
        return ",".join(f"127.0.0.1:{port}" for port in self._inner_ports)

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes if process is not None]

    def start(self) -> None:
        for node in range(self.nodes):
            self._write(node)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._format, range(self.nodes)))
        for node in range(self.nodes):
            self.run(node)
        self.await_nodes(self.nodes)

    def run(self, node: int) -> None:
        """Start the node's process, whether it was never run or has died."""
        with (self._folder / f"n{node}.out").open("ab") as out:
            self._processes[node] = subprocess.Popen(
                ["java", *HEAP, *self._options, "-cp", self._classpath, "kafka.Kafka", str(self._file(node))],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )

    def send(self, node: int, number: signal.Signals) -> None:
        """A signal to one node: SIGKILL, SIGSTOP, SIGCONT."""
        process = self._processes[node]
        assert process is not None
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()
            self._processes[node] = None

    def is_down(self, node: int) -> bool:
        return self._processes[node] is None

    def wipe(self, node: int) -> None:
        """Lose the disk with the node's records. It comes back under the same id with an empty one."""
        assert self.is_down(node), "a running node's disk"
        shutil.rmtree(self.data(node))
        self._format(node)

    def stop(self) -> None:
        for process in self._processes:
            if process is not None:
                process.kill()  # nothing of it is wanted after
        for process in self._processes:
            if process is not None:
                process.wait()
        self._processes = [None] * self.nodes

    def await_nodes(self, count: int, seconds: float = START_SECONDS_MAX) -> None:
        """Return once ``count`` brokers are in the cluster."""
        admin = AdminClient({"bootstrap.servers": self.inner, "log_level": 0})
        until = time.monotonic() + seconds
        seen: object = None
        while time.monotonic() < until:
            self._check_alive()
            with contextlib.suppress(KafkaException):
                seen = sorted(admin.list_topics(timeout=2).brokers)
                if len(seen) == count:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{seen} of {count} Kafka nodes after {seconds} s: {self._told()}")

    def tool(self, name: str, *arguments: str) -> str:
        """What one of Kafka's own command-line classes prints."""
        done = subprocess.run(
            ["java", *HEAP, "-cp", self._classpath, name, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")
        return done.stdout

    def data(self, node: int) -> Path:
        """The node's log directory."""
        return self._folder / f"n{node}"

    def _check_alive(self) -> None:
        for node, process in enumerate(self._processes):
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"Kafka node {node} ended with {process.returncode}: {self._told()}")

    def _told(self) -> str:
        return "\n".join(
            path.read_text(errors="replace")[-2000:] for path in sorted(self._folder.glob("*.out"))
        )

    def _file(self, node: int) -> Path:
        return self._folder / f"n{node}.properties"

    def _write(self, node: int) -> None:
        replicas = str(min(3, self.nodes))
        plain = self._listener == "PLAINTEXT"
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(node + 1),
            "listeners": f"CLIENT://127.0.0.1:{self._client_ports[node]},INNER://127.0.0.1:{self._inner_ports[node]},"
            f"CONTROLLER://127.0.0.1:{self._quorum_ports[node]}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{self._advertised or self._client_ports[node]},"
            f"INNER://127.0.0.1:{self._inner_ports[node]}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": ",".join(
                f"127.0.0.1:{port}" for port in self._quorum_ports
            ),
            "inter.broker.listener.name": "INNER",
            "listener.security.protocol.map": f"CLIENT:{'PLAINTEXT' if plain else self._listener},"
            "INNER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.data(node)),
            "metadata.log.dir": str(self._folder / f"m{node}"),  # the cluster's own records: another disk
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": "1",
            # a dead node is noticed in seconds, not in nine: the tests wait for it
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "controller.quorum.fetch.timeout.ms": "2000",
            "controller.quorum.election.timeout.ms": "1000",
            "replica.lag.time.max.ms": "3000",
            "log.cleaner.enable": "false",
            "num.network.threads": "2",
            "num.io.threads": "4",
            **self._settings,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file(node).write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    def _format(self, node: int) -> None:
        voters = ",".join(
            f"{other + 1}@127.0.0.1:{self._quorum_ports[other]}:{self._directory_ids[other]}"
            for other in range(self.nodes)
        )
        arguments = ["format", "-t", self._cluster, "-c", str(self._file(node))]
        arguments += ["--ignore-formatted", "--initial-controllers", voters]
        for user, password in self._scram.items():
            arguments += ["--add-scram", f"SCRAM-SHA-256=[name={user},password={password}]"]
        self.tool(STORAGE_TOOL, *arguments)


@contextlib.contextmanager
def running(folder: Path, *, nodes: int = 1, **more: object) -> Iterator[Kafka]:
    kafka = Kafka(folder, nodes=nodes, **more)  # type: ignore[arg-type]
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


def main() -> None:
    """Start brokers by hand and keep them until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Real Apache Kafka on loopback, for trying things out.")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 3))
    parser.add_argument("--port", type=int, default=9092, help="the first node's; the others follow")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends the brokers too
    first, nodes = arguments.port, arguments.nodes
    ports = [first + step for step in range(3 * nodes)]
    print(f"starting {nodes} Kafka node(s); the first time, Maven fetches about 55 MB", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="quicklime-kafka-") as folder,
        running(Path(folder), nodes=nodes, ports=ports) as kafka,
    ):
        print(
            f"brokers   {kafka.bootstrap}\ndata      {folder} (gone at the end)\nCtrl-C stops them",
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
