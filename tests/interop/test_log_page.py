"""docs/log.md is enough for another program: the reader that stands on the page comes to the authority's own verdicts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT
from tests.support.stack import SETTINGS, Stack

LISTED = {"issued", "revoked"}


def _reader(folder: Path) -> Path:
    (script,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs" / "log.md").read_text(), re.DOTALL | re.MULTILINE
    )
    path = folder / "reader.py"
    path.write_text(script)
    return path


def _read(stack: Stack, reader: Path) -> dict[str, tuple[str, list[str]]]:
    """Serial -> (status, names) as the reader of the page finds them. It runs where quicklime can't be imported."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(reader), str(stack.data / "log.sqlite")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ") for line in done.stdout.splitlines()]
    return {serial: (status, [name for name in names.split(",") if name]) for serial, status, names in rows}


@pytest.mark.slow
def test_the_reader_on_the_page_finds_what_the_authority_says(tmp_path: Path) -> None:
    stack = Stack(folder=tmp_path, settings=SETTINGS + '\n[server]\nurl = "https://127.0.0.1:{api_port}"\n')
    stack.found()
    reader = _reader(tmp_path)
    try:
        stack.start()
        files = [str(tmp_path / f"{name}.lab.internal.pem") for name in ("web", "db", "mail")]
        for name in ("web", "db", "mail"):
            stack.quicklime("issue", f"{name}.lab.internal", "--out", str(tmp_path))
        stack.quicklime("renew", files[0])
        stack.quicklime("revoke", files[1], "--reason", "keyCompromise")
        # what is refused after it was planned: the same compromised key again, which only the log's order can tell
        key = str(tmp_path / "db.lab.internal.key")
        stack.quicklime("issue", "again.lab.internal", "--key", key, "--out", str(tmp_path), fails=True)
        offline = stack.data / "root-take-me-offline"
        csr, found = str(tmp_path / "next.csr"), str(tmp_path / "next.pem")
        stack.quicklime("issuer", "rotate", "--csr-out", csr)
        secret = [
            "--root-key",
            str(offline / "root-key.pem"),
            "--passphrase-file",
            str(offline / "passphrase"),
        ]
        stack.quicklime("issuer", "sign-csr", csr, *secret, "--out", found)
        stack.quicklime("issuer", "rotate", "--certificate", found)
        stack.restart()
        stack.quicklime("renew", files[2])
        listed = {
            one["serial"]: (one["status"], one["names"])
            for one in stack.told("list", "--limit", "1000")
            if one["status"] in LISTED
        }
        read = _read(stack, reader)
        assert {serial: one for serial, one in read.items() if one[0] in LISTED} == listed
        assert len(listed) >= 8
        assert sum(status == "revoked" for status, _ in listed.values()) == 1
        stack.stop()
        # and of a log that nobody writes any more
        assert _read(stack, reader) == read
    finally:
        if stack.process is not None:
            stack.process.kill()
            stack.process.wait()
