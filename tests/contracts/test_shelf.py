"""The shelf's port: what is found is whole, whoever writes or reads beside; what is damaged is told from what is not."""

from __future__ import annotations

import threading
from hashlib import sha256
from pathlib import Path

import pytest

from quicklime.adapters import file_shelf
from quicklime.adapters.file_shelf import FileShelf
from quicklime.errors import BrokenState
from quicklime.web.status_message import Part

LONG = bytes(range(256)) * 4096


@pytest.fixture
def shelf(tmp_path: Path) -> FileShelf:
    return FileShelf(tmp_path / "lists")


def octets(found: bytes | Part | None) -> bytes | None:
    return found.source.read(found.start, found.octets) if isinstance(found, Part) else found


@pytest.mark.parametrize(
    "parts", [(b"",), (b"a", b"", b"b"), (LONG, b"end")], ids=["nothing", "short", "long"]
)
def test_what_is_put_is_found_by_its_digest(shelf: FileShelf, parts: tuple[bytes, ...]) -> None:
    whole = b"".join(parts)
    digest = shelf.put(parts)
    assert digest == sha256(whole).digest()
    assert octets(shelf.find(digest)) == whole
    assert (shelf.has(digest), shelf.check(digest)) == (True, True)
    assert shelf.put(parts) == digest


def test_what_was_never_put_is_not_there(shelf: FileShelf) -> None:
    digest = bytes(32)
    assert (shelf.find(digest), shelf.has(digest), shelf.check(digest)) == (None, False, False)


def test_a_long_list_is_not_held_in_memory(shelf: FileShelf) -> None:
    found = shelf.find(shelf.put((LONG,)))
    assert isinstance(found, Part)
    assert found.source.read(1000, 24) == LONG[1000:1024]
    with pytest.raises(OSError, match="expected"):
        found.source.read(len(LONG) - 1, 2)


def test_others_are_let_go_of_after_a_while_and_who_reads_one_reads_on(
    shelf: FileShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = shelf.put((LONG, b"old")), shelf.put((LONG, b"new"))
    reading = shelf.find(old)
    shelf.keep_only({new})
    assert shelf.has(old)
    monkeypatch.setattr(file_shelf, "GRACE_SECONDS", -1.0)
    shelf.keep_only({new})
    assert (shelf.has(old), shelf.has(new)) == (False, True)
    assert octets(reading) == LONG + b"old"


def test_a_damaged_list_is_seen(shelf: FileShelf, tmp_path: Path) -> None:
    digest = shelf.put((LONG,))
    (path,) = (tmp_path / "lists").iterdir()
    path.write_bytes(LONG[:-1])
    assert not shelf.check(digest)
    assert shelf.put((LONG,)) == digest
    assert shelf.check(digest)


def test_a_reader_never_sees_a_part(shelf: FileShelf) -> None:
    parts = [LONG + bytes((number,)) for number in range(20)]
    digests = [sha256(part).digest() for part in parts]
    broken: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            broken.extend(one for one in digests if shelf.has(one) and not shelf.check(one))

    reader = threading.Thread(target=read)
    reader.start()
    for part in parts:
        shelf.put((part,))
    stop.set()
    reader.join()
    assert not broken


def test_a_place_that_can_not_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokenState, match="can't use the lists"):
        FileShelf(tmp_path / "file" / "lists")
