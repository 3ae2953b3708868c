"""Serve everything of one data directory: the API, status, and the work in the background.

Start: read the log to its head, give up the orphan plans of a process that died, obtain our own certificates through the
ordinary path, then listen. In one process, or in several under a supervisor: ``posts`` says which.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from quicklime.errors import BrokenState, Refused
from quicklime.pki.names import Constraints
from quicklime.services.ocsp.responder import Obtain, Obtained
from quicklime.telemetry import Lines, Metrics, configure, in_worker
from quicklime.web.server import listen
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.local import Local, open_local
from quicklime.wiring.parts.api import API
from quicklime.wiring.parts.responder_desk import Asked, asking, listen_at, node_of, obtain_from
from quicklime.wiring.parts.shared import Shop, shop
from quicklime.wiring.parts.status import Status
from quicklime.wiring.parts.upkeep import Upkeep
from quicklime.wiring.posts import Part, Post, posts_of
from quicklime.wiring.settings import api_url, check, status_url
from quicklime.wiring.supervisor import Supervisor, Ties

if TYPE_CHECKING:
    from quicklime.config import Config

Progress = Callable[[str], None]

PROJECTOR_SECONDS = 1.0
GC_ALLOCATIONS = 20_000
DESK = "responder-desk"
METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What runs now, as people are told."""

    api_url: str
    status_url: str
    root: Path
    first_token: Path | None
    example: str | None
    """A name to try: one that this authority may issue for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a server serves: its settings, its directory, the sockets that all its processes share."""

    config: Config
    directory: DataDirectory
    api: socket.socket
    status: socket.socket
    desk: socket.socket | None = None

    def served(self, example: str) -> Served:
        config, token = self.config, self.directory.first_token
        return Served(
            api_url=api_url(config, self.api.getsockname()[1]),
            status_url=status_url(config, self.status.getsockname()[1]),
            root=self.directory.root_certificate,
            first_token=token if token.exists() else None,
            example=example or None,
        )


def serve(config: Config, *, on_ready: Callable[[Served], None], progress: Progress) -> None:
    """Serve until SIGTERM or SIGINT. Raises BrokenState (data directory, ports), ConfigurationFault, Undecodable."""
    configure(config.logging.level, config.logging.format)
    directory = DataDirectory(config.data_dir)
    if not directory.is_initialised():
        raise BrokenState(
            f"no authority in {directory.path}",
            hint=f"quicklime init --data-dir {directory.path}, or quicklime up, which does both",
        )
    check(config)
    posts = posts_of(config.workers)
    with directory.serving(), _place(config, directory, alone=len(posts) == 1) as place:
        lines = Lines()

        def ready(example: str) -> None:
            lines.serving(_address(place.api), _address(place.status), str(directory.path))
            on_ready(place.served(example))

        if len(posts) == 1:
            ties = Ties(ready=ready, gone=None, first=True)
            _run(place, posts[0], ties, progress)
            return

        def work(post: Post, ties: Ties) -> None:
            in_worker(post.name, directory.workers / METRICS)
            _run(place, post, ties, progress if post == posts[0] else lambda _: None)

        Supervisor(posts, work, lines).run(ready)


@contextmanager
def _place(config: Config, directory: DataDirectory, *, alone: bool) -> Iterator[_Place]:
    # the ports first: if they are taken, nothing is written
    with (
        contextlib.closing(listen(config.api.host, config.api.port, "api")) as api,
        contextlib.closing(listen(config.status.host, config.status.port, "status")) as status,
    ):
        if alone:
            yield _Place(config=config, directory=directory, api=api, status=status)
            return
        shutil.rmtree(directory.workers, ignore_errors=True)
        (directory.workers / METRICS).mkdir(mode=0o700, parents=True)
        try:
            with contextlib.closing(listen_at(directory.workers / DESK)) as desk:
                yield _Place(config=config, directory=directory, api=api, status=status, desk=desk)
        finally:
            shutil.rmtree(directory.workers, ignore_errors=True)


def _run(place: _Place, post: Post, ties: Ties, progress: Progress) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(place, post, ties, progress))


async def _serve(place: _Place, post: Post, ties: Ties, progress: Progress) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if ties.gone is not None:
        loop.add_reader(ties.gone, stop.set)
    async with (
        open_local(place.config, progress=progress, keys=post.holds_issuing_keys) as local,
        AsyncExitStack() as running,
    ):
        if post.holds_issuing_keys:
            _check_key(local)
        made = shop(local, Lines(), Metrics(), post.number)
        await _start(made, post, place, ties, running)
        # what is here now stays: the collector need not look at it again with every generation
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS)
        ties.ready(_example(local.issuers.active().constraints) if Part.UPKEEP in post.parts else "")
        await stop.wait()
        made.lines.stopping()
        if ties.gone is not None:
            loop.remove_reader(ties.gone)


async def _start(made: Shop, post: Post, place: _Place, ties: Ties, running: AsyncExitStack) -> None:
    """Start the parts of this post; ``running`` ends them in the reverse order."""
    running.push_async_callback(made.close)
    if Part.UPKEEP in post.parts:
        upkeep = Upkeep(made)
        running.push_async_callback(upkeep.stop)
        await upkeep.start(place.desk, first=ties.first)
    if Part.STATUS in post.parts:
        status = Status(made, _obtain(made.local, post))
        running.push_async_callback(status.stop)
        await status.start(place.status, first=ties.first)
    if Part.API in post.parts:
        api = API(made, place.api.getsockname()[1])
        running.push_async_callback(api.stop)
        await api.start(place.api)
    made.always("projector", made.watch_projector, PROJECTOR_SECONDS)


def _obtain(local: Local, post: Post) -> Obtain:
    """How the responder here gets its certificate: from our own desk where we hold the issuing keys, or from who does."""
    if not post.holds_issuing_keys:
        return asking(local.directory.workers / DESK, post.number)
    grant = obtain_from(local.issuance)

    async def obtain(issuer: str, public_key: bytes, predecessor: str | None) -> Obtained:
        return await grant(Asked(issuer, public_key, node_of(issuer, post.number), predecessor))

    return obtain


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{host}:{port}"


def _example(constraints: Constraints) -> str:
    """A name that may be issued; empty where there is none to tell."""
    domains = [domain.lstrip(".") for domain in constraints.permitted_dns]
    return f"web.{'internal' if 'internal' in domains else domains[0]}" if domains else ""


def _check_key(local: Local) -> None:
    """Raises BrokenState where the key that is to sign is not here: nobody would be served, and retrying would not help."""
    try:
        local.issuers.active()
    except Refused as refused:
        raise BrokenState(
            refused.reasons[0].detail,
            hint=f"bring {local.directory.issuers} back from the backup, or bring in a new one: quicklime issuer rotate",
        ) from None
