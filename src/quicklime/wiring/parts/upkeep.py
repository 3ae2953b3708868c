"""The upkeep: what exactly one process of a server does, in the background.

It gives up plans that nobody finishes, publishes the CRLs, takes up issuers that a rotation brought in, certifies the keys
of responders that hold no issuing key, and keeps the process that fills the dashboard's view.
"""

from __future__ import annotations

import socket

from quicklime.projection import open_plans
from quicklime.wiring.monitor import Filler
from quicklime.wiring.parts.responder_desk import ResponderDesk, obtain_from
from quicklime.wiring.parts.shared import Shop

PLANS_SECONDS = 10.0
ISSUERS_SECONDS = 1.0
CRL_SECONDS_MIN = 0.2
FILLER_SECONDS = 5.0


class Upkeep:
    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._desk = ResponderDesk(obtain_from(shop.local.issuance))
        self._filler = Filler(shop.config) if shop.config.dashboard.enabled else None

    async def start(self, asked_at: socket.socket | None, *, first: bool) -> None:
        """Do what must be done before anybody serves, then go on in the background.

        ``first`` says that no sibling is at work yet; ``asked_at`` is where responders of other processes ask.
        """
        shop = self._shop
        await (self._give_up_all() if first else self._give_up_overdue())
        await shop.publisher.publish_where_due()
        if asked_at is not None:
            await self._desk.start(asked_at)
        if self._filler is not None:
            self._filler.start()
            shop.always("dashboard", self._filler.keep_running, FILLER_SECONDS)
        delay = max(CRL_SECONDS_MIN, shop.config.crl.delay_seconds)
        shop.always("CRLs", shop.publisher.publish_where_due, delay)
        shop.once(shop.publisher.warm())
        shop.always("issuers", self._take_up_new_issuers, ISSUERS_SECONDS)
        shop.always("plans", self._give_up_overdue, PLANS_SECONDS)

    async def stop(self) -> None:
        await self._desk.stop()
        if self._filler is not None:
            await self._filler.stop()

    async def _give_up_all(self) -> None:
        """Plans of processes that died here: nobody else serves from this directory, so nobody finishes them."""
        serials = []
        while page := open_plans(self._shop.local.store):
            for serial in page:
                await self._shop.local.issuance.abandon(serial, "the process ended before it signed")
            serials += page
        if serials:
            self._shop.lines.plans_abandoned(serials)

    async def _give_up_overdue(self) -> None:
        """Plans past their deadline: a worker died over them, or the request ended without finishing them. Those of a living
        sibling have time until then.
        """
        local = self._shop.local
        serials = [one for one in open_plans(local.store) if await local.issuance.abandon_overdue(one)]
        if serials:
            self._shop.lines.plans_abandoned(serials)

    async def _take_up_new_issuers(self) -> None:
        if self._shop.take_up_new_issuers():
            await self._shop.publisher.publish_where_due()
