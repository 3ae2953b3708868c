"""Copy a log to another place, record by record: the same offsets, the same bytes, hence the same digests.

Invariant: what stands in the target is the source's beginning, to the byte, before, during and after; anything else is refused
before a record is written. So a copy that was cut off goes on where it was, and a copy of a copy is the log.

A page is one append, which stands whole or not at all. Where its answer was lost the copy ends, and the next run finds out.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from quicklime.errors import BrokenState
from quicklime.log import Entry, Log, Reader, Record
from quicklime.wiring.backends import SQLITE, open_url

if TYPE_CHECKING:
    from quicklime.config import Config

Progress = Callable[[str], None]

PAGE_RECORDS_MAX = 500
PAGE_OCTETS_MAX = 512 << 10
TOLD_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """``digest`` (SHA-256, hex) is over every record of both: the length of its type and value, then these."""

    records: int
    copied: int
    digest: str


def copy_log(config: Config, source_url: str, target_url: str, progress: Progress) -> Copied:
    """Bring the target to where the source is, and compare all of it. A file is made; a topic must be there.

    Raises BrokenState where the target is not the source's beginning, or either changes meanwhile; LogUnreadable, AppendFailed,
    AppendUnknown: run it again.
    """
    if source_url == target_url:
        raise BrokenState(f"{source_url} is source and target", hint="name two places")
    with (
        contextlib.closing(open_url(config, source_url, as_it_is=True)) as source,
        contextlib.closing(_open_target(config, target_url)) as target,
    ):
        head, begun = source.head(), target.head()
        if begun > head:
            raise BrokenState(
                f"{target_url} holds {begun} records, {source_url} only {head}",
                hint="turn them round, or name another target",
            )
        tell = _told(progress)
        # before anything is written: the target's first and last records, so that a wrong one is found at once
        for offset in {0, begun - 1} if begun else ():
            _check_same(offset, source.read(offset, 1), target.read(offset, 1))
        asyncio.run(_copy(source, target, begun, head, tell))
        digest = _compare(source, target, head, tell)
        if source.head() != head or target.head() != head:
            raise BrokenState(
                "records came in while the log was copied",
                hint="stop the authority, then run it again: it goes on where it was",
            )
    return Copied(records=head, copied=head - begun, digest=digest)


async def _copy(source: Reader, target: Log, start: int, head: int, tell: Progress) -> None:
    while start < head:
        for page in _pages(source.read(start, min(PAGE_RECORDS_MAX, head - start))):
            first = await target.append([Entry(record.type, record.value) for record in page])
            if first != start:
                raise BrokenState(
                    f"record {start} came to stand at {first}: somebody else writes into the target",
                    hint="let nobody use it, and begin with an empty one",
                )
            start += len(page)
        tell(f"copied {start} of {head} records")


def _pages(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    page: list[Record] = []
    octets = 0
    for record in records:
        octets += len(record.value)
        if page and octets > PAGE_OCTETS_MAX:
            yield page
            page, octets = [], len(record.value)
        page.append(record)
    if page:
        yield page


def _compare(source: Reader, target: Reader, head: int, tell: Progress) -> str:
    hasher = sha256()
    start = 0
    while start < head:
        ours, theirs = source.read(start), target.read(start)
        count = min(len(ours), len(theirs), head - start)
        _check_same(start, ours[:count], theirs[:count])
        for record in ours[:count]:
            for part in (record.type.encode(), record.value):
                hasher.update(len(part).to_bytes(8, "big"))
                hasher.update(part)
        start += count
        tell(f"compared {start} of {head} records")
    return hasher.hexdigest()


def _check_same(start: int, ours: Sequence[Record], theirs: Sequence[Record]) -> None:
    if list(ours) == list(theirs) and ours:
        return
    place = next((one.offset for one, other in zip(ours, theirs, strict=False) if one != other), start)
    raise BrokenState(
        f"record {place} of the target is another than the source's: they are logs of two authorities, or damaged",
        hint="name an empty target; nothing was changed in this one",
    )


def _open_target(config: Config, url: str) -> Log:
    new = url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists()
    return open_url(config, url, create=new)


def _told(progress: Progress) -> Progress:
    told = time.monotonic()

    def tell(what: str) -> None:
        nonlocal told
        if time.monotonic() - told > TOLD_SECONDS:
            told = time.monotonic()
            progress(what)

    return tell
