"""The API: its routes, each service's by a function of its own, behind TLS with a certificate that it obtains for itself."""

from __future__ import annotations

import functools
import socket
from contextlib import ExitStack

from starlette.routing import Route

from quicklime.authority.commands import SystemCommand
from quicklime.authority.refusals import RefusalDesk
from quicklime.errors import BrokenState, Code, Refused
from quicklime.pki import csr
from quicklime.pki.names import canonical
from quicklime.services.access import api as access_api
from quicklime.services.cfssl import api as cfssl_api
from quicklime.services.issuance import api as issuance_api
from quicklime.services.monitor import api as monitor_api
from quicklime.services.monitor import view as monitor_view
from quicklime.services.renewal import api as renewal_api
from quicklime.services.revocation import api as revocation_api
from quicklime.web.application import Application
from quicklime.web.auth import Guard
from quicklime.web.limits import Rate
from quicklime.web.server import APIServer, ServingTLS
from quicklime.web.serving import Served, ServingCertificate
from quicklime.wiring.acme import acme_service
from quicklime.wiring.local import clock
from quicklime.wiring.monitor import Dashboard
from quicklime.wiring.parts.shared import Shop
from quicklime.wiring.settings import blocked_keys_of, cfssl_keys_of, rules_of

LOOK_SECONDS = 30.0
ISSUERS_SECONDS = 1.0
REFUSALS_PER_MINUTE = 10
REFUSALS_BURST = 5
PAGE = 1000
OWN_NODE = "api"


class API:
    def __init__(self, shop: Shop, port: int) -> None:
        """``port`` is the one that it will listen on."""
        local, config = shop.local, shop.config
        self._shop = shop
        self._tls = ServingTLS()
        self._serving = ServingCertificate(
            self._tls, self._serving_certificate, clock, lambda: local.issuers.active().issuer
        )
        self._parse_csr = functools.partial(csr.parse, blocked=blocked_keys_of(config))
        self._dashboard = Dashboard(local) if config.dashboard.enabled else None
        self._guard = Guard(
            token_by_hash=local.state.token_by_hash,
            token=local.state.token,
            sessions=None if self._dashboard is None else self._dashboard.sessions,
            certificate=local.state.certificate,
            rules=rules_of(config),
            clock=clock,
            failures=Rate(config.limits.failures_per_minute, burst=config.limits.failures_per_minute),
        )
        noted = Rate(REFUSALS_PER_MINUTE, burst=REFUSALS_BURST)

        def may_note(requester: str) -> bool:
            allowed = noted.allows(requester)
            noted.note(requester)
            return allowed

        self._refusals = RefusalDesk(local.ledger, may_note)
        self._open = ExitStack()
        self._acme = self._open.enter_context(
            acme_service(local, port, self._parse_csr, self._refusals, shop.metrics, shop.lines)
        )
        application = Application(
            self._routes(),
            metrics=shop.metrics,
            lines=shop.lines,
            rate=Rate(config.limits.requests_per_minute),
        )
        self._server = APIServer(application, connections_max=config.limits.connections)

    async def start(self, listening: socket.socket) -> None:
        """Obtain a certificate, then listen. Raises Refused, Fault."""
        await self.renew_where_due()
        await self._server.start(listening, self._tls)
        self._shop.always("own certificate", self.renew_where_due, LOOK_SECONDS)
        self._shop.always("issuers", self._take_up_new_issuers, ISSUERS_SECONDS)
        self._shop.always("ACME validations", self._acme.resume, LOOK_SECONDS)

    async def stop(self) -> None:
        if self._dashboard is not None:
            self._dashboard.end_streams()
        await self._server.stop()
        self._open.close()
        if self._dashboard is not None:
            self._dashboard.close()

    async def renew_where_due(self) -> None:
        self._tls.trust([one.certificate for one in self._shop.local.issuers.authority().issuers])
        served = await self._serving.renew_where_due()
        if served is not None:
            self._shop.lines.renewed_own("API", served.serial, served.not_after)

    async def _take_up_new_issuers(self) -> None:
        if self._shop.take_up_new_issuers():
            await self.renew_where_due()

    @property
    def _node(self) -> str:
        """The node of our own lineage; the first worker keeps the name that it has where it is the only one."""
        return OWN_NODE if self._shop.number == 1 else f"{OWN_NODE} {self._shop.number}"

    async def _serving_certificate(self, spki: bytes, predecessor: str | None) -> Served:
        names = canonical(self._shop.config.api.names)
        try:
            grant = await self._shop.local.issuance.issue_to_system(
                SystemCommand(
                    profile="server",
                    names=names,
                    public_key=spki,
                    key_type="ecdsa-p256",
                    node=self._node,
                    predecessor=predecessor or self._last_of_our_own(names),
                )
            )
        except Refused as refused:
            if refused.code != Code.NAME_OUTSIDE_ISSUER:
                raise
            raise BrokenState(
                "api.names are outside what this authority may issue for: "
                + "; ".join(reason.detail for reason in refused.reasons),
                hint="set api.names (QUICKLIME_API__NAMES) to names inside, by which clients reach the API",
            ) from None
        found = grant.certificate
        return Served(
            serial=found.serial,
            issuer=found.issuer,
            chain=grant.chain,
            not_before=found.not_before,
            not_after=found.not_after,
        )

    def _last_of_our_own(self, names: tuple[str, ...]) -> str | None:
        """The certificate that an earlier process of ours served: ours replaces it, in one lineage over all restarts."""
        rows = self._shop.local.store.scan(
            monitor_view.NAME, prefix=monitor_view.name_key(names[0]), limit=PAGE
        )
        for _, value in reversed(rows):
            found = self._shop.local.state.certificate(value.hex())
            if found is None or found.requester.kind != "system" or found.node != self._node:
                continue
            # other names than before begin a lineage of their own, since names never widen
            free = found.status == "issued" and found.successor is None and set(names) <= set(found.names)
            return found.serial if free else None
        return None

    # --- routes -----------------------------------------------------------------------------------------------------

    def _routes(self) -> list[Route]:
        """Every service's; what a new service serves is a function more here."""
        return [
            *self._issuance(),
            *self._renewal(),
            *self._revocation(),
            *self._access(),
            *self._monitor(),
            *(() if self._dashboard is None else self._dashboard.routes(self._guard)),
            *(self._cfssl() if self._shop.config.cfssl.enabled else ()),
            *self._acme.routes,
        ]

    def _issuance(self) -> list[Route]:
        local = self._shop.local
        return issuance_api.routes(
            desk=local.issuance,
            issuers=local.issuers,
            refusals=self._refusals,
            guard=self._guard,
            parse_csr=self._parse_csr,
            metrics=self._shop.metrics,
            lines=self._shop.lines,
            body_octets_max=self._shop.config.limits.body_octets,
        )

    def _renewal(self) -> list[Route]:
        local = self._shop.local
        return renewal_api.routes(
            desk=local.issuance,
            refusals=self._refusals,
            state=local.state,
            store=local.store,
            guard=self._guard,
            clock=clock,
            parse_csr=self._parse_csr,
            metrics=self._shop.metrics,
            lines=self._shop.lines,
            body_octets_max=self._shop.config.limits.body_octets,
        )

    def _revocation(self) -> list[Route]:
        local, limits = self._shop.local, self._shop.config.limits
        return revocation_api.routes(
            desk=local.revocation,
            state=local.state,
            guard=self._guard,
            clock=clock,
            guesses=Rate(limits.failures_per_minute, burst=limits.failures_per_minute),
            metrics=self._shop.metrics,
            lines=self._shop.lines,
            body_octets_max=limits.body_octets,
        )

    def _access(self) -> list[Route]:
        local = self._shop.local
        return access_api.routes(
            desk=local.tokens,
            store=local.store,
            guard=self._guard,
            body_octets_max=self._shop.config.limits.body_octets,
        )

    def _monitor(self) -> list[Route]:
        local = self._shop.local
        return monitor_api.routes(
            issuers=local.issuers,
            read=local.ledger.read,
            state=local.state,
            store=local.store,
            follower=local.follower,
            guard=self._guard,
            clock=clock,
            metrics=self._shop.metrics,
            lag_records_max=self._shop.config.readiness.lag_records_max,
        )

    def _cfssl(self) -> list[Route]:
        local, config = self._shop.local, self._shop.config
        return cfssl_api.routes(
            cfssl_api.Desks(
                issuance=local.issuance,
                revocation=local.revocation,
                refusals=self._refusals,
                issuers=local.issuers,
                state=local.state,
                read=local.ledger.read,
                guard=self._guard,
                parse_csr=self._parse_csr,
                auth_keys=cfssl_keys_of(config),
                default_profile=config.cfssl.default_profile,
                body_octets_max=config.limits.body_octets,
                metrics=self._shop.metrics,
                lines=self._shop.lines,
            )
        )
