"""Serve everything of one data directory: the API, status, and the work in the background.

Start: read the log to its head, give up the orphan plans of a process that died, obtain our own certificates through the
ordinary path, then listen. A task in the background that fails is told and tried again; it never ends silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from starlette.routing import Route

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.authority.commands import SystemCommand
from quicklime.authority.crls import CRLDesk
from quicklime.authority.refusals import RefusalDesk
from quicklime.errors import BrokenState, Code, Fault, Refused
from quicklime.pki import csr
from quicklime.pki.names import Constraints, canonical
from quicklime.projection import open_plans
from quicklime.services.access import api as access_api
from quicklime.services.crl import api as crl_api
from quicklime.services.crl.publisher import Publisher
from quicklime.services.issuance import api as issuance_api
from quicklime.services.monitor import api as monitor_api
from quicklime.services.monitor import view as monitor_view
from quicklime.services.ocsp import api as ocsp_api
from quicklime.services.ocsp import responder as ocsp_responder
from quicklime.services.renewal import api as renewal_api
from quicklime.services.revocation import api as revocation_api
from quicklime.telemetry import Lines, Metrics, configure
from quicklime.web import status_http
from quicklime.web.application import Application
from quicklime.web.auth import Guard
from quicklime.web.limits import Rate
from quicklime.web.server import APIServer, ServingTLS, listen
from quicklime.web.serving import Served as ServedCertificate
from quicklime.web.serving import ServingCertificate
from quicklime.wiring.acme import ACME, acme_service
from quicklime.wiring.cfssl import cfssl_routes
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.local import Local, clock, open_local
from quicklime.wiring.settings import api_url, blocked_keys_of, rules_of, status_url
from quicklime.wiring.signers import key_is_here, load_signer

if TYPE_CHECKING:
    from quicklime.config import Config

Progress = Callable[[str], None]

LOOK_SECONDS = 30.0
RETRY_SECONDS = 5.0
REFUSALS_PER_MINUTE = 10
REFUSALS_BURST = 5
PAGE = 1000
GC_ALLOCATIONS = 20_000
OWN_NODE = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What runs now, as people are told."""

    api_url: str
    status_url: str
    root: Path
    first_token: Path | None
    example: str | None
    """A name to try: one that this authority may issue for."""


def serve(config: Config, *, on_ready: Callable[[Served], None], progress: Progress) -> None:
    """Serve until SIGTERM or SIGINT. Raises BrokenState (data directory, ports), ConfigurationFault, Undecodable."""
    configure(config.logging.level, config.logging.format)
    directory = DataDirectory(config.data_dir)
    if not directory.is_initialised():
        raise BrokenState(
            f"no authority in {directory.path}",
            hint=f"quicklime init --data-dir {directory.path}, or quicklime up, which does both",
        )
    with directory.serving(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, on_ready, progress))


async def _serve(config: Config, on_ready: Callable[[Served], None], progress: Progress) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # the ports first: if they are taken, nothing is written
    with (
        contextlib.closing(listen(config.api.host, config.api.port, "api")) as api_socket,
        contextlib.closing(listen(config.status.host, config.status.port, "status")) as status_socket,
    ):
        async with open_local(config, progress=progress) as local:
            _check_key(local)
            server = _Server(local)
            async with server.running(api_socket, status_socket):
                # what is here now stays: the collector need not look at it again with every generation
                gc.collect()
                gc.freeze()
                gc.set_threshold(GC_ALLOCATIONS)
                token = local.directory.first_token
                on_ready(
                    Served(
                        api_url=api_url(config, api_socket.getsockname()[1]),
                        status_url=status_url(config, status_socket.getsockname()[1]),
                        root=local.directory.root_certificate,
                        first_token=token if token.exists() else None,
                        example=_example(local.issuers.active().constraints),
                    )
                )
                await stop.wait()
                server.lines.stopping()


def _example(constraints: Constraints) -> str | None:
    domains = [domain.lstrip(".") for domain in constraints.permitted_dns]
    return f"web.{'internal' if 'internal' in domains else domains[0]}" if domains else None


def _check_key(local: Local) -> None:
    """Raises BrokenState where the key that is to sign is not here: nobody would be served, and retrying would not help."""
    try:
        local.issuers.active()
    except Refused as refused:
        raise BrokenState(
            refused.reasons[0].detail,
            hint=f"bring {local.directory.issuers} back from the backup, or bring in a new one: quicklime issuer rotate",
        ) from None


class _Server:
    """The objects of one running server."""

    def __init__(self, local: Local) -> None:
        config = local.config
        self.local = local
        self.lines = Lines()
        self.metrics = Metrics()
        self.publisher = Publisher(
            desk=CRLDesk(local.ledger, local.issuers, validity_seconds=config.crl.validity_seconds),
            issuers=local.issuers,
            store=local.store,
            clock=clock,
            refresh_seconds=config.crl.refresh_seconds,
            delay_seconds=config.crl.delay_seconds,
            metrics=self.metrics,
            lines=self.lines,
        )
        self.responder = ocsp_responder.Responder(
            store=local.store,
            authority=local.state.authority,
            obtain=self._responder_certificate,
            new_signer=lambda: FileSigner(generate("ecdsa-p256"), "memory:ocsp"),
            clock=clock,
            trusted=self._is_close_to_the_log,
            validity_seconds=config.ocsp.validity_seconds,
            metrics=self.metrics,
        )
        self.tls = ServingTLS()
        self.serving = ServingCertificate(
            self.tls, self._serving_certificate, clock, lambda: local.issuers.active().issuer
        )
        self.parse_csr = functools.partial(csr.parse, blocked=blocked_keys_of(config))
        self.guard = Guard(
            token_by_hash=local.state.token_by_hash,
            certificate=local.state.certificate,
            rules=rules_of(config),
            clock=clock,
            failures=Rate(config.limits.failures_per_minute, burst=config.limits.failures_per_minute),
        )

    @asynccontextmanager
    async def running(self, api_socket: socket.socket, status_socket: socket.socket) -> AsyncIterator[None]:
        await self._give_up_orphans()
        await self._renew_own()
        await self.publisher.publish_where_due()
        with acme_service(self.local, api_socket, self.parse_csr, self.metrics, self.lines) as acme:
            async with self._listening(api_socket, status_socket, acme):
                yield

    @asynccontextmanager
    async def _listening(
        self, api_socket: socket.socket, status_socket: socket.socket, acme: ACME
    ) -> AsyncIterator[None]:
        limits = self.local.config.limits
        application = Application(
            [*self._routes(), *acme.routes],
            metrics=self.metrics,
            lines=self.lines,
            rate=Rate(limits.requests_per_minute),
        )
        api = APIServer(application, connections_max=limits.connections)
        status = status_http.StatusListener(
            self._status_handler(),
            connections_max=limits.connections,
            fault=lambda error: self.lines.request_failed("-", "status", error),
        )
        await api.start(api_socket, self.tls)
        await status.start(status_socket)
        tasks = [
            asyncio.create_task(self._always("own certificates", self._renew_own, LOOK_SECONDS)),
            asyncio.create_task(self._always("CRLs", self.publisher.publish_where_due, self._crl_seconds())),
            asyncio.create_task(self._always("issuers", self._take_up_new_issuers, 1.0)),
            asyncio.create_task(self._always("projector", self._watch_projector, 1.0)),
            asyncio.create_task(self._always("overdue plans", self._give_up_overdue, LOOK_SECONDS)),
            asyncio.create_task(self._always("ACME validations", acme.resume, LOOK_SECONDS)),
        ]
        config = self.local.config
        self.lines.serving(
            f"{config.api.host}:{config.api.port}",
            f"{config.status.host}:{config.status.port}",
            str(self.local.directory.path),
        )
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await api.stop()
            await status.stop()

    def _crl_seconds(self) -> float:
        return max(0.2, self.local.config.crl.delay_seconds)

    async def _always(self, name: str, work: Callable[[], Awaitable[object]], every_seconds: float) -> None:
        """Do ``work`` again and again; what fails is told, and tried again a little later."""
        while True:
            try:
                await asyncio.sleep(every_seconds)
                await work()
            except (Fault, Refused) as error:
                self.lines.task_failed(name, error, RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch_projector(self) -> None:
        self.metrics.log_records.set(self.local.follower.checkpoint)
        if self.local.follower.stalled is not None:
            self.lines.projector_stopped(self.local.follower.stalled)
            await asyncio.sleep(60)

    def _is_close_to_the_log(self) -> bool:
        try:
            return (
                self.local.follower.stalled is None
                and self.local.follower.lag() <= self.local.config.readiness.lag_records_max
            )
        except Fault:
            return False

    # --- our own certificates ---------------------------------------------------------------------------------------

    async def _give_up_orphans(self) -> None:
        """Plans of a process that died here: nobody else serves from this directory, so nobody finishes them."""
        serials = []
        while page := open_plans(self.local.store):
            for serial in page:
                await self.local.issuance.abandon(serial, "the process ended before it signed")
            serials += page
        if serials:
            self.lines.plans_abandoned(serials)

    async def _give_up_overdue(self) -> None:
        """Plans whose request ended without finishing them (a lost answer of the log, a time-out): their place is free again."""
        plans = open_plans(self.local.store)
        serials = [serial for serial in plans if await self.local.issuance.abandon_overdue(serial)]
        if serials:
            self.lines.plans_abandoned(serials)

    async def _take_up_new_issuers(self) -> None:
        """An intermediate that ``issuer rotate`` brought in meanwhile: its key, its responder, its list, our certificate."""
        issuers = self.local.issuers
        here = {key.issuer for key in issuers.here()}
        found = [
            issuer.issuer
            for issuer in issuers.authority().intermediates
            if issuer.issuer not in here and key_is_here(self.local.directory, issuer.issuer)
        ]
        for issuer in found:
            issuers.bring(issuer, load_signer(self.local.directory, self.local.config, issuer))
        if found:
            await self._renew_own()
            await self.publisher.publish_where_due()

    async def _renew_own(self) -> None:
        issuers = self.local.issuers
        self.tls.trust([one.certificate for one in issuers.authority().issuers])
        for made in await self.responder.renew_where_due(tuple(key.issuer for key in issuers.here())):
            self.lines.renewed_own("OCSP responder", made.serial, made.not_after)
        served = await self.serving.renew_where_due()
        if served is not None:
            self.lines.renewed_own("API", served.serial, served.not_after)

    async def _responder_certificate(
        self, issuer: str, spki: bytes, predecessor: str | None
    ) -> ocsp_responder.Obtained:
        grant = await self.local.issuance.issue_to_system(
            SystemCommand(
                profile="ocsp-responder",
                names=(),
                public_key=spki,
                key_type="ecdsa-p256",
                node=f"ocsp {issuer[:8]}",
                issuer=issuer,
                predecessor=predecessor,
            )
        )
        found = grant.certificate
        return ocsp_responder.Obtained(
            certificate=grant.chain[0],
            serial=found.serial,
            not_before=found.not_before,
            not_after=found.not_after,
        )

    async def _serving_certificate(self, spki: bytes, predecessor: str | None) -> ServedCertificate:
        names = canonical(self.local.config.api.names)
        try:
            grant = await self.local.issuance.issue_to_system(
                SystemCommand(
                    profile="server",
                    names=names,
                    public_key=spki,
                    key_type="ecdsa-p256",
                    node=OWN_NODE,
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
        return ServedCertificate(
            serial=found.serial,
            issuer=found.issuer,
            chain=grant.chain,
            not_before=found.not_before,
            not_after=found.not_after,
        )

    def _last_of_our_own(self, names: tuple[str, ...]) -> str | None:
        """The certificate that an earlier process of ours served: ours replaces it, in one lineage over all restarts."""
        rows = self.local.store.scan(monitor_view.NAME, prefix=monitor_view.name_key(names[0]), limit=PAGE)
        for _, value in reversed(rows):
            found = self.local.state.certificate(value.hex())
            if found is None or found.requester.kind != "system" or found.node != OWN_NODE:
                continue
            # other names than before begin a lineage of their own, since names never widen
            free = found.status == "issued" and found.successor is None and set(names) <= set(found.names)
            return found.serial if free else None
        return None

    # --- what is served ---------------------------------------------------------------------------------------------

    def _status_handler(self) -> status_http.Handler:
        ocsp = ocsp_api.handler(self.responder, clock)
        other = crl_api.handler(self.publisher, self.local.state.authority, clock)

        def handle(request: status_http.Request) -> status_http.Response:
            return (ocsp if request.target.startswith(ocsp_api.PREFIX) else other)(request)

        return handle

    def _routes(self) -> list[Route]:
        local, config = self.local, self.local.config
        octets = config.limits.body_octets
        noted = Rate(REFUSALS_PER_MINUTE, burst=REFUSALS_BURST)

        def may_note(requester: str) -> bool:
            allowed = noted.allows(requester)
            noted.note(requester)
            return allowed

        refusals = RefusalDesk(local.ledger, may_note)
        metrics, lines = self.metrics, self.lines
        return [
            *issuance_api.routes(
                desk=local.issuance,
                issuers=local.issuers,
                refusals=refusals,
                guard=self.guard,
                parse_csr=self.parse_csr,
                metrics=metrics,
                lines=lines,
                body_octets_max=octets,
            ),
            *renewal_api.routes(
                desk=local.issuance,
                refusals=refusals,
                state=local.state,
                store=local.store,
                guard=self.guard,
                clock=clock,
                parse_csr=self.parse_csr,
                metrics=metrics,
                lines=lines,
                body_octets_max=octets,
            ),
            *revocation_api.routes(
                desk=local.revocation,
                state=local.state,
                guard=self.guard,
                clock=clock,
                guesses=Rate(config.limits.failures_per_minute, burst=config.limits.failures_per_minute),
                metrics=metrics,
                lines=lines,
                body_octets_max=octets,
            ),
            *access_api.routes(
                desk=local.tokens, store=local.store, guard=self.guard, body_octets_max=octets
            ),
            *monitor_api.routes(
                issuers=local.issuers,
                read=local.ledger.read,
                state=local.state,
                store=local.store,
                follower=local.follower,
                guard=self.guard,
                clock=clock,
                metrics=metrics,
                lag_records_max=config.readiness.lag_records_max,
            ),
            *cfssl_routes(local, self.guard, refusals, self.parse_csr, metrics, lines),
        ]
