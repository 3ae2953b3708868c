"""`quicklime`, but its process kills itself at one step of the path, the moment it comes there after a file appears.

    python -m tests.support.killed STEP ARMED serve --config ...

SIGKILL, so nothing is flushed, closed or rolled back. What is replaced is a function of the program by one that does the same
and dies before or after it; the program itself knows nothing of this.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from quicklime.adapters.sqlite_log import SQLiteLog, writer
from quicklime.authority.issuers import Issuers, IssuingKey
from quicklime.cli import main
from quicklime.events import CertificateIssued, CertificatePlanned, CRLPublishedV2, Event
from quicklime.log import Entry
from quicklime.projection import Projector, View
from quicklime.services.monitor import view as monitor_view

STEPS = (
    "before the plan",
    "after the plan",
    "after the signature",
    "after the record, before the answer",
    "in the middle of a group of appends",
    "while a view is written",
    "before a CRL is signed",
    "after a CRL is signed",
    "after a CRL is recorded",
)


class Killer:
    """Dies when told so, if the time has come."""

    def __init__(self, armed: Path) -> None:
        self._armed = armed

    def here(self) -> None:
        if self._armed.exists():
            os.kill(os.getpid(), signal.SIGKILL)

    def at(self, step: str) -> None:
        """Replace the one function."""
        match step:
            case "before the plan":
                self._around_append(CertificatePlanned, before=True)
            case "after the plan":
                self._around_append(CertificatePlanned, before=False)
            case "after the signature":
                self._after_signature(crl=False)
            case "after the record, before the answer":
                self._around_append(CertificateIssued, before=False)
            case "in the middle of a group of appends":
                self._between_the_statements_of_a_group()
            case "while a view is written":
                self._while_a_view_is_written()
            case "before a CRL is signed":
                self._before_signature_of_a_crl()
            case "after a CRL is signed":
                self._after_signature(crl=True)
            case "after a CRL is recorded":
                self._around_append(CRLPublishedV2, before=False)
            case _:
                raise SystemExit(f"{step!r} is not one of {STEPS!r}")

    def _around_append(self, event: type[Event], *, before: bool) -> None:
        append = SQLiteLog.append

        async def dying(log: SQLiteLog, entries: Sequence[Entry]) -> int:
            meant = any(entry.type == event.TYPE for entry in entries)
            if meant and before:
                self.here()
            offset = await append(log, entries)
            if meant:
                self.here()
            return offset

        SQLiteLog.append = dying  # type: ignore[assignment,method-assign]

    def _after_signature(self, *, crl: bool) -> None:
        sign = Issuers.sign

        async def dying(issuers: Issuers, key: IssuingKey, data: bytes) -> bytes:
            signature = await sign(issuers, key, data)
            if _is_crl(data) == crl:
                self.here()
            return signature

        Issuers.sign = dying  # type: ignore[assignment,method-assign]

    def _before_signature_of_a_crl(self) -> None:
        sign = Issuers.sign

        async def dying(issuers: Issuers, key: IssuingKey, data: bytes) -> bytes:
            if _is_crl(data):
                self.here()
            return await sign(issuers, key, data)

        Issuers.sign = dying  # type: ignore[assignment,method-assign]

    def _between_the_statements_of_a_group(self) -> None:
        writer.STATEMENT_ROWS_MAX = 1  # so that any group is a transaction of several statements
        insert: Callable[..., int] = writer._insert_some
        inside = [0]

        @functools.wraps(insert)
        def dying(connection: Any, rows: Any) -> int:
            last = insert(connection, rows)
            if connection.in_transaction:
                inside[0] += 1
                if inside[0] > 1:
                    self.here()
            else:
                inside[0] = 0
            return last

        writer._insert_some = dying

    def _while_a_view_is_written(self) -> None:
        """After the lives and some views have their puts, before the write ends."""
        init = Projector.__init__

        def dying(projector: Projector, reader: Any, store: Any, views: Sequence[View]) -> None:
            init(projector, reader, store, [self._dying_view(view) for view in views])

        Projector.__init__ = dying  # type: ignore[assignment,method-assign]

    def _dying_view(self, view: View) -> View:
        if view.name != monitor_view.NAME:
            return view

        def project(offset: int, event: Event, changes: Any) -> Iterable[tuple[bytes, bytes | None]]:
            yield from view.project(offset, event, changes)
            if isinstance(event, CertificateIssued):
                self.here()

        return View(name=view.name, version=view.version, project=project)


def _is_crl(data: bytes) -> bool:
    """A TBSCertificate begins with its version, [0]; a TBSCertList with an INTEGER (RFC 5280, Sections 4.1 and 5.1)."""
    return data[2 + (data[1] & 0x7F if data[1] & 0x80 else 0)] == 0x02


if __name__ == "__main__":
    Killer(Path(sys.argv[2])).at(sys.argv[1])
    sys.argv[1:] = sys.argv[3:]
    main()
