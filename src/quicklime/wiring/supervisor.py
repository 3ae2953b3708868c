"""Start the processes of one server, restart those that die, end them all together.

The supervisor opens nothing that must not be open across a ``fork``: no thread, no event loop, no log, no view, no key. So its
children may be forked, which costs a fraction of a start of the interpreter, and most of their memory is shared with it.

Invariant: a worker that ends unasked is told in the log and replaced, sooner or later by how it fared; the others go on serving
from the same sockets meanwhile. When the supervisor is gone, however it went, its workers see it and end.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from quicklime.codec import Undecodable
from quicklime.errors import BrokenState, Fault
from quicklime.telemetry import Lines
from quicklime.wiring.posts import Post

RESTART_SECONDS_MIN = 0.1
# one that came as far as serving is missed; one that does not start will hardly start a moment later
RESTART_SECONDS_MAX = 2.0
START_AGAIN_SECONDS_MAX = 30.0
STEADY_SECONDS = 10.0
START_LOOK_SECONDS = 0.05
STOP_SECONDS_MAX = 13.0

EXIT_FAILED = 1
_READY = b"ready "
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What binds a worker to its supervisor: it calls ``ready`` once, with a word for whoever started the server.

    ``gone`` becomes readable when the supervisor is no more, and is None where there is none.
    ``first`` is False for one that replaces another and may have siblings
    at work.
    """

    ready: Callable[[str], None]
    gone: int | None
    first: bool


Work = Callable[[Post, Ties], None]
"""What a worker does, until SIGTERM or ``gone``; returns when it has ended well."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    post: Post
    pid: int = 0
    said: int = -1
    since: float = 0.0
    served: bool = False
    word: str = ""
    failures: int = 0
    due: float | None = field(default=None)


class _Problem(msgspec.Struct, frozen=True):
    """Why a worker could not start, for the supervisor to raise again."""

    message: str
    hint: str
    undecodable: bool = False


class Supervisor:
    """Runs one worker per post; the first post's is ready before the others start."""

    def __init__(self, posts: Sequence[Post], work: Work, lines: Lines) -> None:
        self._workers = [_Worker(post=post) for post in posts]
        self._work = work
        self._lines = lines
        self._gone, self._alive = os.pipe()

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT; ``on_ready`` gets the first post's word. Raises what a worker could not start for."""
        if sum(1 for _ in Path("/proc/self/task").iterdir()) != 1:
            raise Fault("a thread runs in the supervisor: it would not be in the workers")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        # what is here stays, in all processes: no collection writes to its pages, so they stay shared
        gc.collect()
        gc.freeze()
        try:
            if self._start():
                on_ready(self._workers[0].word)
                self._watch()
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(self._gone)
            os.close(self._alive)

    # --- start ------------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Start every worker; False where we were asked to stop meanwhile. Raises where one can't."""
        for group in (self._workers[:1], self._workers[1:]):
            for worker in group:
                self._fork(worker, first=True)
            for worker in group:
                if not self._await_ready(worker):
                    return False
        return True

    def _fork(self, worker: _Worker, *, first: bool) -> None:
        said, say = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(self._alive)
            os.close(said)
            for other in self._workers:
                if other.said >= 0:
                    os.close(other.said)
            os._exit(self._as_worker(worker.post, say, first=first))
        os.close(say)
        if worker.said >= 0:
            os.close(worker.said)
        worker.pid, worker.said, worker.since = pid, said, time.monotonic()
        worker.served, worker.due = False, None
        self._lines.worker_started(worker.post.name, pid)

    def _as_worker(self, post: Post, say: int, *, first: bool) -> int:
        """In the child: do the work; the exit code."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            ties = Ties(
                ready=lambda word: _say(say, _READY + word.encode() + b"\n"), gone=self._gone, first=first
            )
            self._work(post, ties)
        except Fault as error:
            hint = error.hint if isinstance(error, BrokenState) else ""
            problem = _Problem(str(error), hint, isinstance(error, Undecodable))
            _say(say, msgspec.json.encode(problem))
            return EXIT_FAILED
        except BaseException as error:  # noqa: BLE001  a process ends here: whatever it is must be seen
            traceback.print_exc()
            _say(say, msgspec.json.encode(_Problem(f"{type(error).__name__}: {error}", "")))
            return EXIT_FAILED
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _await_ready(self, worker: _Worker) -> bool:
        """Wait for the worker's word; False where a signal came first that ends us. Raises what it could not start for."""
        while not select.select([worker.said], [], [], START_LOOK_SECONDS)[0]:
            if self._asked_to_stop(0):
                return False
        said = os.read(worker.said, 65536)
        if said.startswith(_READY):
            worker.served, worker.word = True, said.removeprefix(_READY).decode().strip()
            return True
        self._reap()
        raise _problem_of(worker.post.name, said)

    # --- watch ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while True:
            due = [worker.due for worker in self._workers if worker.due is not None]
            if self._asked_to_stop(max(0.0, min(due) - time.monotonic()) if due else None):
                return
            self._reap()
            for worker in self._workers:
                if worker.due is not None and worker.due <= time.monotonic():
                    self._fork(worker, first=False)

    def _asked_to_stop(self, seconds: float | None) -> bool:
        """Wait for a signal, at most ``seconds``; whether it was one that ends us."""
        found = signal.sigwaitinfo(_SIGNALS) if seconds is None else signal.sigtimedwait(_SIGNALS, seconds)
        return found is not None and found.si_signo != signal.SIGCHLD

    def _reap(self) -> None:
        """See who ended, and when to replace them."""
        for worker in self._workers:
            if not worker.pid or not (status := _ended(worker.pid)):
                continue
            served, why = _last_words(worker.said)
            steady = time.monotonic() - worker.since >= STEADY_SECONDS
            worker.failures = 0 if steady else worker.failures + 1
            longest = RESTART_SECONDS_MAX if worker.served or served else START_AGAIN_SECONDS_MAX
            seconds = min(RESTART_SECONDS_MIN * 2**worker.failures, longest)
            worker.due = time.monotonic() + seconds
            self._lines.worker_ended(worker.post.name, worker.pid, status, why, seconds)
            worker.pid = 0

    # --- stop -------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """End all: those that serve first, then the upkeep that they may still ask."""
        until = time.monotonic() + STOP_SECONDS_MAX
        for group in (self._workers[1:], self._workers[:1]):
            for worker in group:
                _signal(worker.pid, signal.SIGTERM)
            for worker in group:
                while worker.pid and not _ended(worker.pid):
                    if time.monotonic() > until:
                        _signal(worker.pid, signal.SIGKILL)
                    signal.sigtimedwait(_SIGNALS, START_LOOK_SECONDS)
                worker.pid = 0
        for worker in self._workers:
            if worker.said >= 0:
                os.close(worker.said)
                worker.said = -1


def _say(pipe: int, what: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(pipe, what[:4096])


def _ended(pid: int) -> str:
    """How the process ended; empty while it runs."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "unknown"
    if not found:
        return ""
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _last_words(pipe: int) -> tuple[bool, str]:
    """Whether a worker that ended had served, and what it had to say about its end; empty where nothing."""
    said = b""
    while select.select([pipe], [], [], 0)[0] and (more := os.read(pipe, 65536)):
        said += more
    ready, end, problem = said.partition(b"\n") if said.startswith(_READY) else (b"", b"", said)
    return bool(ready and end), str(_problem_of("", problem)) if problem else ""


def _problem_of(name: str, said: bytes) -> Fault:
    try:
        problem = msgspec.json.decode(said, type=_Problem)
    except msgspec.MsgspecError:
        return Fault(f"the worker {name!r} ended at its start; the lines above say why")
    if problem.undecodable:
        return Undecodable(problem.message)
    if problem.hint:
        return BrokenState(problem.message, hint=problem.hint)
    return Fault(problem.message)


def _signal(pid: int, number: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
