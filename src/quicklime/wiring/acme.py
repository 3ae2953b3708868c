"""ACME put together: the protocol stream, the validator, the service. Called from where the API's routes are gathered."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from starlette.routing import Route

from quicklime.adapters.dns import DNSResolver, system_resolvers
from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.prober import NetworkProber
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.authority.acme import AccountDesk, OrderDesk
from quicklime.authority.ledger import ProtocolLedger
from quicklime.authority.refusals import RefusalDesk
from quicklime.errors import BrokenState, Refused
from quicklime.projection.stream import Stream
from quicklime.services.acme import api, authorizations, view
from quicklime.services.acme.exchange import Desks, Rates
from quicklime.services.acme.nonces import Nonces
from quicklime.services.acme.validator import Perspective, Rules, Validator
from quicklime.web.limits import Rate
from quicklime.wiring.directory import write_file
from quicklime.wiring.local import Local, clock
from quicklime.wiring.settings import directories_of, endpoint_of

if TYPE_CHECKING:
    from quicklime.config import Config
    from quicklime.config.acme import PerspectiveSettings
    from quicklime.pki.csr import CheckedCSR
    from quicklime.telemetry import Lines, Metrics
    from quicklime.validation import Network

SECRET_OCTETS = 32
DNS_PORT = 53
NO_RESOLVER = "127.0.0.1"


def secret_of(local: Local) -> bytes:
    """What nonces and binding keys are derived from; made at the first need, never changed."""
    path = local.directory.acme_secret
    if not path.exists():
        # of two processes at once the later one's file would undo the first: a link makes only one
        draft = path.with_name(f".{path.name}.{os.getpid()}.new")
        write_file(draft, os.urandom(SECRET_OCTETS).hex().encode())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return bytes.fromhex(path.read_text(encoding="ascii").strip())


def account_desk(local: Local) -> AccountDesk:
    """For commands about accounts and binding keys."""
    return AccountDesk(local.ledger, secret_of(local))


@dataclass(frozen=True, slots=True)
class ACME:
    """ACME's routes, and what is to be done now and then; nothing of either where it is switched off."""

    routes: list[Route]
    resume: Callable[[], Awaitable[None]]


@contextmanager
def acme_service(
    local: Local,
    port: int,
    parse_csr: Callable[[bytes], CheckedCSR],
    refusals: RefusalDesk,
    metrics: Metrics,
    lines: Lines,
) -> Iterator[ACME]:
    """The service, for the API that listens on ``port``."""
    if not local.config.acme.enabled:
        yield ACME([], _nothing)
        return
    with acme_desks(local, port, parse_csr, refusals, metrics, lines) as desks:
        yield ACME(api.routes(desks), functools.partial(authorizations.resume, desks))


async def _nothing() -> None:
    """Without ACME no validation is left undone."""


@contextmanager
def acme_desks(
    local: Local,
    port: int,
    parse_csr: Callable[[bytes], CheckedCSR],
    refusals: RefusalDesk,
    metrics: Metrics,
    lines: Lines,
) -> Iterator[Desks]:
    """What ACME's routes work with; ``port`` is the API's own. The stream is open as long as the block."""
    config = local.config.acme
    log = _protocol_log(local)
    store = LMDBStore(local.directory.protocol_views)
    try:
        stream = Stream(log, store, view.project, view.VERSION)
        while stream.advance():
            pass
        protocol = ProtocolLedger(local.ledger, log, stream)
        secret = secret_of(local)
        identities = _caa_identities(local.config)
        yield Desks(
            accounts=AccountDesk(local.ledger, secret),
            orders=OrderDesk(
                protocol,
                order_seconds=config.order_seconds,
                pending_seconds=config.pending_seconds,
                valid_seconds=config.valid_seconds,
            ),
            protocol=protocol,
            issuance=local.issuance,
            revocation=local.revocation,
            refusals=refusals,
            issuers=local.issuers,
            state=local.state,
            read=local.ledger.read,
            validator=Validator(_perspectives(local.config), _rules(local, identities, port), clock),
            nonces=Nonces(store, secret, lambda: time.time_ns() // 1000, os.urandom),
            directories=directories_of(local.config),
            hosts=tuple(name.lower() for name in local.config.api.names),
            port=port,
            url=config.url,
            caa_identities=identities if config.validation.caa else (),
            parse_csr=parse_csr,
            clock=clock,
            rates=Rates(
                accounts=_hourly(config.accounts_per_hour),
                orders=_hourly(config.orders_per_hour),
                failures=_hourly(config.failures_per_hour),
            ),
            metrics=metrics,
            lines=lines,
        )
    finally:
        store.close()
        log.close()


def _hourly(count: int) -> Rate:
    return Rate(count / 60, burst=count)


def _protocol_log(local: Local) -> SQLiteLog:
    path = local.directory.protocol_log
    if not path.exists():
        with contextlib.suppress(BrokenState):  # another process was faster
            return SQLiteLog(path, create=True)
    return SQLiteLog(path)


def _perspectives(config: Config) -> list[Perspective]:
    timeout = config.acme.validation.timeout_seconds
    return [
        Perspective(
            name=one.name,
            resolver=DNSResolver(*_resolver(one), timeout_seconds=timeout),
            prober=NetworkProber(source=one.source, timeout_seconds=timeout),
        )
        for one in config.acme.validation.all_perspectives()
    ]


def _resolver(settings: PerspectiveSettings) -> tuple[str, int]:
    if settings.resolver is not None:
        return endpoint_of(settings.resolver)
    # where none is named, the one of this machine is tried, as the system's own resolver does it
    return (system_resolvers() or [NO_RESOLVER])[0], DNS_PORT


def _rules(local: Local, identities: tuple[str, ...], port: int) -> Rules:
    config, settings = local.config, local.config.acme.validation
    count = len(settings.all_perspectives())
    hosts = {"127.0.0.1", "::1", config.api.host, config.status.host}
    return Rules(
        networks=_networks(local),
        caa_identities=identities,
        caa_checked=settings.caa,
        http_port=settings.http_port,
        https_port=settings.https_port,
        tls_alpn_port=settings.tls_alpn_port,
        attempts=settings.attempts,
        quorum=settings.quorum or (count if count < 4 else count - 1),
        own=frozenset((host, one) for host in hosts for one in (port, config.status.port)),
    )


def _networks(local: Local) -> tuple[Network, ...]:
    given = local.config.acme.validation.networks
    if given is not None:
        return tuple(ip_network(text) for text in given)
    try:
        permitted = local.issuers.active().constraints.permitted_ip
    except Refused:  # the issuer's key is not here: nothing is issued either
        return ()
    return tuple(one for one in permitted if not one.is_loopback and not one.is_link_local)


def _caa_identities(config: Config) -> tuple[str, ...]:
    given = config.acme.validation.caa_identities
    if given is not None:
        return given
    return tuple(name.lower() for name in config.api.names if "." in name and not _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
