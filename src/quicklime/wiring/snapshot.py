"""Snapshots of the views in a file: an image of the store as it was at one moment, then a block that says what it is.

The block is the file's last 4096 octets: JSON, padded with spaces. What does not fit the log or this version is refused, and
nothing is touched; what fits takes the place of the views in one step. It goes on from there with the tail of the log.
"""

from __future__ import annotations

import functools
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.errors import BrokenState
from quicklime.projection import Projector, Snapshot, checkpoint_in, layout_of, why_unfit
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.local import VIEWS, opened, opened_log

if TYPE_CHECKING:
    from quicklime.config import Config
    from quicklime.log import Reader

BLOCK_OCTETS = 4096
READ_OCTETS = 1 << 20
REBUILD_HINT = "quicklime view rebuild makes the views from the log"


def _check_in_files(config: Config) -> None:
    """Raises BrokenState where the views are on a server that others share."""
    if config.views.url is not None:
        raise BrokenState(
            f"the views are on {config.views.url}: snapshots are of views in files",
            hint="a shared store needs none: whoever comes finds the views there",
        )


def write_snapshot(config: Config, path: Path) -> Snapshot:
    """Write the views as they are now to ``path``, also while a server runs. Raises BrokenState."""
    _check_in_files(config)
    with opened(config) as (_, log, store, projector):
        assert isinstance(store, LMDBStore)
        projector.catch_up()
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with draft.open("xb+") as file:
                draft.chmod(0o600)
                store.write_image(file.fileno())
                octets = file.seek(0, os.SEEK_END)
                file.seek(0)
                digest = _digest(file, octets)
                snapshot = _described(draft, octets, digest, log)
                block = msgspec.json.encode(snapshot)
                file.seek(0, os.SEEK_END)
                file.write(block.ljust(BLOCK_OCTETS - 1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise BrokenState(
                f"can't write {str(path)!r}: {error}", hint="name a file in a directory with space left"
            ) from error
        finally:
            draft.unlink(missing_ok=True)
    return snapshot


def restore_snapshot(config: Config, path: Path) -> Snapshot:
    """Put the snapshot in ``path`` in the place of the views. Raises BrokenState where it does not fit, or a server runs."""
    _check_in_files(config)
    directory = DataDirectory(config.data_dir)
    try:
        with opened_log(config) as log, directory.serving(), path.open("rb") as file:
            snapshot = _checked(file, path, log)
            file.seek(0)
            aside = directory.path / f".views.{os.getpid()}"
            shutil.rmtree(aside, ignore_errors=True)
            try:
                LMDBStore.place_image(aside, file, snapshot.octets)
                _check_opens(aside, snapshot, log)
                # a crash here leaves no views: they are made from the log at the next start
                shutil.rmtree(directory.views, ignore_errors=True)
                aside.replace(directory.views)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise BrokenState(f"can't restore {str(path)!r}: {error}", hint=REBUILD_HINT) from error
    return snapshot


def _checked(file: BinaryIO, path: Path, log: Reader) -> Snapshot:
    octets = max(0, file.seek(0, os.SEEK_END) - BLOCK_OCTETS)
    file.seek(octets)
    try:
        snapshot = msgspec.json.decode(file.read(BLOCK_OCTETS), type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BrokenState(f"{path} is no snapshot of views, or was cut off", hint=REBUILD_HINT) from None
    why = why_unfit(snapshot, layout_of(VIEWS), log)
    if why is None and snapshot.octets != octets:
        why = f"it has {octets} octets, expected {snapshot.octets}"
    file.seek(0)
    if why is None and _digest(file, octets) != snapshot.sha256:
        why = "it was damaged: its SHA-256 is another"
    if why is not None:
        raise BrokenState(f"the snapshot {path} can't be used: {why}", hint=REBUILD_HINT)
    return snapshot


def _described(image: Path, octets: int, digest: str, log: Reader) -> Snapshot:
    """What the image holds, asked from itself: the store may have gone on since."""
    checkpoint = checkpoint_in(functools.partial(LMDBStore.get_from_image, image))
    if checkpoint is None:
        raise BrokenState("the views have no checkpoint", hint=REBUILD_HINT)
    return Snapshot.of(checkpoint, log, octets=octets, digest=digest)


def _check_opens(path: Path, snapshot: Snapshot, log: Reader) -> None:
    store = LMDBStore(path)
    try:
        found = Projector(log, store, VIEWS).checkpoint()
    finally:
        store.close()
    if found != snapshot.offset:
        # an image of a machine with another order of octets or size of pages is emptied when it is opened
        raise BrokenState(
            f"the snapshot opens at record {found}, expected {snapshot.offset}", hint=REBUILD_HINT
        )


def _digest(file: BinaryIO, octets: int) -> str:
    hasher = sha256()
    while octets and (data := file.read(min(octets, READ_OCTETS))):
        hasher.update(data)
        octets -= len(data)
    return hasher.hexdigest()
