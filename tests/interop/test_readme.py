"""The README's transcript is run as it stands, in a fresh folder, and must print what the README says.

What differs from run to run is made equal on both sides: ports, serials (each by the order of its first mention), times.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.tree import ROOT
from tests.support.stack import READY_SECONDS, free_port, program

pytestmark = pytest.mark.peers

START = "make up"
LAST_WORD = "try: quicklime issue"
API_PORT, STATUS_PORT = "8443", "8080"

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d \d{4} GMT"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DAY"),
    # each process of the server has certificates of its own, and there are as many as cores
    (re.compile(r"\d+ records, \d+ certificates"), "SOME records, SOME certificates"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
)
_SERIAL = re.compile(r"\b([0-9a-f]{16})(?:[0-9a-f]{24})?\b")


def transcript() -> Iterator[tuple[str, str]]:
    """(command, what it prints) of every `console` block of the README, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in _BLOCK.findall(text):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = step.partition("\n")
            yield command, printed


def comparable(printed: str, serials: dict[str, str]) -> list[str]:
    """The lines of ``printed`` without what changes. ``serials`` remembers which serial was mentioned as which."""
    for pattern, word in _CHANGING:
        printed = pattern.sub(word, printed)
    printed = _SERIAL.sub(lambda found: serials.setdefault(found[1], f"SERIAL-{len(serials)}"), printed)
    return [" ".join(line.split()) for line in printed.splitlines()]


END = "-- end of command --"


def typed(commands: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """What each of ``commands`` prints, typed one after the other into one shell: what one sets is there for the next."""
    script = "\n".join(f"{command}\necho; echo '{END}'" for command in commands)
    done = subprocess.run(
        ["bash", "--norc", "-O", "expand_aliases", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.split(f"\n{END}\n")[:-1]


def _until_ready(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    lines: list[str] = []
    for line in server.stdout:
        lines.append(line)
        if line.startswith(LAST_WORD):
            return "".join(lines)
    raise AssertionError(f"it ended before it was ready: {''.join(lines)}")


def test_make_up_is_quicklime_up() -> None:
    assert re.search(
        r"^up:.*\n\t@exec \$\(BIN\)/quicklime up \$\(ARGS\)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )


def test_the_transcript_prints_what_it_says(tmp_path: Path) -> None:
    program("openssl")
    api, status = str(free_port()), str(free_port())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUICKLIME_")} | {
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "QUICKLIME_API__PORT": api,
        "QUICKLIME_STATUS__PORT": status,
        "QUICKLIME_STATUS__URL": f"http://localhost:{status}",
    }
    (command, said), *steps = transcript()
    assert command == START
    assert len(steps) > 5
    serials_said: dict[str, str] = {}
    serials_seen: dict[str, str] = {}

    def seen(printed: str) -> list[str]:
        printed = printed.replace(f"localhost:{api}", f"localhost:{API_PORT}")
        return comparable(printed.replace(f"localhost:{status}", f"localhost:{STATUS_PORT}"), serials_seen)

    with (tmp_path / "server.log").open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-m", "quicklime", "up"],
            cwd=tmp_path,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert seen(_until_ready(server)) == comparable(said, serials_said)
        commands = [
            command.replace(f"localhost:{STATUS_PORT}", f"localhost:{status}") for command, _ in steps
        ]
        for (command, said), printed in zip(steps, typed(commands, tmp_path, environment), strict=True):
            assert seen(printed) == comparable(said, serials_said), command
        server.send_signal(signal.SIGTERM)
        assert server.wait(READY_SECONDS) == 0, (tmp_path / "server.log").read_text()
    finally:
        server.kill()
        server.wait()
