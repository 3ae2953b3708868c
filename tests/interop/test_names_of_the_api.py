"""An authority that may not issue for the names of its own API says so at its start, with the setting to change."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.support.stack import READY_SECONDS, SETTINGS, Stack

NAMES = 'names = ["api.lab.internal", "127.0.0.1", "::1"]'


def test_names_outside_the_constraints_are_told_with_the_setting(tmp_path: Path) -> None:
    assert NAMES in SETTINGS
    stack = Stack(folder=tmp_path, settings=SETTINGS.replace(NAMES, 'names = ["api.elsewhere.example"]'))
    stack.found()
    done = subprocess.run(
        stack._command("serve"),
        capture_output=True,
        env=stack._environment(),
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5
    said = done.stderr
    assert "dns:api.elsewhere.example" in said
    assert "hint: set api.names (QUICKLIME_API__NAMES)" in said


def test_commands_on_the_machine_find_an_api_that_is_not_called_localhost(tmp_path: Path) -> None:
    """What the start says is what can be typed: the address is in the certificate, the name may be had."""
    stack = Stack(folder=tmp_path, settings=SETTINGS)
    stack.found()
    stack.start()
    try:
        # the first worker answers before the last one stands and the start says so
        deadline = time.monotonic() + READY_SECONDS
        while "try: quicklime " not in stack.log_file.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert f"API               https://127.0.0.1:{stack.api_port}\n" in stack.log_file.read_text()
        (typed,) = [
            line for line in stack.log_file.read_text().splitlines() if line.startswith("try: quicklime ")
        ]
        words = typed.removeprefix("try: quicklime ").split()
        assert words == ["issue", "web.example.test", "--data-dir", str(stack.data)]
        stack.quicklime(*words, "--out", str(tmp_path / "web"))
        done = subprocess.run(
            stack._command("issue", "other.lab.internal", "--out", str(tmp_path / "other")),
            capture_output=True,
            env=stack._environment() | {"QUICKLIME_SERVER__URL": f"https://localhost:{stack.api_port}"},
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 4
        assert "hint: set server.url (QUICKLIME_SERVER__URL) to one of the names in api.names" in done.stderr
    finally:
        stack.stop()
