"""What the SQLite store does beyond the port: tabular tables, readers beside the writer, files that are not its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from quicklime.adapters.sqlite_store import SQLiteStore
from quicklime.errors import BrokenState, Fault
from quicklime.projection.tabular import Layout, Table, ViewUnreadable, encode_row, offset_key

LAYOUT = Layout(
    tables=(Table(name="things", columns=("name", "size")),),
    schema="""
    CREATE TABLE things (offset INTEGER PRIMARY KEY, name TEXT, size INTEGER);
    CREATE TABLE counted (name TEXT PRIMARY KEY, n INTEGER);
    CREATE TRIGGER count AFTER INSERT ON things BEGIN
        INSERT INTO counted VALUES (NEW.name, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1;
    END;
    """,
    derived=("DELETE FROM counted",),
)


def store(path: Path, *, writing: bool = True, layout: Layout = LAYOUT) -> SQLiteStore:
    return SQLiteStore(path / "view.sqlite", layout, writing=writing)


def put(one: SQLiteStore, offset: int, *row: str | int | None) -> None:
    with one.write() as batch:
        batch.put("things", offset_key(offset), encode_row(list(row)))


def test_rows_are_pairs_and_can_be_asked(tmp_path: Path) -> None:
    one = store(tmp_path)
    put(one, 300, "b", 2)
    put(one, 5, "a", 1)
    put(one, 1 << 40, "a", None)
    assert one.select("SELECT offset FROM things WHERE name = :name ORDER BY offset", {"name": "a"}) == [
        (5,),
        (1 << 40,),
    ]
    assert one.select("SELECT n FROM counted WHERE name = 'a'", {}) == [(2,)]
    keys = [key for key, _ in one.scan("things")]
    assert keys == [offset_key(5), offset_key(300), offset_key(1 << 40)]
    assert [key for key, _ in one.scan("things", after=offset_key(5), limit=1)] == [offset_key(300)]
    assert [key for key, _ in one.scan("things", prefix=offset_key(300))] == [offset_key(300)]
    assert one.get("things", offset_key(300)) == encode_row(["b", 2])
    assert one.get("things", offset_key(6)) is None
    one.close()


def test_a_row_only_gains(tmp_path: Path) -> None:
    one = store(tmp_path)
    put(one, 1, "a", None)
    put(one, 1, None, 7)
    assert one.get("things", offset_key(1)) == encode_row(["a", 7])
    assert one.select("SELECT n FROM counted", {}) == [(1,)]
    with pytest.raises(Fault, match="never deleted alone"), one.write() as batch:
        batch.delete("things", offset_key(1))
    one.close()


def test_a_cleared_table_takes_along_what_triggers_kept(tmp_path: Path) -> None:
    one = store(tmp_path)
    put(one, 1, "a", 1)
    with one.write() as batch:
        batch.clear("things")
    assert one.scan("things") == []
    assert one.select("SELECT * FROM counted", {}) == []
    one.close()


def test_a_write_that_raises_leaves_no_row_and_no_count(tmp_path: Path) -> None:
    one = store(tmp_path)

    def spoil() -> None:
        with one.write() as batch:
            batch.put("things", offset_key(1), encode_row(["a", 1]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    assert one.select("SELECT * FROM counted", {}) == []
    one.close()


def test_a_reader_sees_what_is_whole_and_can_not_write(tmp_path: Path) -> None:
    writer, reader = store(tmp_path), store(tmp_path, writing=False)
    put(writer, 1, "a", 1)
    assert reader.select("SELECT name FROM things", {}) == [("a",)]
    with writer.write() as batch:
        batch.put("things", offset_key(2), encode_row(["b", 1]))
        assert reader.select("SELECT count(*) FROM things", {}) == [(1,)]
    assert reader.select("SELECT count(*) FROM things", {}) == [(2,)]
    with pytest.raises(Fault, match="open for reading"), reader.write():
        pass
    with pytest.raises(ViewUnreadable):
        reader.select("INSERT INTO things VALUES (9, 'x', 1)", {})
    writer.close()
    reader.close()


def test_a_reader_tells_that_nothing_is_there_yet_and_finds_it_later(tmp_path: Path) -> None:
    reader = store(tmp_path, writing=False)
    with pytest.raises(ViewUnreadable):
        reader.select("SELECT 1", {})
    writer = store(tmp_path)
    assert reader.select("SELECT count(*) FROM things", {}) == [(0,)]
    writer.close()
    reader.close()


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database" * 1000),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:100] + bytes(4000)),
        lambda path: path.unlink(),
    ],
    ids=["foreign bytes", "empty", "zeros", "gone"],
)
def test_what_is_not_ours_is_made_anew_and_readers_find_the_new_one(damage: Damage, tmp_path: Path) -> None:
    one, reader = store(tmp_path), store(tmp_path, writing=False)
    put(one, 1, "a", 1)
    assert reader.select("SELECT count(*) FROM things", {}) == [(1,)]
    one.close()
    damage(tmp_path / "view.sqlite")
    again = store(tmp_path)
    assert again.scan("things") == []
    put(again, 2, "b", 1)
    assert reader.select("SELECT name FROM things", {}) == [("b",)]
    again.close()
    reader.close()


def test_another_layout_is_made_anew_by_the_writer_alone(tmp_path: Path) -> None:
    one = store(tmp_path)
    put(one, 1, "a", 1)
    one.close()
    other = replace(LAYOUT, schema=LAYOUT.schema + "CREATE INDEX by_name ON things (name);")
    reader = store(tmp_path, writing=False, layout=other)
    with pytest.raises(ViewUnreadable, match="another layout"):
        reader.select("SELECT 1", {})
    writer = store(tmp_path, layout=other)
    assert reader.select("SELECT count(*) FROM things", {}) == [(0,)]
    writer.close()
    reader.close()


def test_a_place_that_can_not_be_used_is_told_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokenState) as broken:
        SQLiteStore(tmp_path / "file" / "view.sqlite", LAYOUT, writing=True)
    assert "rebuilt from the log" in broken.value.hint
