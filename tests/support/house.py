"""A server with the demonstration's past, as the browser tests and the screenshots look at it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.house.tree import ROOT
from tests.support.stack import SETTINGS, Stack

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(slots=True, kw_only=True)
class House:
    """The server, and an auditor's token."""

    stack: Stack
    auditor: str

    @property
    def url(self) -> str:
        return f"{self.stack.api}/dashboard"


def why_not() -> str | None:
    """Why there is nothing to look at here; None where there is."""
    if shutil.which("node") is None:
        return "there is no Node here: the dashboard's page can't be built"
    if shutil.which("chromium") is None:
        return "there is no Chromium here: run tests/services.sh"
    return None


def build_page() -> None:
    for verb in ("install", "build"):
        done = subprocess.run(
            [ROOT / "dashboard" / "run", verb], capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def demo_house(folder: Path, *, services: int) -> Iterator[House]:
    """A running server over the demonstration's past, ended after."""
    build_page()
    stack = Stack(folder=folder)
    stack.config.write_text(
        SETTINGS.format(
            data_dir=json.dumps(str(stack.data)),
            api_port=stack.api_port,
            status_port=stack.status_port,
            cfssl_key="00" * 16,
        )
    )
    stack.quicklime("demo", "--keep", str(stack.data), "--services", str(services), "--only-make")
    stack.start()
    try:
        made = stack.told("token", "create", "--role", "auditor")
        yield House(stack=stack, auditor=str(made["token"]))
        if stack.process is not None:
            stack.stop()
    finally:
        if stack.process is not None:
            stack.process.kill()
            stack.process.wait()
