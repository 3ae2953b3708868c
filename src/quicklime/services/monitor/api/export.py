"""The inventory as a file: CSV (RFC 4180) or JSON, in the order and with the filters of the list, page after page.

A cell that a spreadsheet would take for a formula is written with an apostrophe before it: names and nodes are others' words.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from quicklime.errors import Code, Refused
from quicklime.policy import check_permission
from quicklime.projection.tabular import ViewUnreadable
from quicklime.services.monitor import wire
from quicklime.services.monitor.api.dashboard import PREFIX, Sources, wanted_of
from quicklime.services.monitor.api.query import Query
from quicklime.services.monitor.queries import inventory
from quicklime.services.monitor.queries.moment import Moment, moment_of
from quicklime.web.auth import Guard

PAGE = 500
ROWS_MAX = 100_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = (
    "serial",
    "status",
    "names",
    "node",
    "profile",
    "issuer",
    "key_type",
    "not_before",
    "not_after",
    "issued_at",
    "due_at",
    "replaced_by",
    "replaced_at",
    "revoked_at",
    "reason",
    "requester",
    "fingerprint",
    "offset",
)

_encode = msgspec.json.Encoder().encode


def routes(sources: Sources, guard: Guard) -> list[Route]:
    """The routes of the exports; each takes the filters of the list."""

    async def asked(request: Request) -> AsyncIterator[list[wire.CertificateRow]]:
        check_permission(guard.identify(request), "read")
        query = Query(request)
        as_of = query.text("as_of")
        wanted = replace(wanted_of(query), limit=PAGE, after=None)
        query.done()
        try:
            # the moment is the same for every page, and so is what they know of
            moment = await asyncio.to_thread(
                moment_of, sources.index, as_of, sources.clock(), sources.log_head()
            )
            first = await asyncio.to_thread(inventory.page, sources.index, wanted, moment)
        except ViewUnreadable:
            raise Refused(Code.BUSY, "the dashboard's view is being made of the log") from None
        return _pages(sources, wanted, moment, first)

    async def export_csv(request: Request) -> Response:
        pages = await asked(request)
        return _file(_csv(pages), "text/csv; charset=utf-8; header=present", "csv")

    async def export_json(request: Request) -> Response:
        pages = await asked(request)
        return _file(_json(pages), "application/json", "json")

    return [
        Route(f"{PREFIX}/export.csv", export_csv, methods=["GET"]),
        Route(f"{PREFIX}/export.json", export_json, methods=["GET"]),
    ]


def _file(content: AsyncIterator[bytes], media_type: str, kind: str) -> Response:
    headers = {
        "content-disposition": f'attachment; filename="certificates.{kind}"',
        "content-type": media_type,
    }
    return StreamingResponse(content, headers=headers)


async def _pages(
    sources: Sources, wanted: inventory.Wanted, moment: Moment, page: wire.CertificatePage
) -> AsyncIterator[list[wire.CertificateRow]]:
    left = ROWS_MAX
    while True:
        yield page.certificates[:left]
        left -= len(page.certificates)
        if page.next is None or left <= 0:
            return
        following = replace(wanted, after=page.next)
        page = await asyncio.to_thread(inventory.page, sources.index, following, moment)


async def _csv(pages: AsyncIterator[list[wire.CertificateRow]]) -> AsyncIterator[bytes]:
    yield _lines([COLUMNS])
    async for rows in pages:
        if rows:
            yield _lines([_cells(one) for one in rows])


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cells(one: wire.CertificateRow) -> list[str]:
    values = {name: getattr(one, name) for name in COLUMNS} | {
        "names": " ".join(one.names),
        "requester": f"{one.requester.kind} {one.requester.id}",
    }
    return [_harmless("" if value is None else str(value)) for value in values.values()]


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


async def _json(pages: AsyncIterator[list[wire.CertificateRow]]) -> AsyncIterator[bytes]:
    between = b"["
    async for rows in pages:
        for one in rows:
            yield between + _encode(one)
            between = b",\n"
    yield b"[]" if between == b"[" else b"]\n"
