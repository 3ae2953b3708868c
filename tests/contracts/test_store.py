"""The store's port: one suite over every adapter."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.memory_store import MemoryStore
from quicklime.adapters.sqlite_store import SQLiteStore
from quicklime.adapters.valkey_store import ValkeyStore
from quicklime.errors import BrokenState, Fault
from quicklime.projection import Store, digest, pairs
from quicklime.wiring.monitor import LAYOUT


@pytest.fixture(params=["memory", "lmdb", "sqlite", "valkey", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    match request.param:
        case "memory":
            made = MemoryStore()
        case "lmdb":
            made = LMDBStore(tmp_path / "views")
        case "sqlite":
            made = SQLiteStore(tmp_path / "view.sqlite", LAYOUT, writing=True)
        case name:
            made = ValkeyStore(request.getfixturevalue(name).url, prefix=str(uuid.uuid4()))
    yield made
    made.close()


def fill(store: Store, table: str, **rows: bytes) -> None:
    with store.write() as batch:
        for key, value in rows.items():
            batch.put(table, key.encode(), value)


def test_what_was_put_is_got_and_what_was_not_is_none(store: Store) -> None:
    fill(store, "one", a=b"1", b=b"")
    assert (store.get("one", b"a"), store.get("one", b"b"), store.get("one", b"c")) == (b"1", b"", None)
    assert store.get("two", b"a") is None


def test_tables_do_not_touch_each_other(store: Store) -> None:
    fill(store, "one", a=b"1")
    fill(store, "one2", a=b"2")
    fill(store, "on", e=b"3")
    with store.write() as batch:
        batch.clear("one")
    assert store.scan("one") == []
    assert (store.get("one2", b"a"), store.get("on", b"e")) == (b"2", b"3")


def test_a_scan_is_in_key_order_and_starts_after(store: Store) -> None:
    with store.write() as batch:
        for key in (b"b2", b"a", b"b1", b"c", b"b3", b"\xff\xff"):
            batch.put("t", key, key)
    assert [key for key, _ in store.scan("t")] == [b"a", b"b1", b"b2", b"b3", b"c", b"\xff\xff"]
    assert [key for key, _ in store.scan("t", prefix=b"b")] == [b"b1", b"b2", b"b3"]
    assert [key for key, _ in store.scan("t", prefix=b"b", after=b"b1")] == [b"b2", b"b3"]
    assert [key for key, _ in store.scan("t", prefix=b"b", after=b"b1", limit=1)] == [b"b2"]
    assert [key for key, _ in store.scan("t", after=b"b9")] == [b"c", b"\xff\xff"]
    assert list(store.scan("t", prefix=b"b", after=b"a")) == [(b"b1", b"b1"), (b"b2", b"b2"), (b"b3", b"b3")]
    assert store.scan("t", prefix=b"x") == []


def test_a_write_that_raises_is_undone(store: Store) -> None:
    fill(store, "t", a=b"1")

    def spoil() -> None:
        with store.write() as batch:
            batch.put("t", b"a", b"2")
            batch.put("new", b"b", b"2")
            batch.clear("t")
            raise ValueError("spoilt")

    with pytest.raises(ValueError, match="spoilt"):
        spoil()
    assert (store.get("t", b"a"), store.get("new", b"b")) == (b"1", None)
    fill(store, "new", b=b"3")
    assert store.get("new", b"b") == b"3"


def test_a_write_reads_what_it_wrote_and_others_do_not(store: Store) -> None:
    fill(store, "t", a=b"1", gone=b"x")
    seen: list[bytes | None] = []
    with store.write() as batch:
        batch.put("t", b"a", b"2")
        batch.delete("t", b"gone")
        assert (batch.get("t", b"a"), batch.get("t", b"gone")) == (b"2", None)
        other = threading.Thread(target=lambda: seen.extend([store.get("t", b"a"), store.get("t", b"gone")]))
        other.start()
        other.join()
        batch.clear("t")
        assert batch.get("t", b"a") is None
        batch.put("t", b"z", b"9")
    assert seen == [b"1", b"x"]
    assert list(store.scan("t")) == [(b"z", b"9")]


def test_writes_wait_for_each_other(store: Store) -> None:
    def count() -> None:
        for _ in range(100):
            with store.write() as batch:
                batch.put("t", b"n", str(int(batch.get("t", b"n") or b"0") + 1).encode())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("t", b"n") == b"400"


def test_deleting_what_is_not_there_is_nothing(store: Store) -> None:
    with store.write() as batch:
        batch.delete("t", b"a")
        batch.clear("never")
    assert store.scan("t") == []


def test_long_keys_and_values(store: Store) -> None:
    key, value = b"k" * 300, b"v" * 1_000_000
    with store.write() as batch:
        batch.put("lifecycle", key, value)
    assert store.get("lifecycle", key) == value


def test_the_digest_is_of_the_pairs_alone(store: Store) -> None:
    fill(store, "t", a=b"1", b=b"2")
    other = MemoryStore()
    fill(other, "t", b=b"2")
    fill(other, "t", a=b"1")
    assert digest(store, "t") == digest(other, "t")
    fill(other, "t", a=b"")
    assert digest(store, "t") != digest(other, "t")
    assert list(pairs(store, "t")) == [(b"a", b"1"), (b"b", b"2")]


def test_a_write_of_more_than_waits_at_once_is_still_one_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quicklime.adapters.lmdb_store.WAITING_KEYS_MAX", 10)
    fill(store, "t", gone=b"x")

    def write(*, spoil: bool) -> None:
        with store.write() as batch:
            batch.delete("t", b"gone")
            for number in range(100):
                batch.put("t", b"%03d" % (number % 70), str(number).encode())
                assert batch.get("t", b"%03d" % (number % 70)) == str(number).encode()
            batch.delete("t", b"000")
            assert batch.get("t", b"000") is None
            assert batch.get("t", b"gone") is None
            if spoil:
                raise ValueError("spoilt")

    with pytest.raises(ValueError, match="spoilt"):
        write(spoil=True)
    assert list(store.scan("t")) == [(b"gone", b"x")]
    write(spoil=False)
    assert [key for key, _ in store.scan("t")] == [b"%03d" % number for number in range(1, 70)]
    assert store.get("t", b"029") == b"99"


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(Fault):
        store.get("t", b"a")
    with pytest.raises(Fault), store.write():
        pass


# --- LMDB alone: processes, machines, damage ------------------------------------------------------------------------


def test_a_key_that_is_too_long_is_refused(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path)
    with pytest.raises(Fault, match="expected at most"), store.write() as batch:
        batch.put("t", b"k" * 600, b"")
    store.close()


def run(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_a_process_killed_in_the_middle_of_a_write_leaves_none_of_it(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path)
    fill(store, "t", a=b"1")
    process = run(
        """
        import sys, time
        from quicklime.adapters.lmdb_store import LMDBStore
        store = LMDBStore(sys.argv[1])
        with store.write() as batch:
            batch.put("t", b"whole", b"1")
        with store.write() as batch:
            for number in range(10_000):
                batch.put("t", b"half%d" % number, b"x" * 100)
            print("in the middle", flush=True)
            time.sleep(60)
        """,
        tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    fill(store, "t", b=b"2")
    assert [key for key, _ in store.scan("t")] == [b"a", b"b", b"whole"]
    store.close()


def test_a_write_at_once_is_a_write_or_none(store: Store) -> None:
    if isinstance(store, ValkeyStore):  # it would wait for a round trip
        with store.write_at_once() as batch:
            assert batch is None
        return
    with store.write_at_once() as batch:
        assert batch is not None
        batch.put("t", b"a", b"1")
        assert batch.get("t", b"a") == b"1"
    assert store.get("t", b"a") == b"1"
    with contextlib.suppress(ZeroDivisionError), store.write_at_once() as batch:
        assert batch is not None
        batch.put("t", b"b", b"2")
        raise ZeroDivisionError
    assert store.get("t", b"b") is None
    with store.write_at_once() as batch:
        assert batch is not None


def test_a_write_at_once_does_not_wait_for_another(store: Store) -> None:
    writing, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.write() as batch:
            batch.put("t", b"a", b"1")
            writing.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    writing.wait(10)
    with store.write_at_once() as batch:
        assert batch is None
    done.set()
    thread.join()
    if isinstance(store, ValkeyStore):
        return
    with store.write_at_once() as batch:
        assert batch is not None
        assert batch.get("t", b"a") == b"1"


def test_a_write_at_once_does_not_wait_for_another_process(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path)
    process = run(
        """
        import sys, time
        from quicklime.adapters.lmdb_store import LMDBStore
        with LMDBStore(sys.argv[1]).write() as batch:
            print("in the middle", flush=True)
            time.sleep(60)
        """,
        tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    with store.write_at_once() as batch:
        assert batch is None
    process.kill()
    process.wait()
    # whoever is killed holds nothing
    with store.write_at_once() as batch:
        assert batch is not None
    store.close()


def test_another_process_is_seen(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path)
    count = """
        import sys
        from quicklime.adapters.lmdb_store import LMDBStore
        store = LMDBStore(sys.argv[1])
        for _ in range(200):
            with store.write() as batch:
                batch.put("t", b"n", str(int(batch.get("t", b"n") or b"0") + 1).encode())
        store.close()
        """
    processes = [run(count, tmp_path) for _ in range(3)]
    for process in processes:
        assert process.wait() == 0
    assert store.get("t", b"n") == b"600"
    store.close()


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "boot").write_text("another boot"),
        lambda path: (path / "boot").unlink(),
        lambda path: (path / "data.mdb").write_bytes(b"no environment" * 1000),
    ],
    ids=["the machine went down", "no marker", "foreign bytes"],
)
def test_what_can_not_be_trusted_is_emptied(damage: Damage, tmp_path: Path) -> None:
    store = LMDBStore(tmp_path)
    fill(store, "t", a=b"1")
    store.close()
    damage(tmp_path)
    again = LMDBStore(tmp_path)
    assert again.get("t", b"a") is None
    fill(again, "t", a=b"2")
    assert again.get("t", b"a") == b"2"
    again.close()


def test_a_clean_end_is_trusted_after_the_machines_next_start(tmp_path: Path) -> None:
    store = LMDBStore(tmp_path)
    fill(store, "t", a=b"1")
    store.close()
    assert (tmp_path / "boot").read_text() == "flushed"
    again = LMDBStore(tmp_path)
    assert again.get("t", b"a") == b"1"
    again.close()


def test_a_place_that_can_not_be_used_is_told_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokenState) as broken:
        LMDBStore(tmp_path / "file")
    assert str(tmp_path) in broken.value.hint
