"""Status over plain HTTP: OCSP, CRLs, issuers' certificates.

It needs no issuing key: the responder's own key is made here, and certified by whoever holds the issuer's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.errors import Fault, Refused
from quicklime.services.crl import api as crl_api
from quicklime.services.ocsp import api as ocsp_api
from quicklime.services.ocsp.responder import Obtain, Responder
from quicklime.web.status_http import Handler, Request, Response, StatusListener
from quicklime.wiring.local import clock
from quicklime.wiring.parts.shared import RETRY_SECONDS, Shop

LOOK_SECONDS = 30.0


class Status:
    def __init__(self, shop: Shop, obtain: Obtain) -> None:
        config = shop.config
        self._shop = shop
        self._responder = Responder(
            store=shop.local.store,
            authority=shop.local.state.authority,
            obtain=obtain,
            new_signer=lambda: FileSigner(generate("ecdsa-p256"), "memory:ocsp"),
            clock=clock,
            trusted=shop.is_close_to_the_log,
            validity_seconds=config.ocsp.validity_seconds,
            metrics=shop.metrics,
        )
        self._listener = StatusListener(
            self._handler(),
            connections_max=config.limits.connections,
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

    async def stop(self) -> None:
        await self._listener.stop()

    async def renew_where_due(self) -> None:
        for made in await self._responder.renew_where_due(self._shop.issuers_here()):
            self._shop.lines.renewed_own("OCSP responder", made.serial, made.not_after)

    def _handler(self) -> Handler:
        """Each service's handler, by what its paths begin with; the first that fits answers."""
        by_prefix: list[tuple[bytes, Callable[[Request], Response]]] = [
            (ocsp_api.PREFIX, ocsp_api.handler(self._responder, clock)),
            (b"", crl_api.handler(self._shop.publisher, self._shop.local.state.authority, clock)),
        ]

        def handle(request: Request) -> Response:
            for prefix, answer in by_prefix:
                if request.target.startswith(prefix):
                    return answer(request)
            raise Fault("no handler for anything")

        return handle
