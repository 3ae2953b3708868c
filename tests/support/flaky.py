"""Ports that fail, and a stage on which every step of every process waits until it is told to go on.

No step is taken by time or by a thread: whoever holds the stage says who goes on next and with what luck, so that one seed
gives one history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from quicklime.adapters.memory_store import MemoryStore, _Batch
from quicklime.authority.issuers import Issuers, IssuingKey
from quicklime.errors import Fault
from quicklime.lifecycle import Changes
from quicklime.log import (
    READ_RECORDS_MAX,
    AppendFailed,
    AppendUnknown,
    Entry,
    LogUnreadable,
    MemoryLog,
    Record,
)
from quicklime.pki.signer import SignerUnavailable
from quicklime.projection import Follower

Fate = Literal["go", "fail", "unknown", "late"]
Where = Literal["append", "appended", "view", "sign", "signed"]

# What may happen at each step besides that it goes well. ``late``: the answer is lost, and the records come later.
FATES: dict[Where, tuple[Fate, ...]] = {
    "append": ("fail", "unknown", "late"),
    "appended": ("fail",),
    "view": (),
    "sign": ("fail",),
    "signed": (),
}


@dataclass(frozen=True, slots=True, eq=False)
class Pause:
    """One coroutine that waits at one step."""

    process: str
    where: Where
    future: asyncio.Future[Fate]


class Stage:
    """Everybody who waits, in the order of their coming."""

    def __init__(self) -> None:
        self.waiting: list[Pause] = []

    async def pause(self, process: str, where: Where) -> Fate:
        """Wait here; the fate that was drawn."""
        pause = Pause(process, where, asyncio.get_running_loop().create_future())
        self.waiting.append(pause)
        try:
            return await pause.future
        finally:
            self.waiting.remove(pause)


class FlakyLog:
    """One process's way to a log that all share. What fails here, fails for this process only."""

    def __init__(self, shared: MemoryLog, stage: Stage, process: str) -> None:
        self._shared = shared
        self._stage = stage
        self._process = process
        self.late: list[Sequence[Entry]] = []
        self.unreadable = False
        self.dead = False

    def head(self) -> int:
        self._check_readable()
        return self._shared.head()

    def read(self, start: int, limit: int = READ_RECORDS_MAX) -> Sequence[Record]:
        self._check_readable()
        return self._shared.read(start, limit)

    def wait(self, offset: int, timeout_seconds: float) -> bool:
        self._check_readable()
        return self._shared.wait(offset, timeout_seconds)

    async def append(self, entries: Sequence[Entry]) -> int:
        fate = await self._stage.pause(self._process, "append")
        assert not self.dead, "a process that died goes on writing"
        if fate == "fail":
            raise AppendFailed("the simulation lost the append")
        if fate == "late":
            self.late.append(entries)
        if fate != "go":
            raise AppendUnknown("the simulation lost the append, or only its answer")
        first = await self._shared.append(entries)
        if await self._stage.pause(self._process, "appended") == "fail":
            raise AppendUnknown("the simulation lost the answer")
        return first

    async def deliver(self) -> None:
        """What was under way arrives."""
        while self.late:
            await self._shared.append(self.late.pop(0))

    def close(self) -> None:
        """Nothing to let go of."""

    def _check_readable(self) -> None:
        if self.unreadable:
            raise LogUnreadable("the simulation hides the log")


class FlakyStore(MemoryStore):
    """A store whose next write may break off in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks = False

    @contextmanager
    def write(self) -> Iterator[_Batch]:
        with super().write() as batch:
            yield batch
            self._break()

    @contextmanager
    def write_at_once(self) -> Iterator[_Batch | None]:
        with super().write_at_once() as batch:
            yield batch
            self._break()

    def _break(self) -> None:
        if self.breaks:
            self.breaks = False
            raise Fault("the simulation broke the write off")


class SteppedFollower(Follower):
    """A follower without its thread: ``turn`` does what one turn of the thread would do."""

    stage: Stage
    process: str

    async def reached(self, offset: int) -> Changes | None:
        await self.stage.pause(self.process, "view")
        return await super().reached(offset)

    def _look_soon(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Never by the clock, which would make two histories of one seed: the turns look."""

    def turn(self, limit: int = READ_RECORDS_MAX) -> bool:
        """Whether the follower still lives: a view that can't be written stops it, as it stops the thread."""
        try:
            self._note(self._projector.advance(limit))
        except LogUnreadable:
            return True
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            return False
        return True


class Witness:
    """Sees every signature before it is made."""

    def signing(self, data: bytes) -> None:
        raise NotImplementedError


class WitnessedIssuers(Issuers):
    """Issuers whose keys may be away for a while, and who sign before a witness."""

    stage: Stage
    process: str
    witness: Witness

    async def sign(self, key: IssuingKey, data: bytes) -> bytes:
        if await self.stage.pause(self.process, "sign") == "fail":
            raise SignerUnavailable("the simulation took the key away")
        self.witness.signing(data)
        signature = await super().sign(key, data)
        await self.stage.pause(self.process, "signed")
        return signature
