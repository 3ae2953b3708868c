"""A power cut in the middle of a flush: the write-ahead log ends with a part of a transaction, or with rubbish."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.log import Entry

ANSWERED = 20


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """A log as a power cut leaves it, copied under a living writer: how long its write-ahead log was before and after a last append."""
    folder = tmp_path_factory.mktemp("torn")
    wal = folder / "log.sqlite-wal"

    async def write() -> tuple[int, int]:
        log = SQLiteLog(folder / "log.sqlite", create=True)
        for number in range(ANSWERED):
            await log.append([Entry("t.v1", f"answered {number}".encode() * 50)])
        before = wal.stat().st_size
        await log.append([Entry("t.v1", b"last " * 2000) for _ in range(3)])
        after = wal.stat().st_size
        for name in ("log.sqlite", "log.sqlite-wal"):
            shutil.copy(folder / name, folder / f"copy-{name}")
        log.close()
        return before, after

    before, after = asyncio.run(write())
    assert 0 < before < after
    return folder, before, after


def opened(cut: tuple[Path, int, int], folder: Path, wal: bytes) -> SQLiteLog:
    shutil.copy(cut[0] / "copy-log.sqlite", folder / "log.sqlite")
    (folder / "log.sqlite-wal").write_bytes(wal)
    return SQLiteLog(folder / "log.sqlite")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.35, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("rubbish", [b"", b"\xff" * 5000, bytes(5000)], ids=["short", "ones", "zeros"])
def test_a_torn_tail_costs_only_what_was_not_answered(
    cut: tuple[Path, int, int], tmp_path: Path, share: float, rubbish: bytes
) -> None:
    _, before, after = cut
    wal = (cut[0] / "copy-log.sqlite-wal").read_bytes()
    log = opened(cut, tmp_path, wal[: before + int((after - before) * share)] + rubbish)
    try:
        log.check()
        assert log.head() == ANSWERED, "a part of the last append stands, or an answered one is missing"
        assert [record.value for record in log.read(0)] == [
            f"answered {number}".encode() * 50 for number in range(ANSWERED)
        ]
        # and it goes on where it was
        assert asyncio.run(log.append([Entry("t.v1", b"next")])) == ANSWERED
    finally:
        log.close()


def test_a_tail_that_is_whole_stands_though_its_answer_was_lost(
    cut: tuple[Path, int, int], tmp_path: Path
) -> None:
    log = opened(cut, tmp_path, (cut[0] / "copy-log.sqlite-wal").read_bytes())
    assert log.head() == ANSWERED + 3
    log.close()


def test_a_bit_that_flipped_in_the_tail_is_not_taken_for_a_record(
    cut: tuple[Path, int, int], tmp_path: Path
) -> None:
    _, before, after = cut
    wal = bytearray((cut[0] / "copy-log.sqlite-wal").read_bytes())
    wal[(before + after) // 2] ^= 1
    log = opened(cut, tmp_path, bytes(wal))
    log.check()
    assert log.head() == ANSWERED
    log.close()
