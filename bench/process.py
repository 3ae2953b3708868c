"""Processes that are measured: started, kept to one core, counted with their children, ended by pid."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 15

CORES = sorted(os.sched_getaffinity(0))
# the server on one core, the load on the other; where there is one core only, both share it, and the page says so
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]


@contextmanager
def process(
    command: list[str],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    *,
    cores: tuple[int, ...] = (SERVER_CORE,),
) -> Iterator[int]:
    """Run ``command`` on ``cores``; its pid. What it says on standard error is kept beside, for a failed start."""
    started = subprocess.Popen(
        ["taskset", "--cpu-list", ",".join(map(str, cores)), *command],
        env=dict(os.environ if environment is None else environment),
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_answer(port: int, seconds_max: float) -> None:
    """Return once an HTTP server answers on ``port``: it may listen long before."""
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds_max)
        try:
            connection.request("GET", "/")
            connection.getresponse()
        except OSError:
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
    raise SystemExit(f"nothing answers on port {port} after {seconds_max} s")


def wait_for(port: int) -> None:
    """Return once something listens on ``port``."""
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port} after {START_SECONDS_MAX} s")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with its threads, and of every process that it started and that lives."""
    ticks = 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:  # it ended between the two looks
            continue
        # its own, and that of its children which ended and were waited for: proc(5)
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def resident_octets(pid: int) -> int:
    """Memory of the whole family; what several of them share is counted once each, in parts (PSS)."""
    total = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total
