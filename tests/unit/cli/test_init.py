"""Founding: a wish that can't be fulfilled leaves nothing behind, and is told with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from quicklime.cli import run
from quicklime.cli.output import Exit
from quicklime.wiring import DataDirectory


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--signer", "pkcs11:token=ca;object=x?module-path=/nowhere.so"), Exit.BROKEN, "hint: look with"),
        (("--signer", "pkcs11:token=ca"), Exit.REFUSED, "PKCS #11 URI"),
        (("--signer", "https://elsewhere"), Exit.REFUSED, "expected file or pkcs11:"),
        (("--key-type", "rsa-1024"), Exit.REFUSED, "rsa-1024"),
        (("--domain", "not a domain"), Exit.REFUSED, "not a domain"),
    ],
)
def test_what_can_not_be_leaves_an_empty_place(
    options: tuple[str, ...], code: Exit, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "data"
    assert run(["init", "--data-dir", str(place), *options]) == code
    assert said in capsys.readouterr().err
    assert not place.exists() or list(place.iterdir()) == []
    assert not DataDirectory(place).is_initialised()
    # and the next try goes through
    assert run(["init", "--data-dir", str(place)]) == Exit.OK
    assert DataDirectory(place).is_initialised()


def test_a_directory_of_somebody_else_is_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    assert run(["init", "--data-dir", str(tmp_path / "photos")]) == Exit.BROKEN
    assert "nothing in this one was touched" in capsys.readouterr().err
    assert [one.name for one in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_second_founding_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "data"
    assert run(["init", "--data-dir", str(place)]) == Exit.OK
    before = (place / "root.pem").read_bytes()
    assert run(["init", "--data-dir", str(place)]) == Exit.BROKEN
    assert "holds an authority already" in capsys.readouterr().err
    assert (place / "root.pem").read_bytes() == before
