"""Durable appends a second on the embedded log, against a bare write and fdatasync of the same octets."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.table import show
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.log import Entry

VALUE = os.urandom(1500)
SECONDS = 1.0


def run(rounds: int, certificates: int) -> None:
    del certificates
    at_once = (1, 16, 256)
    bare: list[float] = []
    found: dict[int, list[tuple[float, float]]] = {many: [] for many in at_once}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=".") as folder:
        for number in range(rounds):
            bare.append(_bare(Path(folder) / "bare"))
            for many in at_once:
                found[many].append(asyncio.run(_appends(Path(folder) / f"log-{number}-{many}.sqlite", many)))
    flushes = statistics.median(bare)
    rows: list[list[object]] = [["bare write and fdatasync", f"{flushes:.0f}", "1.0", "1.00"]]
    for many, figures in found.items():
        rate, per_flush = (statistics.median(values) for values in zip(*figures, strict=True))
        rows.append([f"append, {many} at once", f"{rate:.0f}", f"{per_flush:.1f}", f"{rate / flushes:.2f}"])
    print(f"{rounds} rounds of {SECONDS:.0f} s, records of {len(VALUE)} octets\n")
    show(["what", "per second", "records per flush", "against the bare flush"], rows)


def _bare(path: Path) -> float:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        count, began = 0, time.monotonic()
        while time.monotonic() - began < SECONDS:
            os.write(descriptor, VALUE)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.monotonic() - began)
    finally:
        os.close(descriptor)


async def _appends(path: Path, at_once: int) -> tuple[float, float]:
    """(records a second, records per flush)."""
    log = SQLiteLog(path, create=True)
    entry = Entry("bench.record.v1", VALUE)
    end = time.monotonic() + SECONDS
    count = 0

    async def writer() -> None:
        nonlocal count
        while time.monotonic() < end:
            await log.append([entry])
            count += 1

    began = time.monotonic()
    await asyncio.gather(*(writer() for _ in range(at_once)))
    seconds = time.monotonic() - began
    commits = log.commits
    log.close()
    return count / seconds, count / commits
