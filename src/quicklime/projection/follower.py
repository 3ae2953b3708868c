"""Keep a view at the head of the log, and wake whoever waits for an offset.

Whoever waits under an event loop advances the view right there, for all who wait with him: no thread has to be woken, and
none competes for the interpreter. A thread stands behind it: for the records of other processes, for a store that is far
away, and for a process in which nobody waits.

Several processes may follow into one store. Each sees what the others have done by the checkpoint that stands there, which
costs a read; only who finds records that nobody has brought in, though there was time, takes the store's one turn to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from quicklime.errors import Fault
from quicklime.lifecycle import Changes
from quicklime.log import LogUnreadable, Reader
from quicklime.projection.projector import Applied, Projector
from quicklime.projection.state import State
from quicklime.projection.store import Losable, StoreUnavailable

WAIT_SECONDS = 0.5
# what the thread leaves to those who wait under a loop, before it does it itself
GRACE_SECONDS = 0.1
# how soon to look again whether another process, which has its turn at the store, has brought in what is waited for
BUSY_SECONDS_MIN = 0.001
BUSY_SECONDS_MAX = 0.05
RECENT_RECORDS_MAX = 4096
STOP_SECONDS_MAX = 10.0
REACH_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    offset: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Changes | None]
    until: float


class Follower:
    """Runs a projector and wakes whoever waits for an offset.

    ``authority`` is as the records before the checkpoint have it, at hand without a look into the store.
    ``stalled`` says why the thread stopped (a poison record, an unreadable store): readiness and waiters see it.
    """

    def __init__(self, reader: Reader, projector: Projector) -> None:
        self._reader = reader
        self._projector = projector
        self._reached = projector.checkpoint()
        self._state = State(projector.store.get)
        self.authority = self._state.authority()
        self._authority_due = False
        # on another machine: what is asked of it takes a message and its answer
        self._is_far = isinstance(projector.store, Losable)
        self._waiters: list[_Waiter] = []
        self._recent: dict[int, Changes] = {}
        self._lock = threading.Lock()
        self._looking: tuple[asyncio.AbstractEventLoop, asyncio.TimerHandle] | None = None
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)
        self.stalled: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wanted.set()
        self._thread.join(timeout=STOP_SECONDS_MAX)

    @property
    def checkpoint(self) -> int:
        """The offset of the first record that the view has not seen, whoever brought it there."""
        self._see_others()
        return self._reached

    def lag(self) -> int:
        """How many records the view is behind the log. Raises LogUnreadable."""
        head = self._reader.head()
        return max(0, head - self.checkpoint) if head > self._reached else 0

    async def reached(self, offset: int) -> Changes | None:
        """Return once the record at ``offset`` is in the view, with what it changed; None where another process put it there.

        Raises Fault where the projector has stopped.
        """
        while self._reached <= offset and self._advance_at_once():
            pass
        if self._reached > offset:
            return self._recent.get(offset)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Changes | None] = loop.create_future()
        with self._lock:
            if self._reached > offset:
                return self._recent.get(offset)
            if self.stalled is not None:
                raise Fault(f"the projector stopped: {self.stalled}")
            self._waiters.append(_Waiter(offset, loop, future, time.monotonic() + REACH_SECONDS_MAX))
        if self._is_far:
            self._wanted.set()
        else:
            self._look_soon(loop, BUSY_SECONDS_MIN)
        return await future

    def _advance_at_once(self) -> bool:
        """Bring the view forward if that makes nobody wait, or see that another process did; says whether it came further.

        What goes wrong is left to the thread, which meets it too, and tells it.
        """
        with contextlib.suppress(Exception):
            applied = self._projector.advance_at_once()
            if applied is None:
                return self._see_others()
            before = self._reached
            if applied.anew or applied.checkpoint > before:
                self._note(applied)
            return self._reached > before
        return False

    def _see_others(self) -> bool:
        """Take note of what other processes have brought into the view; says whether there was anything."""
        if self._is_far:
            return False  # a look would be a message, for which no loop waits: the thread sees it in its turn
        checkpoint = self._projector.checkpoint()
        if checkpoint <= self._reached:
            return False
        self._note(Applied(checkpoint, ()))
        return True

    def _look_soon(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Look again under ``loop`` as long as somebody waits: whoever has the store's turn has it for milliseconds."""
        if self._looking is None or self._looking[0] is not loop:
            self._looking = loop, loop.call_later(seconds, self._look, loop, seconds)

    def _look(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._looking = None
        advanced = self._advance_at_once()
        if self._waiters and not self._stop.is_set():
            self._look_soon(loop, BUSY_SECONDS_MIN if advanced else min(2 * seconds, BUSY_SECONDS_MAX))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                applied = self._projector.advance()
                if applied.anew or applied.checkpoint > self._reached:
                    self._note(applied)
                if not applied:
                    self._give_up()
                    self._wait()
            except (LogUnreadable, StoreUnavailable):
                self._give_up()
                self._stop.wait(WAIT_SECONDS)  # it may come back; readiness shows the lag meanwhile
            except Exception as error:  # noqa: BLE001  whatever it is, it must be seen, not end in a dead thread
                self._fail(f"{type(error).__name__}: {error}")
                return

    def _wait(self) -> None:
        """Return when records stand in the log that nobody brought into the view although there was time."""
        while not self._stop.is_set():
            if not self._reader.wait(self._reached, WAIT_SECONDS):
                self._stop.wait(GRACE_SECONDS)  # a log that can't wait must not keep us busy
                return
            head = self._reader.head()
            # whoever could not do it himself is not kept waiting
            self._wanted.wait(GRACE_SECONDS)
            self._wanted.clear()
            if self._reached < head:
                self._see_others()
            if self._reached < head:
                return

    def _note(self, applied: Applied) -> None:
        """Make known what was applied, and wake those who waited for it."""
        changes = dict(enumerate(applied.changes, applied.first))
        with self._lock:
            # where the store was not as we left it, another process projects into it too
            if (
                applied.anew
                or applied.first != self._reached
                or any(one.authority for one in applied.changes)
            ):
                self._authority_due = True
            if self._authority_due:
                # before anybody wakes, so that whoever brought in an issuer finds it
                with contextlib.suppress(StoreUnavailable):
                    self.authority = self._state.authority()
                    self._authority_due = False
            self._recent.update(changes)
            while len(self._recent) > RECENT_RECORDS_MAX:
                del self._recent[next(iter(self._recent))]
            # a store that was lost is behind, and says so until it is filled again
            self._reached = applied.checkpoint if applied.anew else max(applied.checkpoint, self._reached)
            ready = [waiter for waiter in self._waiters if waiter.offset < self._reached]
            if not ready:
                return
            self._waiters = [waiter for waiter in self._waiters if waiter.offset >= self._reached]
            answers = [(waiter, self._recent.get(waiter.offset)) for waiter in ready]
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiter, Changes | None]]] = {}
        for waiter, found in answers:
            by_loop.setdefault(waiter.loop, []).append((waiter, found))
        for loop, waiting in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits there any more
                loop.call_soon_threadsafe(_resolve, waiting)

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


def _resolve(answers: Sequence[tuple[_Waiter, Changes | None]]) -> None:
    for waiter, changes in answers:
        if not waiter.future.done():
            waiter.future.set_result(changes)


def _reject_all(waiters: Sequence[_Waiter], why: str) -> None:
    for waiter in waiters:
        with contextlib.suppress(RuntimeError):
            waiter.loop.call_soon_threadsafe(_reject, waiter.future, why)


def _reject(future: asyncio.Future[Changes | None], why: str) -> None:
    if not future.done():
        future.set_exception(Fault(why))
