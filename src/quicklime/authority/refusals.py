"""Refusals worth remembering: who of the known requesters asked for what and did not get it.

A stuck renewal is seen by these facts. They never make a request fail, and nobody fills the log with them: each requester
has a few a minute, all together a few a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from quicklime.authority.ledger import Ledger
from quicklime.errors import Fault, Refused
from quicklime.events import Requester, RequestRefused, RequestRefusedV2

DETAIL_CHARACTERS_MAX = 500


class RefusalDesk:
    """``allows(requester id)`` says whether one more may be noted now, and counts it."""

    def __init__(self, ledger: Ledger, allows: Callable[[str], bool]) -> None:
        self._ledger = ledger
        self._allows = allows

    async def note(
        self,
        operation: Literal["issue", "renew", "revoke"],
        requester: Requester,
        refused: Refused,
        serial: str | None = None,
    ) -> None:
        """Record that ``requester`` was refused. Never raises for want of the log: the refusal itself is the answer."""
        if not self._allows(requester.id):
            return
        detail = "; ".join(reason.detail for reason in refused.reasons)
        kind = RequestRefusedV2 if requester.kind == "acme" else RequestRefused
        event = kind(
            operation=operation,
            requester=requester,
            codes=tuple(sorted({str(reason.code) for reason in refused.reasons})),
            detail=ascii(detail)[1:-1][:DETAIL_CHARACTERS_MAX],
            refused_at=self._ledger.now(),
            serial=serial,
        )
        try:
            await self._ledger.record(event)
        except Fault:
            # the log is away: readiness says so, and the requester has its answer
            return
