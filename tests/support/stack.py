"""A running authority as its users have it: `quicklime init` and `quicklime serve` in processes of their own, seen from outside.

Nothing of the program is imported. Ports are free ones of the loopback, chosen once, so that a restart is found again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

DOMAINS = ("lab.internal", "example.test")
IP_RANGES = ("10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1/128")
CFSSL_KEY = "7f4c0de1b2a39485766758493a2b1c0d"
READY_SECONDS = 30.0
STOP_SECONDS = 15.0

SETTINGS = """\
data_dir = {data_dir}

[api]
port = {api_port}
names = ["api.lab.internal", "127.0.0.1", "::1"]

[status]
port = {status_port}
url = "http://127.0.0.1:{status_port}"

[crl]
delay_seconds = 0.2

[limits]
failures_per_minute = 100000

[cfssl.auth_keys.ci]
key = "{cfssl_key}"
names = ["**.lab.internal", "10.0.0.0/8"]
profiles = ["server", "client"]

[[client_certificates]]
bearer = "deployer.lab.internal"
names = ["**.apps.lab.internal"]
profiles = ["server", "client"]
"""

# for tests of what happens when the process dies: there is one, without a supervisor
ONE_PROCESS = """
[workers]
api = 1
status = 0
"""


def run(
    *command: str | Path, given: bytes | None = None, cwd: Path | None = None, fails: bool = False
) -> bytes:
    """What a program prints. Fails with everything it said where it ends otherwise than expected."""
    # no terminal: a program that asks would wait for ever
    source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
    done = subprocess.run(
        [str(one) for one in command], capture_output=True, cwd=cwd, check=False, timeout=60, **source
    )
    said = f"{' '.join(map(str, command))}\nended with {done.returncode}\n{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}"
    assert (done.returncode != 0) == fails, said
    printed = done.stdout + done.stderr if fails else done.stdout
    assert isinstance(printed, bytes)
    return printed


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(slots=True, kw_only=True)
class Stack:
    """One authority in ``folder``; ``prefix`` stands before its command (``env`` and what ``faketime`` sets)."""

    folder: Path
    settings: str = SETTINGS
    prefix: Sequence[str] = ()
    api_port: int = field(default_factory=free_port)
    status_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def root(self) -> Path:
        return self.data / "root.pem"

    @property
    def config(self) -> Path:
        return self.folder / "quicklime.toml"

    @property
    def log_file(self) -> Path:
        return self.folder / "serve.log"

    @property
    def api(self) -> str:
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def status(self) -> str:
        return f"http://127.0.0.1:{self.status_port}"

    @property
    def admin(self) -> str:
        return (self.data / "first-token").read_text().strip()

    # --- its life ---------------------------------------------------------------------------------------------------

    def found(self, *options: str) -> None:
        """Write the settings and make root, intermediate, log and first token."""
        self.configure()
        wishes = [word for one in DOMAINS for word in ("--domain", one)]
        wishes += [word for one in IP_RANGES for word in ("--ip-range", one)]
        self.quicklime("init", *wishes, *options)

    def configure(self) -> None:
        """Write the settings alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            self.settings.format(
                data_dir=json.dumps(str(self.data)),
                api_port=self.api_port,
                status_port=self.status_port,
                cfssl_key=CFSSL_KEY,
            )
        )

    def start(self) -> None:
        """Start serving, and come back when it says that it is ready."""
        assert self.process is None
        said = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._command("serve"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        # on another day its certificate may not be good for us
        with httpx.Client(base_url=self.api, verify=False) if self.prefix else self.client(None) as client:
            while time.monotonic() < deadline:
                assert self.process.poll() is None, f"ended at its start\n{self.tail()}"
                with contextlib.suppress(httpx.TransportError):
                    # a worker may answer before the last one is there; the command says when all are
                    if client.get("/health/ready").status_code == 200 and self._says_ready(said):
                        return
                time.sleep(0.05)
        raise AssertionError(f"not ready in {READY_SECONDS} s\n{self.tail()}")

    def _says_ready(self, after: int) -> bool:
        return b"root certificate" in self.log_file.read_bytes()[after:]

    def stop(self) -> None:
        """End it as an operator does; it must end well."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        assert process is not None
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)  # a power cut leaves no worker either
        else:
            process.send_signal(number)
        code = process.wait(STOP_SECONDS)
        assert code == (0 if number == signal.SIGTERM else -number), f"ended with {code}\n{self.tail()}"

    def tail(self, lines: int = 60) -> str:
        """The last of what the server said."""
        if not self.log_file.exists():
            return ""
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])

    # --- its users --------------------------------------------------------------------------------------------------

    def quicklime(self, *arguments: str, fails: bool = False) -> bytes:
        """The command line, in the server's own configuration."""
        done = subprocess.run(
            self._command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self._environment(),
            check=False,
            timeout=120,
        )
        assert (done.returncode != 0) == fails, (
            f"quicklime {' '.join(arguments)} ended with {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        )
        return done.stdout

    def quicklime_said(self, *arguments: str) -> bytes:
        """What the command line says on standard error as it fails."""
        done = subprocess.run(
            self._command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self._environment(),
            check=False,
            timeout=120,
        )
        assert done.returncode != 0, done.stdout
        return done.stderr

    def told(self, *arguments: str) -> Any:
        """What the command line says, as JSON."""
        return json.loads(self.quicklime("--output", "json", *arguments))

    def client(self, token: str | None = "", certificate: tuple[Path, Path] | None = None) -> httpx.Client:
        """An HTTP client that trusts the root alone; by default with the first token. ``certificate``: chain and key."""
        context = ssl.create_default_context(cafile=str(self.root))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        headers = {} if token is None else {"authorization": f"Bearer {token or self.admin}"}
        return httpx.Client(base_url=self.api, verify=context, headers=headers, timeout=30)

    def token(self, *names: str, profiles: Sequence[str] = ("server",)) -> str:
        """A requester's token for these patterns."""
        with self.client() as client:
            answer = client.post(
                "/v1/tokens",
                json={"role": "requester", "names": names, "profiles": profiles, "lifetime_seconds": 3600},
            )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def events(self) -> list[dict[str, Any]]:
        """Every record of the log, decoded: what `quicklime log export` writes."""
        return [json.loads(line) for line in self.quicklime("log", "export").splitlines()]

    @staticmethod
    def data_of(event: dict[str, Any]) -> dict[str, Any]:
        """What an exported record says, without its envelope."""
        data = json.loads(b64decode(event["value"]))["data"]
        assert isinstance(data, dict)
        return data

    def _command(self, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "quicklime", "--config", str(self.config), *arguments]

    def _environment(self) -> dict[str, str]:
        """Nothing of whoever runs the tests may reach the authority's settings."""
        return {name: value for name, value in os.environ.items() if not name.startswith("QUICKLIME_")} | {
            "NO_COLOR": "1"
        }


@contextlib.contextmanager
def running(folder: Path, *options: str, settings: str = SETTINGS) -> Iterator[Stack]:
    """A founded, ready authority in ``folder``, ended after, even where a test has failed."""
    stack = Stack(folder=folder, settings=settings)
    stack.found(*options)
    try:
        stack.start()
        yield stack
        if stack.process is not None:
            stack.stop()
    finally:
        if stack.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(stack.process.pid, signal.SIGKILL)
            stack.process.wait()


def program(name: str) -> str:
    """The path of a program that `tests/services.sh` installs; servers lie where not every user looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    assert found is not None, f"{name} is missing: run tests/services.sh"
    return found
