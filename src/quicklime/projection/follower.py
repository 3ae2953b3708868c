"""Run a projector on a thread of its own, and wake whoever waits for an offset."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from quicklime.errors import Fault
from quicklime.log import LogUnreadable, Reader
from quicklime.projection.projector import Projector
from quicklime.projection.state import State

WAIT_SECONDS = 0.5
STOP_SECONDS_MAX = 10.0
REACH_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    offset: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    until: float


class Follower:
    """Runs a projector on a thread of its own and wakes whoever waits for an offset.

    ``authority`` is as the records before the checkpoint have it, at hand without a look into the store.
    ``stalled`` says why the thread stopped (a poison record, an unreadable store): readiness and waiters see it.
    """

    def __init__(self, reader: Reader, projector: Projector) -> None:
        self._reader = reader
        self._projector = projector
        self._reached = projector.checkpoint()
        self._state = State(projector.store.get)
        self.authority = self._state.authority()
        self._waiters: list[_Waiter] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self.stalled: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=STOP_SECONDS_MAX)

    @property
    def checkpoint(self) -> int:
        return self._reached

    def lag(self) -> int:
        """How many records the view is behind the log. Raises LogUnreadable."""
        return max(0, self._reader.head() - self._reached)

    async def reached(self, offset: int) -> None:
        """Return once the record at ``offset`` is in the view. Raises Fault where the projector has stopped."""
        if self._reached > offset:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._reached > offset:
                return
            if self.stalled is not None:
                raise Fault(f"the projector stopped: {self.stalled}")
            self._waiters.append(_Waiter(offset, loop, future, time.monotonic() + REACH_SECONDS_MAX))
        await future

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                applied = self._projector.advance()
                # asked of the store, not counted: another process may project into it too
                self._wake(self._projector.checkpoint())
                if not applied:
                    self._give_up()
                    self._reader.wait(self._reached, WAIT_SECONDS)
            except LogUnreadable:
                self._give_up()
                self._stop.wait(WAIT_SECONDS)  # the log may come back; readiness shows the lag meanwhile
            except Exception as error:  # noqa: BLE001  whatever it is, it must be seen, not end in a dead thread
                self._fail(f"{type(error).__name__}: {error}")
                return

    def _wake(self, reached: int) -> None:
        # before anybody wakes, so that whoever brought in an issuer finds it
        self.authority = self._state.authority()
        with self._lock:
            self._reached = max(reached, self._reached)
            ready = [waiter for waiter in self._waiters if waiter.offset < self._reached]
            if not ready:
                return
            self._waiters = [waiter for waiter in self._waiters if waiter.offset >= self._reached]
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for waiter in ready:
            by_loop.setdefault(waiter.loop, []).append(waiter.future)
        for loop, futures in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits there any more
                loop.call_soon_threadsafe(_resolve, futures)

    def _give_up(self) -> None:
        """Tell those who have waited too long; a timer for each would cost every request."""
        now = time.monotonic()
        with self._lock:
            late = [waiter for waiter in self._waiters if waiter.until < now]
            if late:
                self._waiters = [waiter for waiter in self._waiters if waiter.until >= now]
        _reject_all(late, f"the view did not reach the offset in {REACH_SECONDS_MAX} s")

    def _fail(self, why: str) -> None:
        with self._lock:
            self.stalled = why
            waiters, self._waiters = self._waiters, []
        _reject_all(waiters, f"the projector stopped: {why}")


def _resolve(futures: Sequence[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _reject_all(waiters: Sequence[_Waiter], why: str) -> None:
    for waiter in waiters:
        with contextlib.suppress(RuntimeError):
            waiter.loop.call_soon_threadsafe(_reject, waiter.future, why)


def _reject(future: asyncio.Future[None], why: str) -> None:
    if not future.done():
        future.set_exception(Fault(why))
