"""Snapshots of the views: which records they have seen, of which log, in which layout. So a start need not read the whole log.

Invariant: a snapshot is used only where it fits: its tables are those that this version would make, of the first records of
this very log. What it holds is not looked at again; its SHA-256 shows that it is what was written.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from quicklime.log import Reader
from quicklime.projection.projector import Checkpoint

FORMAT = "quicklime-view-snapshot-v1"


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a snapshot says of itself.

    ``offset`` is that of the first record that its tables have not seen, ``origin`` the SHA-256 of record 0, ``last`` that of
    the last record seen, ``sha256`` that of the image's ``octets`` octets. All hexadecimal.
    """

    format: str
    layout: str
    offset: int
    origin: str
    last: str
    octets: int
    sha256: str

    @classmethod
    def of(cls, checkpoint: Checkpoint, reader: Reader, *, octets: int, digest: str) -> Snapshot:
        """The snapshot of an image of ``octets`` octets that has come to ``checkpoint``."""
        return cls(
            format=FORMAT,
            layout=checkpoint.layout,
            offset=checkpoint.offset,
            origin=checkpoint.origin.hex(),
            last=_hash_of(reader, checkpoint.offset - 1),
            octets=octets,
            sha256=digest,
        )


def why_unfit(snapshot: Snapshot, layout: str, reader: Reader) -> str | None:
    """Why the snapshot does not fit this version and this log; None where it does. Raises LogUnreadable."""
    if snapshot.format != FORMAT:
        return f"it is of the format {snapshot.format[:80]!r}, expected {FORMAT!r}"
    if snapshot.layout != layout:
        return f"its tables are {snapshot.layout[:200]!r}, those of this version {layout!r}"
    if snapshot.origin != _hash_of(reader, 0):
        return "it is of another log"
    head = reader.head()
    if not 0 < snapshot.offset <= head:
        return f"it has seen {snapshot.offset} records, of which the log has {head}"
    if snapshot.last != _hash_of(reader, snapshot.offset - 1):
        return f"the log has another record {snapshot.offset - 1} than it has seen"
    return None


def _hash_of(reader: Reader, offset: int) -> str:
    found = reader.read(offset, 1) if offset >= 0 else ()
    return sha256(found[0].value).hexdigest() if found else ""
