"""What every part of one process is made with, and work that goes on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quicklime.adapters.file_shelf import FileShelf
from quicklime.authority.crls import CRLDesk
from quicklime.errors import Fault, Refused
from quicklime.pki.certificate import URLs
from quicklime.services.crl.publisher import Publisher, Rules
from quicklime.telemetry import Lines, Metrics
from quicklime.wiring.local import Local, clock
from quicklime.wiring.signers import key_is_here, load_signer

if TYPE_CHECKING:
    from quicklime.config import Config

RETRY_SECONDS = 5.0
STALLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What the parts of one process share. ``number`` is that of the process among those of its kind, from 1."""

    local: Local
    lines: Lines
    metrics: Metrics
    publisher: Publisher
    lists: FileShelf
    number: int = 1
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def config(self) -> Config:
        return self.local.config

    def always(self, name: str, work: Callable[[], Awaitable[object]], every_seconds: float) -> None:
        """Do ``work`` again and again until the process ends; what fails is told, and tried again a little later."""
        self.tasks.append(asyncio.create_task(self._always(name, work, every_seconds)))

    async def _always(self, name: str, work: Callable[[], Awaitable[object]], every_seconds: float) -> None:
        while True:
            try:
                await asyncio.sleep(every_seconds)
                await work()
            except (Fault, Refused) as error:
                self.lines.task_failed(name, error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    def once(self, work: Coroutine[object, object, None]) -> None:
        """Do ``work`` in the background, as long as the process runs."""
        self.tasks.append(asyncio.create_task(work))

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def watch_projector(self) -> None:
        self.metrics.log_records.set(self.local.follower.checkpoint)
        if self.local.follower.stalled is not None:
            self.lines.projector_stopped(self.local.follower.stalled)
            await asyncio.sleep(STALLED_SECONDS)

    def is_close_to_the_log(self) -> bool:
        follower = self.local.follower
        try:
            return follower.stalled is None and follower.lag() <= self.config.readiness.lag_records_max
        except Fault:
            return False

    def issuers_here(self) -> tuple[str, ...]:
        """The intermediates whose keys are on this machine, whether or not this process holds them."""
        authority = self.local.issuers.authority()
        found = (one.issuer for one in authority.intermediates)
        return tuple(issuer for issuer in found if key_is_here(self.local.directory, issuer))

    def take_up_new_issuers(self) -> bool:
        """Bring the keys of intermediates that ``issuer rotate`` made meanwhile; whether there were any."""
        issuers = self.local.issuers
        held = {key.issuer for key in issuers.here()}
        found = [issuer for issuer in self.issuers_here() if issuer not in held]
        for issuer in found:
            issuers.bring(issuer, load_signer(self.local.directory, self.config, issuer))
        return bool(found)


def shop(local: Local, lines: Lines, metrics: Metrics, number: int) -> Shop:
    crl = local.config.crl
    lists = FileShelf(local.directory.lists)
    publisher = Publisher(
        desk=CRLDesk(local.ledger, local.issuers),
        issuers=local.issuers,
        store=local.store,
        shelf=lists,
        clock=clock,
        urls=URLs(str(local.config.status.url), crl.shards),
        rules=Rules(
            validity_seconds=crl.validity_seconds,
            refresh_seconds=crl.refresh_seconds,
            delta_validity_seconds=crl.delta_validity_seconds or 0,
        ),
        metrics=metrics,
        lines=lines,
    )
    return Shop(local=local, lines=lines, metrics=metrics, publisher=publisher, lists=lists, number=number)
