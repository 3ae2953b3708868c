"""What the page asks: ``/v1/monitor/...``. Each answer is a type of ``wire``; ``openapi`` describes them all.

SQL runs on a thread, never in the event loop. While the view is still being made of the log, the answer is ``busy``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, get_args

from cryptography import x509
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quicklime import __version__
from quicklime.errors import Code, Fault, Refused
from quicklime.events import CertificateIssued, Event
from quicklime.lifecycle.issuer import Issuer
from quicklime.pki.certificate import IssuerFacts
from quicklime.pki.keys import key_type, load_key
from quicklime.policy import check_permission
from quicklime.projection.tabular import Tabular, ViewUnreadable
from quicklime.services.monitor import wire
from quicklime.services.monitor.api.decode import fields_of
from quicklime.services.monitor.api.query import Query
from quicklime.services.monitor.queries import inventory, lineages, overview, records, shapes
from quicklime.services.monitor.queries.moment import Moment, head, moment_of
from quicklime.web.auth import Guard
from quicklime.web.render import json_response, pem, serial_of, timestamp

PAGE_DEFAULT = 50
PAGE_MAX = 500
BUSY_SECONDS = 2
PREFIX = "/v1/monitor"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where answers come from. ``read`` gives the event at an offset, ``raw`` its bytes, ``here`` the issuers whose key is
    here, ``views`` how far each view has come, ``not_ready`` why the server can't work.
    """

    index: Tabular
    read: Callable[[int], Event]
    raw: Callable[[int], bytes]
    issuers: Callable[[], tuple[Issuer, ...]]
    chain: Callable[[str], tuple[bytes, ...]]
    here: Callable[[], frozenset[str]]
    authority: Callable[[], tuple[str, str]]
    log_head: Callable[[], int]
    views: Callable[[], list[wire.ViewLag]]
    not_ready: Callable[[], list[str]]
    roles: tuple[str, ...]
    clock: Callable[[], int]
    started_at: int


def routes(sources: Sources, guard: Guard) -> list[Route]:
    """The routes of the dashboard's questions. Everybody who may read may ask them."""
    questions = _Questions(sources, guard)
    return [
        Route(f"{PREFIX}/overview", questions.show_overview, methods=["GET"]),
        Route(f"{PREFIX}/certificates", questions.find_certificates, methods=["GET"]),
        Route(f"{PREFIX}/certificates/{{serial}}", questions.inspect_certificate, methods=["GET"]),
        Route(f"{PREFIX}/facets", questions.list_facets, methods=["GET"]),
        Route(f"{PREFIX}/services", questions.list_services, methods=["GET"]),
        Route(f"{PREFIX}/lineages", questions.show_lineages, methods=["GET"]),
        Route(f"{PREFIX}/issuers", questions.inspect_issuers, methods=["GET"]),
        Route(f"{PREFIX}/records", questions.list_records, methods=["GET"]),
        Route(f"{PREFIX}/records/{{offset:int}}", questions.show_record, methods=["GET"]),
        Route(f"{PREFIX}/system", questions.show_system, methods=["GET"]),
    ]


class _Questions:
    """One endpoint per question."""

    def __init__(self, sources: Sources, guard: Guard) -> None:
        self._sources = sources
        self._guard = guard

    async def _answer(self, request: Request, question: Callable[[], Answer]) -> Answer:
        check_permission(self._guard.identify(request), "read")
        try:
            return await asyncio.to_thread(question)
        except ViewUnreadable:
            raise Refused(
                Code.BUSY,
                "the dashboard's view is being made of the log",
                retry_after_seconds=BUSY_SECONDS,
            ) from None

    def _moment(self, as_of: str | None) -> Moment:
        return moment_of(self._sources.index, as_of, self._sources.clock(), self._sources.log_head())

    async def show_overview(self, request: Request) -> Response:
        query = Query(request)
        as_of = query.text("as_of")
        period = query.choice("period", tuple(overview.SERIES_PERIODS), "day")
        query.done()

        def question() -> wire.Overview:
            index, moment = self._sources.index, self._moment(as_of)
            seconds, points = overview.series(index, moment, period)
            authority, name = self._sources.authority()
            return wire.Overview(
                authority=authority,
                name=name,
                counts=overview.counts(index, moment),
                attention=overview.attention(index, moment),
                series=points,
                series_seconds=seconds,
                as_of=moment.shown(),
            )

        return json_response(await self._answer(request, question))

    async def find_certificates(self, request: Request) -> Response:
        query = Query(request)
        as_of = query.text("as_of")
        wanted = wanted_of(query)
        query.done()
        return json_response(
            await self._answer(
                request, lambda: inventory.page(self._sources.index, wanted, self._moment(as_of))
            )
        )

    async def list_facets(self, request: Request) -> Response:
        Query(request).done()
        return json_response(await self._answer(request, lambda: inventory.facets(self._sources.index)))

    async def inspect_certificate(self, request: Request) -> Response:
        query = Query(request)
        as_of = query.text("as_of")
        query.done()
        serial = serial_of(request.path_params["serial"])

        def question() -> wire.CertificateDetail:
            index, moment = self._sources.index, self._moment(as_of)
            rows = index.select(
                f"SELECT {shapes.COLUMNS}, c.spki_sha256 FROM certificates AS c "  # noqa: S608  our own columns
                f"WHERE c.serial = :serial AND {moment.is_there}",
                moment.parameters() | {"serial": serial},
            )
            if not rows:
                raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {serial}")
            certificate = shapes.certificate(rows[0][:-1], moment)
            issued = self._sources.read(certificate.offset)
            if not isinstance(issued, CertificateIssued):
                raise Fault(f"record {certificate.offset} is not the issuance of {serial}")
            chain = (issued.certificate, *self._sources.chain(certificate.issuer))
            found, refusals = records.about(index, serial, moment)
            return wire.CertificateDetail(
                certificate=certificate,
                fields=fields_of(issued.certificate),
                spki_sha256=str(rows[0][-1]),
                pem=pem(issued.certificate).decode(),
                chain=b"".join(map(pem, chain)).decode(),
                records=found,
                refusals=refusals,
                lane=lineages.lane_of(index, certificate.lineage, moment),
                as_of=moment.shown(),
            )

        return json_response(await self._answer(request, question))

    async def list_services(self, request: Request) -> Response:
        query = Query(request)
        as_of, search, after = query.text("as_of"), query.text("q"), query.text("after")
        limit = query.number("limit", PAGE_DEFAULT, least=1, most=200)
        query.done()
        return json_response(
            await self._answer(
                request,
                lambda: lineages.services(
                    self._sources.index, self._moment(as_of), search=search, after=after, limit=limit
                ),
            )
        )

    async def show_lineages(self, request: Request) -> Response:
        query = Query(request)
        as_of, name = query.text("as_of"), query.text("name")
        query.done()
        if name is None:
            raise Refused(Code.REQUEST_MALFORMED, "no name, expected ?name=dns:web.internal", field="name")
        return json_response(
            await self._answer(
                request, lambda: lineages.lineages(self._sources.index, name, self._moment(as_of))
            )
        )

    async def inspect_issuers(self, request: Request) -> Response:
        Query(request).done()

        def question() -> wire.IssuerList:
            counted = {one.value: one.count for one in inventory.facets(self._sources.index).issuer}
            here = self._sources.here()
            return wire.IssuerList(
                [_issuer(one, counted.get(one.issuer, 0), here) for one in self._sources.issuers()]
            )

        return json_response(await self._answer(request, question))

    async def list_records(self, request: Request) -> Response:
        query = Query(request)
        as_of, subject = query.text("as_of"), query.text("subject")
        types, before = query.texts("type"), query.number_or_none("before")
        limit = query.number("limit", PAGE_DEFAULT, least=1, most=PAGE_MAX)
        query.done()
        return json_response(
            await self._answer(
                request,
                lambda: records.page(
                    self._sources.index,
                    self._moment(as_of),
                    types=types,
                    subject=subject,
                    before=before,
                    limit=limit,
                ),
            )
        )

    async def show_record(self, request: Request) -> Response:
        offset = int(request.path_params["offset"])

        def question() -> wire.RecordDetail:
            found = records.one(self._sources.index, offset) if offset < 1 << 62 else None
            if found is None:
                raise Refused(Code.NOT_FOUND, f"the view has no record {offset}")
            return wire.RecordDetail(record=found, value=self._sources.raw(offset).decode())

        return json_response(await self._answer(request, question))

    async def show_system(self, request: Request) -> Response:
        Query(request).done()

        def question() -> wire.System:
            sources = self._sources
            log_head = sources.log_head()
            try:
                reached, state = head(sources.index) + 1, "following"
            except ViewUnreadable:
                reached, state = 0, "being made"
            reasons = sources.not_ready()
            authority, name = sources.authority()
            return wire.System(
                version=__version__,
                authority=authority,
                name=name,
                log_head=log_head,
                views=[
                    *sources.views(),
                    wire.ViewLag(
                        name="dashboard",
                        checkpoint=reached,
                        lag_records=max(0, log_head - reached),
                        state=state,
                    ),
                ],
                roles=list(sources.roles),
                is_ready=not reasons,
                reasons=reasons,
                started_at=timestamp(sources.started_at),
                now=timestamp(sources.clock()),
            )

        return json_response(await self._answer(request, question))


def wanted_of(query: Query) -> inventory.Wanted:
    """What of the inventory is asked for; faults are kept for ``query.done``."""
    return inventory.Wanted(
        search=query.text("q"),
        status=query.choice("status", get_args(wire.Filter), "all"),
        issuer=query.text("issuer"),
        profile=query.text("profile"),
        key_type=query.text("key_type"),
        requester=query.text("requester"),
        name=query.text("name"),
        expires_before=query.time("expires_before"),
        expires_after=query.time("expires_after"),
        sort=query.choice("sort", get_args(wire.Sort), "-issued"),
        after=query.text("after"),
        limit=query.number("limit", PAGE_DEFAULT, least=1, most=PAGE_MAX),
    )


def _issuer(one: Issuer, count: int, here: frozenset[str]) -> wire.IssuerRow:
    certificate = x509.load_der_x509_certificate(one.certificate)
    facts = IssuerFacts.of(one.certificate)
    return wire.IssuerRow(
        issuer=one.issuer,
        name=certificate.subject.rfc4514_string(),
        role=one.role,
        status=one.status,
        key_type=key_type(load_key(facts.spki)),
        not_before=timestamp(int(certificate.not_valid_before_utc.timestamp())),
        not_after=timestamp(int(certificate.not_valid_after_utc.timestamp())),
        added_at=timestamp(one.added_at),
        crl_number=one.crl_number,
        certificates=count,
        is_here=one.issuer in here,
        pem=pem(one.certificate).decode(),
    )
