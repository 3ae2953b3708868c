"""A demonstration world: an authority with a believable past, made by the real path under a clock that is set.

Nothing is written into the log but by the desks that a running server uses: requests are signed by keys, renewals by the
old certificate's key, refusals are refusals. Only the time is not now, and what happens when is drawn from a seed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.projection import Projector
from quicklime.wiring.demo.story import Story
from quicklime.wiring.demo.world import World
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.founding import InitRequest, initialise
from quicklime.wiring.local import VIEWS, assembled
from quicklime.wiring.signers import load_signers

if TYPE_CHECKING:
    from quicklime.config import Config

DAY_SECONDS = 86_400


class Clock:
    """The present of the story."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def make_demo(config: Config, *, days: int, services: int, progress: Callable[[str], None]) -> Path:
    """Found an authority ``days`` ago in ``config.data_dir`` and live through them; the file with an administrator's token.

    Raises BrokenState where something is there already.
    """
    end = int(time.time())
    clock = Clock(end - days * DAY_SECONDS)
    made = initialise(
        config,
        InitRequest(name="Quicklime Demo", domains=("internal", "home.arpa", "localhost")),
        progress,
        now=clock,
    )
    asyncio.run(_live(config, clock, end, services, progress))
    return made.first_token


async def _live(
    config: Config, clock: Clock, end: int, services: int, progress: Callable[[str], None]
) -> None:
    directory = DataDirectory(config.data_dir)
    log, store = SQLiteLog(directory.log), LMDBStore(directory.views)
    try:
        projector, signers = Projector(log, store, VIEWS), load_signers(directory, config)
        async with assembled(config, directory, log, store, projector, signers, now=clock) as local:
            world = World(local, clock)
            story = Story(world, begin=clock.now, end=end, services=services)
            await story.live(progress)
    finally:
        store.close()
        log.close()
