"""Finished CRLs as files, each under the SHA-256 of its bytes: written aside and renamed, so that a name that is there is whole.

Nothing is flushed: what lies here is made again from the log. A crash of the machine may leave a file that is
shorter than it was, which ``check`` tells from its content. Several processes may read while one writes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from quicklime.errors import BrokenState
from quicklime.web.status_message import Part

IN_MEMORY_OCTETS_MAX = 262_144
CHECK_OCTETS = 1 << 20
# how long a list that is no longer current may still be about to be opened by somebody
GRACE_SECONDS = 300.0


class _File:
    """An open file, read by slices; it lives as long as somebody reads it, though its name be gone."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.octets = os.fstat(self._descriptor).st_size

    def read(self, start: int, octets: int) -> bytes:
        data = os.pread(self._descriptor, octets, start)
        if len(data) != octets:
            raise OSError(f"{len(data)} octets at {start}, expected {octets}")
        return data

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self._descriptor)


class FileShelf:
    """``services.crl.shelf.Shelf`` in the directory ``path``, which is made where it is missing. Raises BrokenState."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BrokenState(
                f"can't use the lists in {str(self._path)!r}: {error}",
                hint=f"make {str(self._path.parent)!r} a directory that can be written, with space left",
            ) from error

    def put(self, parts: Sequence[bytes]) -> bytes:
        hasher = sha256()
        for part in parts:
            hasher.update(part)
        digest = hasher.digest()
        # one name per process: two that write the same list at once write the same bytes
        aside = self._path / f"{digest.hex()}.{os.getpid()}.new"
        with aside.open("wb", buffering=0) as file:
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[file.write(view) :]
        aside.replace(self._path / digest.hex())
        return digest

    def find(self, digest: bytes) -> bytes | Part | None:
        path = self._path / digest.hex()
        try:
            file = _File(path)
        except OSError:
            return None
        if file.octets <= IN_MEMORY_OCTETS_MAX:
            return file.read(0, file.octets)
        return Part(file, 0, file.octets)

    def has(self, digest: bytes) -> bool:
        return (self._path / digest.hex()).exists()

    def check(self, digest: bytes) -> bool:
        hasher = sha256()
        try:
            with (self._path / digest.hex()).open("rb", buffering=0) as file:
                while data := file.read(CHECK_OCTETS):
                    hasher.update(data)
        except OSError:
            return False
        return hasher.digest() == digest

    def keep_only(self, digests: set[bytes]) -> None:
        names = {digest.hex() for digest in digests}
        over = time.time() - GRACE_SECONDS
        with contextlib.suppress(OSError), os.scandir(self._path) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name not in names and entry.stat().st_mtime < over:
                        Path(entry.path).unlink()
