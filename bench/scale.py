"""A large log on one machine: replay in events a core-second, memory, disk, look-ups, starts with and without a snapshot.

`--certificates 1000000` is the million with ten million events: each certificate has a plan, an issuance, a second secret, and
seven refused requests; in lineages of ten. Replay runs in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.process import free_port, process, resident_octets, wait_for_answer
from bench.seed import Shape, seeded, settings
from bench.table import show
from quicklime import codec, wiring
from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.config import Config
from quicklime.events import CertificatePlanned
from quicklime.log import Record
from quicklime.projection import Projector, State, pairs
from quicklime.services.ocsp import view as ocsp_view
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.local import VIEWS

RENEWALS, SECRETS, REFUSED = 9, 1, 7
LOOKUPS = 20_000
START_SECONDS_MAX = 3600.0
SAMPLE_RECORDS = 50_000


def run(rounds: int, certificates: int) -> None:
    del rounds
    shape = Shape(
        certificates=certificates,
        revoked=certificates // 100,
        renewals=RENEWALS,
        secrets=SECRETS,
        refused=REFUSED,
    )
    data = seeded(shape)
    config = settings(data)
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        _kinds(config)
        _replay(data)
        _sizes(config, data, certificates)
        _lookups(config)
        _starts(config, data, Path(folder))


def _kinds(config: Config) -> None:
    """What a record of each type costs to apply, in the middle of the log, and how much room it takes."""
    with wiring.opened_log(config) as log:
        head = log.head()
        records: list[Record] = []
        start = max(0, head // 2 - SAMPLE_RECORDS // 2)
        while len(records) < SAMPLE_RECORDS and (page := log.read(start + len(records))):
            records += page
    octets, counts = Counter[str](), Counter[str]()
    for record in records:
        octets[record.type] += len(record.value)
        counts[record.type] += 1
    rows = []
    for kind, count in counts.most_common():
        values = [record.value for record in records if record.type == kind]
        began = time.process_time()
        for value in values:
            codec.decode(value, kind)
        rows.append(
            [
                kind.removeprefix("quicklime."),
                f"{count / len(records):.1%}",
                f"{octets[kind] / count:.0f}",
                f"{(time.process_time() - began) / count * 1e6:.1f}",
            ]
        )
    print(f"{head:,} records; of {len(records):,} in their middle\n")
    show(["type", "share", "octets each", "decode µs"], rows)
    print()


def _replay(data: Path) -> None:
    """From record 0, in a process of its own."""
    shutil.rmtree(data / "views", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale", str(data)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    print(done.stdout)


def _replay_here(data: Path) -> None:
    with wiring.opened_log(settings(data)) as log:
        store = LMDBStore(data / "views")
        projector = Projector(log, store, VIEWS)
        began, cpu = time.monotonic(), time.process_time()
        records = projector.catch_up()
        lasted, cpu = time.monotonic() - began, time.process_time() - cpu
        store.close()
        closed = time.monotonic() - began - lasted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    show(
        [
            "replay of",
            "events per core-second",
            "CPU s",
            "elapsed s",
            "then flushed s",
            "peak memory MB (map included)",
        ],
        [
            [
                f"{records:,} records",
                f"{records / cpu:,.0f}",
                f"{cpu:.0f}",
                f"{lasted:.0f}",
                f"{closed:.1f}",
                f"{peak / 1e6:.0f}",
            ]
        ],
    )


def _sizes(config: Config, data: Path, certificates: int) -> None:
    directory = DataDirectory(data)
    rows = [
        [what, f"{size / 1e6:.0f}", f"{size / certificates:.0f}"]
        for what, size in (
            ("log", sum(_room(path) for path in data.glob("log.sqlite*"))),
            ("views", sum(_room(path) for path in directory.views.iterdir())),
        )
    ]
    with wiring.opened(config) as (_, _log, store, projector):
        for name in projector.tables:
            keys = octets = 0
            for key, value in pairs(store, name):
                keys += 1
                octets += len(key) + len(value)
            rows.append(
                [f"of them {name}: {keys:,} keys", f"{octets / 1e6:.0f}", f"{octets / certificates:.0f}"]
            )
    show(["disk", "MB", "octets per certificate"], rows)
    print()


def _lookups(config: Config) -> None:
    with wiring.opened(config) as (_, log, store, _projector):
        state, lots = State(store.get), random.Random(7)
        head, issuer = log.head(), ""
        serials: list[str] = []
        while len(serials) < LOOKUPS // 10:
            for record in log.read(lots.randrange(head), 20):
                event = codec.decode(record.value, record.type)
                if isinstance(event, CertificatePlanned):
                    serials.append(event.serial)
                    issuer = event.issuer
        rows = []
        for what, look in (
            ("a certificate's life, decoded", state.certificate),
            ("its status for OCSP", lambda serial: store.get(ocsp_view.NAME, ocsp_view.key(issuer, serial))),
        ):
            times = []
            for _ in range(10):
                lots.shuffle(serials)
                began = time.perf_counter()
                for serial in serials:
                    assert look(serial) is not None
                times.append((time.perf_counter() - began) / len(serials) * 1e6)
            rows.append([what, f"{statistics.median(times):.1f}"])
    show(["look-up", "µs"], rows)
    print()


def _starts(config: Config, data: Path, folder: Path) -> None:
    rows = [["views as they were left", *_start(data)]]
    began = time.monotonic()
    written = wiring.write_snapshot(config, folder / "snapshot")
    rows.append(
        [f"(writing a snapshot of {written.octets / 1e6:.0f} MB)", f"{time.monotonic() - began:.1f}", ""]
    )
    shutil.rmtree(data / "views")
    began = time.monotonic()
    wiring.restore_snapshot(config, folder / "snapshot")
    restored = time.monotonic() - began
    seconds, memory = _start(data)
    rows.append(
        [f"views lost, snapshot restored ({restored:.1f} s)", f"{restored + float(seconds):.1f}", memory]
    )
    (folder / "snapshot").unlink()
    shutil.rmtree(data / "views")
    rows.append(["views lost, no snapshot", *_start(data)])
    show(["start", "until it serves, s", "memory of the server MB (PSS)"], rows)


def _start(data: Path) -> tuple[str, str]:
    api, status = free_port(), free_port()
    environment = {
        **os.environ,
        "QUICKLIME_DATA_DIR": str(data),
        "QUICKLIME_API__PORT": str(api),
        "QUICKLIME_STATUS__PORT": str(status),
        "QUICKLIME_LOGGING__LEVEL": "error",
    }
    began = time.monotonic()
    with process([sys.executable, "-m", "quicklime", "serve"], environment) as pid:
        wait_for_answer(status, START_SECONDS_MAX)
        took = time.monotonic() - began
        time.sleep(2)
        return f"{took:.1f}", f"{resident_octets(pid) / 1e6:.0f}"


def _room(path: Path) -> int:
    return path.stat().st_blocks * 512


if __name__ == "__main__":
    _replay_here(Path(sys.argv[1]))
