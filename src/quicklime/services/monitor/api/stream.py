"""What happens, as it happens: server-sent events (HTML Living Standard, Section 9.2) whose id is the offset of the log.

A browser that was away sends ``Last-Event-ID`` and gets every record after it, exactly: none twice, none left out. A record
is told when the dashboard's view has it, so whoever asks after hearing of it sees it. A stream ends by itself before the
server's limit for a request; the browser takes up the next one where this one ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from quicklime.errors import Code, Refused
from quicklime.policy import check_permission
from quicklime.projection.tabular import Tabular, ViewUnreadable
from quicklime.services.monitor import wire
from quicklime.services.monitor.api.query import Query
from quicklime.services.monitor.queries import records
from quicklime.services.monitor.queries.moment import head
from quicklime.web.auth import Guard

PATH = "/v1/monitor/stream"
MEDIA_TYPE = "text/event-stream"
LOOK_SECONDS = 0.2
QUIET_SECONDS = 10.0
STREAM_SECONDS_MAX = 45.0
RETRY_MILLISECONDS = 500
RECORDS_AT_ONCE_MAX = 200
STREAMS_MAX = 200

_encode = msgspec.json.Encoder().encode


class Ticker:
    """Looks at the view's head for everybody who listens in this process, and not at all where nobody does."""

    def __init__(self, index: Tabular) -> None:
        self._index = index
        self._head = -1
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.listeners = 0
        self.closed = False

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        self.listeners += 1
        if self._task is None:
            self._task = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self.listeners -= 1
            if self.listeners == 0 and self._task is not None:
                self._task.cancel()
                self._task = None

    async def wait(self, offset: int, seconds: float) -> bool:
        """Until a record after ``offset`` is in the view, or the time is up; says which."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._head <= offset and not self.closed:
                    await self._changed.wait()
        return self._head > offset

    async def _look(self) -> None:
        while not self.closed:
            with contextlib.suppress(ViewUnreadable):  # it is being made anew
                found = await asyncio.to_thread(head, self._index)
                if found != self._head:
                    self._head = found
                    self._wake()
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """End every stream: the server stops."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def routes(index: Tabular, guard: Guard, ticker: Ticker) -> list[Route]:
    async def stream_records(request: Request) -> Response:
        check_permission(guard.identify(request), "read")
        query = Query(request)
        after = query.number_or_none("after")
        query.done()
        last = request.headers.get("last-event-id", "")
        if last:
            if not last.isascii() or not last.isdecimal() or len(last) > 16:
                raise Refused(Code.REQUEST_MALFORMED, "Last-Event-ID is not an offset", field="Last-Event-ID")
            after = int(last)
        if ticker.listeners >= STREAMS_MAX:
            raise Refused(Code.BUSY, f"{STREAMS_MAX} streams are open already")
        try:
            start = await asyncio.to_thread(head, index) if after is None else after
        except ViewUnreadable:
            raise Refused(Code.BUSY, "the dashboard's view is being made of the log") from None
        return StreamingResponse(
            _events(index, ticker, start), media_type=MEDIA_TYPE, headers={"x-accel-buffering": "no"}
        )

    return [Route(PATH, stream_records, methods=["GET"])]


async def _events(index: Tabular, ticker: Ticker, last: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_SECONDS_MAX
    # the id comes first: whoever is cut off before anything happens goes on from here
    yield f"retry: {RETRY_MILLISECONDS}\nid: {last}\nevent: begin\ndata: {last}\n\n".encode()
    async with ticker.listening():
        while not ticker.closed and (left := end - loop.time()) > 0:
            if not await ticker.wait(last, min(QUIET_SECONDS, left)):
                yield b": quiet\n\n"
                continue
            try:
                found = await asyncio.to_thread(records.since, index, last, RECORDS_AT_ONCE_MAX)
            except ViewUnreadable:
                return
            if found:
                last = found[-1].offset
                yield b"".join(map(_event, found))


def _event(record: wire.RecordRow) -> bytes:
    return b"id: %d\nevent: record\ndata: %s\n\n" % (record.offset, _encode(record))
