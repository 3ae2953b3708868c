"""The entries of one shard, joined as they stand in a list: what is new is put at the end, and nothing is read twice.

A list of a million entries is then made by copying, not by encoding. Some 60 octets of memory an entry.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from quicklime.pki.shards import Scope
from quicklime.projection import Store
from quicklime.services.crl import view

PAGE = 1000


class Pile:
    """The entries of ``scope`` that the records before ``covers`` revoked. One thread at a time."""

    def __init__(self, store: Store, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._expired = (0, 0)
        self._empty()

    def _empty(self) -> None:
        self.covers = 0
        self._joined = bytearray()
        self._offsets = array("Q")
        self._starts = array("Q")
        self._ends = array("q")  # of the certificates' validity

    def __len__(self) -> int:
        return len(self._offsets)

    def bring(self, covers: int, expired_before: int, expired_covers: int) -> None:
        """Have exactly the entries of records before ``covers`` without those that are left out as expired.

        Left out are entries of records before ``expired_covers`` whose certificates ended before ``expired_before``.
        """
        before, until = self._expired
        if covers < self.covers or expired_before < before or expired_covers < until:
            # back in time: what was left out is needed again
            self._empty()
        self._expired = expired_before, expired_covers
        self._read_to(covers)
        self._leave_out(expired_before, bisect_left(self._offsets, expired_covers))

    def count_since(self, offset: int) -> int:
        return len(self._offsets) - bisect_left(self._offsets, offset)

    def since(self, offset: int) -> memoryview:
        """The entries of records from ``offset`` on. To be let go of before the pile changes."""
        place = bisect_left(self._offsets, offset)
        start = self._starts[place] if place < len(self._starts) else len(self._joined)
        return memoryview(self._joined)[start:]

    def _read_to(self, covers: int) -> None:
        table, prefix = view.NAME, view.entry_key(self._scope)
        after = view.entry_key(self._scope, self.covers - 1) if self.covers else None
        joined, parts, offset_of = self._joined, view.entry_parts, view.entry_offset
        while page := self._store.scan(table, prefix=prefix, after=after, limit=PAGE):
            for key, value in page:
                offset = offset_of(key)
                if offset >= covers:
                    break
                end, entry = parts(value)
                self._offsets.append(offset)
                self._starts.append(len(joined))
                self._ends.append(end)
                joined += entry
            else:
                after = page[-1][0]
                continue
            break
        self.covers = covers

    def _leave_out(self, before: int, count: int) -> None:
        """Of the first ``count`` entries those whose certificates ended before ``before``."""
        ends = self._ends
        if not count or min(ends[:count]) >= before:
            return
        kept = [place for place in range(len(ends)) if place >= count or ends[place] >= before]
        starts = self._starts
        starts.append(len(self._joined))
        data = bytes(self._joined)
        pieces = [data[starts[place] : starts[place + 1]] for place in kept]
        self._offsets = array("Q", (self._offsets[place] for place in kept))
        self._ends = array("q", (ends[place] for place in kept))
        self._joined = bytearray(b"".join(pieces))
        self._starts = array("Q")
        start = 0
        for piece in pieces:
            self._starts.append(start)
            start += len(piece)
