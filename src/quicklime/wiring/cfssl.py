"""CFSSL's API put together. Called from where the API's routes are gathered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from quicklime.services.cfssl import api
from quicklime.wiring.settings import cfssl_keys_of

if TYPE_CHECKING:
    from starlette.routing import Route

    from quicklime.authority.refusals import RefusalDesk
    from quicklime.pki.csr import CheckedCSR
    from quicklime.telemetry import Lines, Metrics
    from quicklime.web.auth import Guard
    from quicklime.wiring.local import Local


def cfssl_routes(
    local: Local,
    guard: Guard,
    refusals: RefusalDesk,
    parse_csr: Callable[[bytes], CheckedCSR],
    metrics: Metrics,
    lines: Lines,
) -> list[Route]:
    """Its routes; none where it is switched off."""
    config = local.config
    if not config.cfssl.enabled:
        return []
    return api.routes(
        api.Desks(
            issuance=local.issuance,
            revocation=local.revocation,
            refusals=refusals,
            issuers=local.issuers,
            state=local.state,
            read=local.ledger.read,
            guard=guard,
            parse_csr=parse_csr,
            auth_keys=cfssl_keys_of(config),
            default_profile=config.cfssl.default_profile,
            body_octets_max=config.limits.body_octets,
            metrics=metrics,
            lines=lines,
        )
    )
