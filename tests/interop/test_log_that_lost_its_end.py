"""A log that lost its end, or is an older backup: a good log of fewer records, which only the views can tell apart."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from tests.support.stack import Stack


def _cut(file: Path, records: int) -> None:
    """What somebody does who can write the file: no trigger stops him."""
    log = sqlite3.connect(file)
    log.execute("DROP TRIGGER records_never_go")
    log.execute("DELETE FROM records WHERE offset >= ?", (records,))
    log.commit()
    log.close()


def test_the_views_tell_that_the_log_lost_its_end(tmp_path: Path) -> None:
    stack = Stack(folder=tmp_path)
    stack.found()
    whole = stack.told("doctor")
    assert "the log is whole: 5 records" in {finding["what"] for finding in whole}
    _cut(stack.data / "log.sqlite", 4)
    # it is a log without a fault: nothing in it says how long it was
    assert stack.told("log", "verify")["faults"] == []
    said = stack.quicklime("--output", "json", "doctor", fails=True).decode()
    assert "the log ends at record 4, but the views had seen 5" in said
    # what was seen has been made anew of what is there, and is no witness any more
    assert stack.told("view", "list")[0]["checkpoint"] == 4


def test_a_start_says_so_too(tmp_path: Path) -> None:
    stack = Stack(folder=tmp_path)
    stack.found()
    stack.start()
    stack.stop()
    _cut(stack.data / "log.sqlite", 5)
    stack.start()
    stack.stop()
    assert "warning: the log ends at record 5, but the views had seen" in stack.tail()


def test_the_same_log_brought_back_into_another_directory_is_the_same_authority(tmp_path: Path) -> None:
    """The backup of docs/trust.md: these files, and nothing else."""
    stack = Stack(folder=tmp_path / "old")
    stack.found()
    stack.start()
    stack.quicklime("issue", "web.lab.internal", "--out", str(tmp_path))
    digests = stack.quicklime("view", "digest")
    backup = Stack(folder=tmp_path / "new", api_port=stack.api_port, status_port=stack.status_port)
    backup.data.mkdir(parents=True, mode=0o700)
    for name in ("format", "root.pem", "issuing.pem"):
        shutil.copy(stack.data / name, backup.data / name)
    for name in ("issuers", "secrets"):
        shutil.copytree(stack.data / name, backup.data / name)
    with sqlite3.connect(f"file:{stack.data}/log.sqlite?mode=ro", uri=True) as source:
        copy = sqlite3.connect(backup.data / "log.sqlite")
        source.backup(copy)
        copy.close()
    stack.kill()
    backup.config.write_text(stack.config.read_text().replace(str(stack.data), str(backup.data)))
    assert backup.quicklime("view", "digest").split() == digests.split()
    backup.start()
    try:
        assert backup.told("status", str(tmp_path / "web.lab.internal.pem"))["status"] == "good"
        backup.quicklime("renew", str(tmp_path / "web.lab.internal.pem"))
    finally:
        backup.stop()
