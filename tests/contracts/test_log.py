"""The log's port: one suite over every adapter. What only a file can do wrong stands at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quicklime.adapters.kafka_log import KafkaLog
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.errors import BrokenState
from quicklime.log import AppendFailed, AppendUnknown, Entry, Log, LogUnreadable, MemoryLog, Record


@pytest.fixture(params=["memory", "sqlite", "kafka", "kafka3"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    made: Log
    match request.param:
        case "memory":
            made = MemoryLog()
        case "sqlite":
            made = SQLiteLog(tmp_path / "log.sqlite", create=True)
        case "kafka":
            made = KafkaLog(request.getfixturevalue("topic1"))
        case _:
            made = KafkaLog(request.getfixturevalue("topic3"))
    yield made
    made.close()


@pytest.fixture
def sqlite_log(tmp_path: Path) -> Iterator[SQLiteLog]:
    log = SQLiteLog(tmp_path / "log.sqlite", create=True)
    yield log
    log.close()


def entry(text: str) -> Entry:
    return Entry("test.thing.done.v1", text.encode())


async def test_offsets_begin_at_zero_and_have_no_gap(log: Log) -> None:
    assert log.head() == 0
    assert [await log.append([entry(str(n))]) for n in range(3)] == [0, 1, 2]
    assert log.head() == 3
    assert [record.offset for record in log.read(0)] == [0, 1, 2]


async def test_the_bytes_are_those_that_were_appended(log: Log) -> None:
    values = [b"", bytes(range(256)), b'{"a": 1}\n', "ü".encode(), b"x" * 100_000]
    first = await log.append([Entry("t.v1", value) for value in values])
    assert [record.value for record in log.read(first)] == values
    assert log.read(first, 1) == [Record(first, "t.v1", b"")]


async def test_the_entries_of_one_append_stand_next_to_each_other(log: Log) -> None:
    async def several(name: str) -> int:
        return await log.append([entry(f"{name}{n}") for n in range(5)])

    firsts = await asyncio.gather(*(several(f"{n}-") for n in range(20)))
    assert sorted(firsts) == list(range(0, 100, 5))
    values = [record.value.decode() for record in log.read(0)]
    for n, first in enumerate(firsts):
        assert values[first : first + 5] == [f"{n}-{place}" for place in range(5)]


async def test_reading_is_bounded_and_empty_at_the_head(log: Log) -> None:
    await log.append([entry(str(n)) for n in range(1500)])
    assert len(log.read(0, 10_000)) == 1000
    assert [record.offset for record in log.read(1498)] == [1498, 1499]
    assert len(log.read(1500)) == 0
    assert len(log.read(99_999, 1)) == 0
    assert len(log.read(3, 2)) == 2


async def test_waiting_ends_when_a_record_stands(log: Log) -> None:
    assert log.wait(0, 0.01) is False
    await log.append([entry("a")])
    assert log.wait(0, 0.01) is True
    assert log.wait(1, 0.01) is False


async def test_an_append_wakes_who_waits(sqlite_log: SQLiteLog) -> None:
    woken: list[float] = []

    def wait() -> None:
        if sqlite_log.wait(0, 10):
            woken.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    await asyncio.sleep(0.1)
    await sqlite_log.append([entry("a")])
    thread.join(5)
    assert woken


# --- SQLite alone ---------------------------------------------------------------------------------------------------


async def test_appends_that_wait_together_share_a_flush(sqlite_log: SQLiteLog) -> None:
    await asyncio.gather(*(sqlite_log.append([entry(str(n))]) for n in range(500)))
    assert sqlite_log.head() == 500
    assert sqlite_log.commits < 100


async def test_no_entries_and_unfit_types_are_refused(sqlite_log: SQLiteLog) -> None:
    for entries in ([], [Entry("a\nb", b"")], [Entry("ü", b"")]):
        with pytest.raises(AppendFailed):
            await sqlite_log.append(entries)
    assert sqlite_log.head() == 0


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
async def test_appends_of_any_size_are_read_back_while_fresh_and_from_the_file(
    tmp_path: Path, count: int
) -> None:
    with contextlib.closing(SQLiteLog(tmp_path / "log.sqlite", create=True)) as log:
        assert await log.append([entry("first")]) == 0
        assert await log.append([entry(str(n)) for n in range(count)]) == 1
        fresh = [record for start in range(count + 1) for record in log.read(start, 1)]
    with contextlib.closing(SQLiteLog(tmp_path / "log.sqlite")) as log:
        assert list(log.read(0)) == fresh
    assert [record.value for record in fresh] == [b"first", *(str(n).encode() for n in range(count))]


async def test_what_another_wrote_in_between_is_read_in_its_place(tmp_path: Path) -> None:
    with (
        contextlib.closing(SQLiteLog(tmp_path / "log.sqlite", create=True)) as ours,
        contextlib.closing(SQLiteLog(tmp_path / "log.sqlite")) as theirs,
    ):
        for number in range(20):
            assert await (theirs if number % 3 else ours).append([entry(str(number))]) == number
        assert [int(ours.read(start, 1)[0].value) for start in range(20)] == list(range(20))
        for log in (ours, theirs):
            seen: list[int] = []
            while page := log.read(len(seen)):
                seen += [int(record.value) for record in page]
            assert seen == list(range(20))


class _Broken(sqlite3.Connection):
    """Fails once at its insertion, before or after it was done."""

    done: bool
    armed: bool = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if not (sql.startswith("INSERT") and _Broken.armed):
            return super().execute(sql, *parameters)
        _Broken.armed = False
        if _Broken.done:
            super().execute(sql, *parameters)
        raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize("done", [False, True])
async def test_a_commit_that_fails_is_looked_after(
    sqlite_log: SQLiteLog, monkeypatch: pytest.MonkeyPatch, *, done: bool
) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(_Broken, "done", done, raising=False)
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, **k, factory=_Broken))
    await sqlite_log.append([entry("before")])
    monkeypatch.setattr(_Broken, "armed", True)
    with pytest.raises(AppendUnknown if done else AppendFailed):
        await sqlite_log.append([entry("one"), entry("two")])
    # and the next one is as if nothing had been
    assert await sqlite_log.append([entry("after")]) == (3 if done else 1)


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.sqlite", create=True, queue_entries_max=10)
    answers = await asyncio.gather(*(log.append([entry(str(n))]) for n in range(200)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, AppendFailed)]
    stand = [answer for answer in answers if isinstance(answer, int)]
    assert refused
    assert len(refused) + len(stand) == 200
    assert log.head() == len(stand)
    log.close()


async def test_after_closing_nothing_goes_and_what_was_answered_is_there(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log.sqlite", create=True)
    await log.append([entry("a")])
    log.close()
    with pytest.raises(AppendFailed):
        await log.append([entry("b")])
    with pytest.raises(LogUnreadable):
        log.head()
    again = SQLiteLog(tmp_path / "log.sqlite")
    assert [record.value for record in again.read(0)] == [b"a"]
    again.check()
    again.close()


async def test_the_file_itself_refuses_change_deletion_and_gaps(
    sqlite_log: SQLiteLog, tmp_path: Path
) -> None:
    await sqlite_log.append([entry("a"), entry("b")])
    by_hand = sqlite3.connect(tmp_path / "log.sqlite")
    for statement in (
        "UPDATE records SET value = x'00' WHERE offset = 0",
        "DELETE FROM records WHERE offset = 1",
        "INSERT INTO records VALUES (5, 't', x'00')",
        "INSERT OR REPLACE INTO records VALUES (0, 't', x'00')",
        "INSERT INTO records VALUES (-1, 't', x'00')",
    ):
        with pytest.raises(sqlite3.Error):
            by_hand.execute(statement)
    by_hand.close()
    assert [record.value for record in sqlite_log.read(0)] == [b"a", b"b"]


WRITER = """
import asyncio, sys
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.log import Entry

async def main(path, name, count):
    log = SQLiteLog(path)
    async def one(n):
        offset = await log.append([Entry("t.v1", f"{name}.{n}.{part}".encode()) for part in "ab"])
        print(offset, name, n, flush=True)
    for n in range(0, count, 4):
        await asyncio.gather(*(one(m) for m in range(n, n + 4)))
    log.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def answered(process: subprocess.Popen[str]) -> dict[int, bytes]:
    """Offset -> first value, of every append whose answer the process told."""
    assert process.stdout is not None
    told = [line.split() for line in process.stdout.read().splitlines()]
    return {int(line[0]): f"{line[1]}.{line[2]}.a".encode() for line in told if len(line) == 3}


def test_several_processes_append_to_one_order(sqlite_log: SQLiteLog, tmp_path: Path) -> None:
    processes = [writer(tmp_path / "log.sqlite", name, 100) for name in "xyz"]
    told = [answered(process) for process in processes]
    assert [process.wait() for process in processes] == [0, 0, 0]
    records = {record.offset: record.value for record in sqlite_log.read(0)}
    assert sorted(records) == list(range(600))
    for one in told:
        assert len(one) == 100
        for offset, value in one.items():
            assert records[offset] == value
            assert records[offset + 1] == value[:-1] + b"b"


@pytest.mark.parametrize("after_seconds", [0.35, 0.5, 0.7])
def test_a_killed_writer_loses_nothing_that_was_answered(
    sqlite_log: SQLiteLog, tmp_path: Path, after_seconds: float
) -> None:
    process = writer(tmp_path / "log.sqlite", "k", 1_000_000)
    time.sleep(after_seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    told = answered(process)
    records: list[Record] = []
    while page := sqlite_log.read(len(records)):
        records.extend(page)
    sqlite_log.check()
    assert len(records) % 2 == 0, "an append stands whole or not at all"
    for offset, value in told.items():
        assert records[offset].value == value


def test_disk_full_is_said_and_nothing_of_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    SQLiteLog(path, create=True).close()
    script = """
        import asyncio, resource, signal, sys
        from quicklime.adapters.sqlite_log import SQLiteLog
        from quicklime.log import AppendFailed, AppendUnknown, Entry
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        async def main():
            log = SQLiteLog(sys.argv[1])
            await log.append([Entry("t.v1", b"before")])
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
            try:
                await log.append([Entry("t.v1", b"x" * 1_000_000)])
            except AppendFailed as error:
                print("refused", log.head())
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(await log.append([Entry("t.v1", b"after")]))
            log.close()
        asyncio.run(main())
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n")[:2] == ["refused 1", "1"], done.stderr
    log = SQLiteLog(path)
    assert [record.value for record in log.read(0)] == [b"before", b"after"]
    log.close()


def test_what_is_no_log_of_ours_is_told_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with pytest.raises(BrokenState, match="no log at"):
        SQLiteLog(path)
    path.write_bytes(b"something else" * 500)
    with pytest.raises(BrokenState) as damaged:
        SQLiteLog(path)
    assert damaged.value.hint
    with pytest.raises(BrokenState, match="there already"):
        SQLiteLog(path, create=True)
    assert path.read_bytes() == b"something else" * 500
    path.unlink()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE records (offset, type, value)")
    foreign.close()
    with pytest.raises(BrokenState, match="is not a log"):
        SQLiteLog(path)


def test_a_log_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    SQLiteLog(path, create=True).close()
    by_hand = sqlite3.connect(path)
    by_hand.execute("PRAGMA user_version = 99")
    by_hand.close()
    with pytest.raises(BrokenState, match="format 99"):
        SQLiteLog(path)


async def test_a_damaged_page_is_found_by_the_whole_check(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = SQLiteLog(path, create=True)
    await log.append([entry("x" * 3000) for _ in range(50)])
    log.close()
    with sqlite3.connect(path) as by_hand:
        by_hand.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    by_hand.close()
    octets = bytearray(path.read_bytes())
    middle = len(octets) // 2 // 4096 * 4096
    octets[middle : middle + 64] = bytes(64)
    path.write_bytes(octets)
    again = SQLiteLog(path)
    with pytest.raises(BrokenState, match="damaged"):
        again.check()
    again.close()
