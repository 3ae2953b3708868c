"""The page's logic, by its own tests (Vitest)."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.house.tree import ROOT

needs_node = pytest.mark.skipif(
    shutil.which("node") is None,
    reason="there is no Node here: the dashboard's page can be neither built nor tested",
)


@needs_node
def test_the_page_s_own_tests() -> None:
    done = subprocess.run(
        [ROOT / "dashboard" / "run", "test"], capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
