"""Load from outside: wrk on a core of its own sends requests that were made before, over connections that stay open."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import LOAD_CORE, cpu_seconds

# Requests lie in a file, each after its length in four octets; wrk takes them in turn, from the first again after the last.
_SCRIPT = """
local file = io.open("{path}", "rb")
local data = file:read("*a")
file:close()
local requests, place = {{}}, 1
while place < #data do
    local a, b, c, d = data:byte(place, place + 3)
    local size = ((a * 256 + b) * 256 + c) * 256 + d
    requests[#requests + 1] = data:sub(place + 4, place + 3 + size)
    place = place + 4 + size
end
local number = 0
request = function()
    number = number % #requests + 1
    return requests[number]
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """``per_second`` is of answers, ``cpu_seconds`` the server's for each, whole family and kernel's part included."""

    per_second: float
    cpu_seconds: float
    answers: int


def measure(url: str, requests: Sequence[bytes], *, pid: int, connections: int, seconds: float) -> Measured:
    """Send ``requests`` (whole HTTP/1.1 requests) to ``url`` for so long. Any answer that is no 2xx ends the bench."""
    with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
        data, script = Path(folder) / "requests", Path(folder) / "load.lua"
        data.write_bytes(b"".join(len(one).to_bytes(4, "big") + one for one in requests))
        script.write_text(_SCRIPT.format(path=data))
        command = ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "--threads", "1"]
        command += ["--connections", str(connections), "--duration", f"{seconds:.0f}s", "--timeout", "30s"]
        before, began = cpu_seconds(pid), time.monotonic()
        done = subprocess.run(
            [*command, "--script", str(script), url], capture_output=True, text=True, check=False
        )
        lasted, cpu = time.monotonic() - began, cpu_seconds(pid) - before
    found = re.search(r"(\d+) requests in", done.stdout)
    if done.returncode or found is None or not int(found[1]):
        raise SystemExit(f"wrk failed on {url}: {done.stdout}{done.stderr}")
    if failed := re.search(r"(Non-2xx or 3xx responses: .*|Socket errors: .*)", done.stdout):
        raise SystemExit(f"{url}: {failed[1]}")
    answers = int(found[1])
    return Measured(per_second=answers / lasted, cpu_seconds=cpu / answers, answers=answers)


def http_request(method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    """One HTTP/1.1 request, whole."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
