"""Where finished lists lie, and which of them is the one that counts.

The log says which list counts, the shelf has its bytes under their SHA-256. So any number of processes serve the same list, and
the next one takes its place in one step: with the record of its publication.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from quicklime.events import CRLPublishedV2
from quicklime.pki.shards import Scope
from quicklime.services.crl import view
from quicklime.web.status_message import Part


class Shelf(Protocol):
    """Contract (``tests/contracts/test_shelf.py``): a list that is found is whole."""

    def put(self, parts: Sequence[bytes]) -> bytes:
        """Lay down the list that ``parts`` make when joined; its SHA-256. Raises OSError."""
        ...

    def find(self, digest: bytes) -> bytes | Part | None:
        """The list with this SHA-256, to be sent; None where it is not here."""
        ...

    def has(self, digest: bytes) -> bool: ...

    def check(self, digest: bytes) -> bool:
        """Whether the list with this SHA-256 is here to the last octet. Takes time in proportion to its length."""
        ...

    def keep_only(self, digests: set[bytes]) -> None:
        """Let go of every other list, unless somebody may be about to read it."""
        ...


class Lists:
    """The lists that count, for whoever serves them. ``get`` reads the view's table."""

    def __init__(self, get: Callable[[str, bytes], bytes | None], shelf: Shelf) -> None:
        self._get = get
        self._shelf = shelf
        self._found: dict[bytes, tuple[bytes, bytes | Part]] = {}

    def published(self, scope: Scope, *, delta: bool = False) -> CRLPublishedV2 | None:
        """The list that counts, as the log has it; None where none was published."""
        data = self._get(view.NAME, view.published_key(scope, delta=delta))
        return None if data is None else view.decode_published(data)

    def body(self, published: CRLPublishedV2) -> bytes | Part | None:
        """Its bytes, to be sent; None where they are not here (any more, or yet)."""
        scope = Scope(issuer=published.issuer, shards=published.shards, shard=published.shard)
        key = view.published_key(scope, delta=published.base is not None)
        kept = self._found.get(key)
        if kept is not None and kept[0] == published.crl_sha256:
            return kept[1]
        found = self._shelf.find(published.crl_sha256)
        if found is not None:
            self._found[key] = (published.crl_sha256, found)
        return found
