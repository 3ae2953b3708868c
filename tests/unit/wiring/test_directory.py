"""The data directory: what is ours is found, what is not is left as it was, and what is broken is told with how to mend it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quicklime.errors import BrokenState
from quicklime.wiring.directory import DataDirectory, write_file
from quicklime.wiring.entropy import PAGE_OCTETS, Entropy


@pytest.fixture
def ours(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.make()
    directory.log.touch()
    return directory


def test_nothing_and_an_empty_folder_are_no_authority(tmp_path: Path) -> None:
    assert not DataDirectory(tmp_path / "absent").is_initialised()
    assert not DataDirectory(tmp_path).is_initialised()
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_is_found_and_is_its_owners_alone(ours: DataDirectory) -> None:
    assert ours.is_initialised()
    assert [oct(path.stat().st_mode & 0o777) for path in (ours.path, ours.secrets, ours.issuers)] == [
        "0o700"
    ] * 3


def test_a_folder_of_somebody_else_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BrokenState, match="thesis") as raised:
        DataDirectory(tmp_path).is_initialised()
    assert "--data-dir" in raised.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokenState, match="not a directory"):
        DataDirectory(tmp_path / "file").is_initialised()


@pytest.mark.parametrize(
    "text", ["", "quicklime-data", "quicklime-data one", "other-data 1", "quicklime-data 1 2"]
)
def test_a_marker_that_says_something_else_is_told(ours: DataDirectory, text: str) -> None:
    ours.marker.write_text(text)
    with pytest.raises(BrokenState, match="does not say"):
        ours.is_initialised()


def test_a_directory_of_a_later_version_is_left_alone(ours: DataDirectory) -> None:
    ours.marker.write_text("quicklime-data 2\n")
    with pytest.raises(BrokenState, match="format 2") as raised:
        ours.is_initialised()
    assert "newer version" in raised.value.hint


def test_a_log_that_is_gone_is_told_and_not_made_anew(ours: DataDirectory) -> None:
    ours.log.unlink()
    with pytest.raises(BrokenState, match="has no log"):
        ours.is_initialised()
    assert not ours.log.exists()


@pytest.mark.parametrize("folder", ["secrets", "issuers", "."])
def test_keys_that_others_may_read_are_told(ours: DataDirectory, folder: str) -> None:
    (ours.path / folder).chmod(0o750)
    with pytest.raises(BrokenState, match="can be read by others") as raised:
        ours.is_initialised()
    assert raised.value.hint.startswith("chmod 700")


def test_one_process_serves_and_whoever_looks_sees_it(ours: DataDirectory) -> None:
    assert not ours.is_served()
    with ours.serving():
        assert ours.is_served()
        with pytest.raises(BrokenState, match=f"process {os.getpid()}"), DataDirectory(ours.path).serving():
            pass
        assert ours.is_served()
    assert not ours.is_served()


def test_looking_does_not_keep_anybody_from_serving(ours: DataDirectory) -> None:
    for _ in range(20):
        assert not ours.is_served()
        with ours.serving():
            pass


def test_a_process_that_was_killed_serves_no_more(ours: DataDirectory) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from quicklime.wiring.directory import DataDirectory\n"
        "with DataDirectory(Path(sys.argv[1])).serving(): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(ours.path)], check=False)
    assert done.returncode == -9
    assert not ours.is_served()
    with ours.serving():
        pass


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_file(path, b"old")
    with pytest.raises(TypeError):
        write_file(path, "no octets")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert [one.name for one in tmp_path.iterdir()] == ["key"]


def test_no_octet_of_the_entropy_is_given_out_twice_also_after_a_fork() -> None:
    entropy = Entropy()
    drawn = [entropy(20) for _ in range(PAGE_OCTETS // 10)]
    assert len(set(drawn)) == len(drawn)
    assert {len(one) for one in drawn} == {20}
    assert len(entropy(PAGE_OCTETS * 2)) == PAGE_OCTETS * 2
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, entropy(20))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 20) != entropy(20)
    os.close(reader)
    os.close(writer)
