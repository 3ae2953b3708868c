"""Certificates a second of one worker for the API, and of two: both have the same two cores, which the load shares.

The load's CPU is told beside the server's: on a machine of two cores it takes a part of what two workers could have.
"""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import load, peers
from bench.issuance import csr
from bench.process import CORES, resident_octets
from bench.table import show

SECONDS = 3.0


def run(rounds: int, certificates: int) -> None:
    csrs = [csr() for _ in range(certificates)]
    figures: dict[int, list[load.Measured]] = {1: [], 2: []}
    memory: dict[int, int] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".") as name, ExitStack() as stack:
        subjects = {
            workers: stack.enter_context(
                peers.quicklime(
                    Path(name).resolve() / str(workers),
                    name=f"{workers} for the API",
                    settings={
                        "QUICKLIME_WORKERS__API": str(workers),
                        "QUICKLIME_WORKERS__STATUS": "0",
                    },
                    cores=tuple(CORES[:2]),
                )
            )
            for workers in figures
        }
        for number in range(rounds + 1):
            for workers, subject in subjects.items():
                measured = load.measure(
                    subject.url,
                    [subject.request(one) for one in csrs],
                    pid=subject.pid,
                    connections=subject.connections,
                    seconds=SECONDS if number else 1,
                )
                if number:
                    figures[workers].append(measured)
                    memory[workers] = resident_octets(subject.pid)
    rate = {workers: statistics.median(one.per_second for one in found) for workers, found in figures.items()}
    cpu = {workers: statistics.median(one.cpu_seconds for one in found) for workers, found in figures.items()}
    print(f"{rounds} rounds of {SECONDS:.0f} s, {peers.CONNECTIONS} connections, {len(CORES[:2])} cores\n")
    show(
        ["workers", "per second", "against one", "server CPU µs each", "cores used", "memory MiB"],
        [
            [
                workers,
                f"{rate[workers]:.0f}",
                f"{rate[workers] / rate[1]:.2f}",
                f"{cpu[workers] * 1e6:.0f}",
                f"{rate[workers] * cpu[workers]:.2f}",
                f"{memory[workers] / 2**20:.0f}",
            ]
            for workers in figures
        ],
    )
