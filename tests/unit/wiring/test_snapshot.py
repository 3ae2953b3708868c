"""A snapshot gives back the views to the octet, goes on with the tail of the log, and is refused where it does not fit."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from quicklime import wiring
from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.authority.commands import SystemCommand
from quicklime.config import Config, load
from quicklime.errors import BrokenState
from quicklime.projection import digest
from quicklime.wiring import snapshot as module
from quicklime.wiring.directory import DataDirectory

KEY = FileSigner(generate("ecdsa-p256"), "file:subscriber.pem").public_key


async def _issue(config: Config, count: int) -> None:
    async with wiring.open_local(config) as local:
        for number in range(count):
            await local.issuance.issue_to_system(
                SystemCommand(
                    profile="server",
                    names=(f"dns:web-{number}.internal",),
                    public_key=KEY,
                    key_type="ecdsa-p256",
                    node="test",
                )
            )


def authority(folder: Path, certificates: int = 3) -> Config:
    config = load(flags={"data_dir": folder}).config
    wiring.initialise(config, wiring.InitRequest(), lambda _: None)
    asyncio.run(_issue(config, certificates))
    return config


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("authority")
    config = authority(folder / "data")
    wiring.write_snapshot(config, folder / "snapshot")
    return folder


@pytest.fixture
def home(founded: Path, tmp_path: Path) -> Path:
    """A copy of the authority and of its snapshot."""
    return Path(shutil.copytree(founded, tmp_path / "home"))


def config_of(home: Path) -> Config:
    return load(flags={"data_dir": home / "data"}).config


def digests(config: Config) -> tuple[int, dict[str, str]]:
    with wiring.opened(config) as (_, _log, store, projector):
        checkpoint = projector.checkpoint()
        return checkpoint, {name: digest(store, name) for name in projector.tables}


def caught_up(config: Config) -> tuple[int, dict[str, str]]:
    with wiring.opened(config) as (_, _log, _store, projector):
        projector.catch_up()
    return digests(config)


def test_a_restored_view_is_the_same_and_goes_on_with_the_tail(home: Path) -> None:
    config = config_of(home)
    before = digests(config)
    asyncio.run(_issue(config, 2))
    after = digests(config)
    assert after[0] > before[0]
    restored = wiring.restore_snapshot(config, home / "snapshot")
    assert restored.offset == before[0]
    assert digests(config) == before
    assert caught_up(config) == after
    assert not [path for path in (home / "data").iterdir() if path.name.startswith(".views")]


def test_lost_views_are_restored(home: Path) -> None:
    config = config_of(home)
    before = digests(config)
    shutil.rmtree(home / "data" / "views")
    wiring.restore_snapshot(config, home / "snapshot")
    assert digests(config) == before


def test_a_snapshot_is_of_one_moment_and_readable_by_its_owner_alone(home: Path) -> None:
    config = config_of(home)
    found = wiring.write_snapshot(config, home / "another")
    assert (home / "another").stat().st_mode & 0o077 == 0
    block = (home / "another").read_bytes()[-module.BLOCK_OCTETS :]
    assert json.loads(block)["offset"] == found.offset == digests(config)[0]
    assert sorted(path.name for path in home.iterdir()) == ["another", "data", "snapshot"]


def spoil(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoiled(path: Path) -> None:
        path.write_bytes(change(path.read_bytes()))

    return spoiled


def with_block(**changes: object) -> Callable[[Path], None]:
    def change(data: bytes) -> bytes:
        image, block = data[: -module.BLOCK_OCTETS], data[-module.BLOCK_OCTETS :]
        return image + json.dumps(json.loads(block) | changes).encode().ljust(module.BLOCK_OCTETS)

    return spoil(change)


@pytest.mark.parametrize(
    ("spoiled", "why"),
    [
        (spoil(lambda data: b""), "no snapshot of views"),
        (spoil(lambda data: data[:-1]), "no snapshot of views"),
        (spoil(lambda data: data[: -module.BLOCK_OCTETS]), "no snapshot of views"),
        (spoil(lambda data: b"\0" * 10_000), "no snapshot of views"),
        (spoil(lambda data: data[:9000] + bytes((data[9000] ^ 1,)) + data[9001:]), "damaged"),
        (spoil(lambda data: data[4096:]), "octets, expected"),
        (with_block(format="v2"), "format 'v2'"),
        (with_block(layout="lifecycle.0"), "its tables are 'lifecycle.0'"),
        (with_block(origin="00" * 32), "another log"),
        (with_block(offset=0), "it has seen 0 records"),
        (with_block(offset=1_000_000), "it has seen 1000000 records"),
        (with_block(last="00" * 32), "another record"),
        (with_block(more=1), "no snapshot of views"),
        (with_block(sha256="00" * 32), "damaged"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_touched(
    home: Path, spoiled: Callable[[Path], None], why: str
) -> None:
    config = config_of(home)
    before = digests(config)
    spoiled(home / "snapshot")
    with pytest.raises(BrokenState, match=why) as refused:
        wiring.restore_snapshot(config, home / "snapshot")
    assert "view rebuild" in refused.value.hint
    assert digests(config) == before


def test_an_image_that_says_another_offset_than_its_block_is_refused(home: Path) -> None:
    config = config_of(home)
    before = digests(config)
    with wiring.opened_log(config) as log:
        earlier = before[0] - 1
        last = sha256(log.read(earlier - 1, 1)[0].value).hexdigest()
    with_block(offset=earlier, last=last)(home / "snapshot")
    with pytest.raises(BrokenState, match="opens at record"):
        wiring.restore_snapshot(config, home / "snapshot")
    assert digests(config) == before


def test_a_snapshot_of_another_authority_is_refused(home: Path, tmp_path: Path) -> None:
    other = authority(tmp_path / "other", 0)
    with pytest.raises(BrokenState, match="another log"):
        wiring.restore_snapshot(other, home / "snapshot")


def test_a_log_that_forgot_records_and_grew_again_is_another(home: Path) -> None:
    """A log from an older backup, which went its own way since."""
    config = config_of(home)
    forked = Path(shutil.copytree(home / "data", home / "forked"))
    for folder, count in ((home / "data", 1), (forked, 2)):
        asyncio.run(_issue(load(flags={"data_dir": folder}).config, count))
    wiring.write_snapshot(config, home / "late")
    with pytest.raises(BrokenState, match="another record"):
        wiring.restore_snapshot(load(flags={"data_dir": forked}).config, home / "late")


def test_under_a_running_server_nothing_is_restored(home: Path) -> None:
    config = config_of(home)
    with DataDirectory(config.data_dir).serving(), pytest.raises(BrokenState, match="serves from"):
        wiring.restore_snapshot(config, home / "snapshot")


def test_a_file_that_is_not_there_or_can_not_be_written(home: Path) -> None:
    with pytest.raises(BrokenState, match="can't restore"):
        wiring.restore_snapshot(config_of(home), home / "nowhere")
    with pytest.raises(BrokenState, match="can't write"):
        wiring.write_snapshot(config_of(home), home / "no" / "folder")
