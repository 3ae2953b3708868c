"""The data directory: where an authority on one machine keeps all it has. Its layout, its modes, and what can be wrong with it.

Invariant: nothing in it is written before its marker says whose it is; a directory that is not ours is left as it was found.
Views may be deleted at any time. The log, the issuers' keys and the secrets are what a backup must hold.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from quicklime.errors import BrokenState

FORMAT = 1
_MARKER = "quicklime-data"
LOCK_TRIES = 5
LOCK_RETRY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Paths inside one data directory. Making the object touches nothing."""

    path: Path

    @property
    def marker(self) -> Path:
        """Says that this is a data directory, and of which format."""
        return self.path / "format"

    @property
    def log(self) -> Path:
        return self.path / "log.sqlite"

    @property
    def log_elsewhere(self) -> Path:
        """Names the log, where that is not the file in here."""
        return self.path / "log-url"

    @property
    def views(self) -> Path:
        return self.path / "views"

    @property
    def lists(self) -> Path:
        """Finished CRLs. Like the views, made of the log."""
        return self.path / "lists"

    @property
    def answers(self) -> Path:
        """OCSP answers that were signed and may be given again. May be deleted, as views may."""
        return self.path / "answers"

    @property
    def protocol_log(self) -> Path:
        """The protocol stream: ACME's orders and validations."""
        return self.path / "protocol.sqlite"

    @property
    def protocol_views(self) -> Path:
        """What the stream was folded into, and which nonces were used."""
        return self.path / "protocol-views"

    @property
    def issuers(self) -> Path:
        """Keys (encrypted PKCS#8) and, per issuer id, the URI of its key."""
        return self.path / "issuers"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def issuer_passphrase(self) -> Path:
        return self.secrets / "issuer-passphrase"

    @property
    def acme_secret(self) -> Path:
        """What ACME's nonces and binding keys are derived from; the same at every replica."""
        return self.secrets / "acme"

    @property
    def root_certificate(self) -> Path:
        return self.path / "root.pem"

    @property
    def issuing_certificate(self) -> Path:
        return self.path / "issuing.pem"

    @property
    def offline(self) -> Path:
        """The root's key, to be taken away; the running authority never opens it."""
        return self.path / "root-take-me-offline"

    @property
    def first_token(self) -> Path:
        return self.path / "first-token"

    @property
    def lock(self) -> Path:
        return self.path / "serve.lock"

    @property
    def workers(self) -> Path:
        """What the processes of one server share while it runs: a socket, figures. Made anew at each start."""
        return self.path / "workers"

    def is_initialised(self) -> bool:
        """Whether an authority lives here; False where nothing is here. Raises BrokenState for anything else."""
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise BrokenState(
                f"{self.path} is not a directory", hint="name another with --data-dir, or move it away"
            )
        found = {entry.name for entry in self.path.iterdir()}
        if not found:
            return False
        if self.marker.name not in found:
            raise BrokenState(
                f"{self.path} holds {_some(found)}, and no file 'format' that says it is quicklime's",
                hint="name an empty or new directory with --data-dir; nothing in this one was touched",
            )
        self._check_marker()
        if self.log.name not in found and self.log_elsewhere.name not in found:
            raise BrokenState(
                f"{self.path} has no log ({self.log.name}): the start was cut off, or the file was moved away",
                hint=f"bring {self.log.name} and {self.log.name}-wal back from the backup; "
                f"if the authority never ran, delete {self.path} and start again",
            )
        self._check_modes()
        return True

    def _check_marker(self) -> None:
        words = self.marker.read_text(encoding="utf-8", errors="replace").split()
        if len(words) != 2 or words[0] != _MARKER or not words[1].isdecimal():
            raise BrokenState(
                f"{self.marker} does not say '{_MARKER} {FORMAT}'",
                hint="name another directory with --data-dir, or bring this file back from the backup",
            )
        if int(words[1]) > FORMAT:
            raise BrokenState(
                f"{self.path} is of format {words[1]}, this version of quicklime knows {FORMAT}",
                hint="start the newer version of quicklime that wrote it",
            )

    def _check_modes(self) -> None:
        for path in (self.path, self.secrets, self.issuers):
            if not path.is_dir():
                raise BrokenState(
                    f"{path} is missing",
                    hint="bring it back from the backup: without it no key can be opened",
                )
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise BrokenState(f"{path} can be read by others", hint=f"chmod 700 {path}")

    def make(self) -> None:
        """Make the directory and its folders, readable by their owner only, and mark it as ours."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        write_file(self.marker, f"{_MARKER} {FORMAT}\n".encode(), mode=0o644)
        for folder in (self.issuers, self.secrets, self.offline):
            folder.mkdir(mode=0o700)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold the directory as the one process that serves from it. Raises BrokenState where another does."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(descriptor):
                other = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise BrokenState(
                    f"another quicklime (process {other}) serves from {self.path}",
                    hint=f"stop it (kill {other}), or name another directory with --data-dir",
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def is_served(self) -> bool:
        """Whether a process serves from the directory now."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now. Who only looks (``is_served``) holds it for a moment, so we try more than once."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_RETRY_SECONDS)
        else:
            return True
    return False


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write ``path`` so that it holds all of ``content`` or is as it was before, also after a crash."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _flush_directory(path.parent)


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(repr(name) for name in shown) + (" ..." if len(names) > len(shown) else "")
