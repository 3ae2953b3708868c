"""An authority that may not issue for the names of its own API says so at its start, with the setting to change."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.stack import SETTINGS, Stack

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
