"""Status over plain HTTP: OCSP, CRLs, issuers' certificates.

It needs no issuing key: the responder's own key is made here, and certified by whoever holds the issuer's.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.errors import Fault, Refused
from quicklime.services.crl import api as crl_api
from quicklime.services.crl.shelf import Lists
from quicklime.services.ocsp import api as ocsp_api
from quicklime.services.ocsp.responder import Obtain, Responder
from quicklime.web.limits import Rate
from quicklime.web.status_http import StatusListener
from quicklime.web.status_message import Handler, Request, Response
from quicklime.wiring.local import clock
from quicklime.wiring.parts.shared import RETRY_SECONDS, Shop

if TYPE_CHECKING:
    from quicklime.config import Config

LOOK_SECONDS = 30.0
CLOSE_SECONDS = 0.5
FIGURES_SECONDS = 1.0
# answers that are signed ahead: about a millisecond of work at a time, 80 a second
AHEAD_SECONDS = 0.25
AHEAD_ANSWERS = 20
SHELF_SECONDS = 600.0


class Status:
    def __init__(self, shop: Shop, obtain: Obtain) -> None:
        config = shop.config
        self._shop = shop
        self._shelf = LMDBStore(shop.local.directory.answers)
        self._responder = Responder(
            store=shop.local.store,
            authority=shop.local.state.authority,
            obtain=obtain,
            new_signer=lambda: FileSigner(generate("ecdsa-p256"), "memory:ocsp"),
            clock=clock,
            trusted=_remembered(shop.is_close_to_the_log, CLOSE_SECONDS),
            validity_seconds=config.ocsp.validity_seconds,
            metrics=shop.metrics,
            may_sign=_budget(config),
            shared=self._shelf,
        )
        self._listener = StatusListener(
            self._handler(),
            connections_max=config.limits.connections,
            connections_of_one_max=config.limits.connections_per_address,
            fault=lambda error: shop.lines.request_failed("-", "status", error),
        )

    async def start(self, listening: socket.socket, *, first: bool) -> None:
        """Have responder keys certified, then listen. Raises Fault, Refused at a server's first start.

        A worker that replaces another serves what needs no new signature, and tries again in the background.
        """
        try:
            await self.renew_where_due()
        except (Fault, Refused) as error:
            if first:
                raise
            self._shop.lines.task_failed("responder's certificates", error, RETRY_SECONDS)
            self._shop.always("responder's certificates, again", self.renew_where_due, RETRY_SECONDS)
        await self._listener.start(listening)
        self._shop.always("responder's certificates", self.renew_where_due, LOOK_SECONDS)
        self._shop.always("OCSP answers", self._sign_ahead, AHEAD_SECONDS)
        self._shop.always("figures", self._tell_figures, FIGURES_SECONDS)
        if self._shop.number == 1:
            self._shop.always("ended OCSP answers", self._clear_shelf, SHELF_SECONDS)

    async def stop(self) -> None:
        await self._listener.stop()
        self._responder.tell_figures()
        self._shelf.close()

    async def _sign_ahead(self) -> None:
        self._responder.renew_kept(AHEAD_ANSWERS)

    async def _tell_figures(self) -> None:
        self._responder.tell_figures()

    async def _clear_shelf(self) -> None:
        await asyncio.to_thread(self._responder.clear_shelf)

    async def renew_where_due(self) -> None:
        for made in await self._responder.renew_where_due(self._shop.issuers_here()):
            self._shop.lines.renewed_own("OCSP responder", made.serial, made.not_after)

    def _handler(self) -> Handler:
        """Each service's handler, by what its paths begin with; the first that fits answers."""
        lists = Lists(self._shop.local.store.get, self._shop.lists)
        by_prefix: list[tuple[bytes, Callable[[Request], Response]]] = [
            (ocsp_api.PREFIX, ocsp_api.handler(self._responder, clock)),
            (b"", crl_api.handler(lists, self._shop.local.state.authority, clock)),
        ]

        def handle(request: Request) -> Response:
            for prefix, answer in by_prefix:
                if request.target.startswith(prefix):
                    return answer(request)
            raise Fault("no handler for anything")

        return handle


def _budget(config: Config) -> Callable[[str], bool]:
    """One signature from what an address may cost us, and from what all may."""
    of_one = Rate(config.limits.signatures_per_minute)
    of_all = Rate(60 * config.ocsp.signatures_per_second, burst=config.ocsp.signatures_per_second)

    def may_sign(address: str) -> bool:
        return of_one.spends(address) and of_all.spends("")

    return may_sign


def _remembered(look: Callable[[], bool], seconds: float) -> Callable[[], bool]:
    """What ``look`` said, for so long: it asks the log, and is asked for each signature."""
    said, until = False, 0.0

    def recent() -> bool:
        nonlocal said, until
        now = time.monotonic()
        if now >= until:
            said, until = look(), now + seconds
        return said

    return recent
