"""Finished lists in a dictionary, and work that is done where it was asked for: for simulations, where nothing happens aside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class MemoryShelf:
    """``services.crl.shelf.Shelf``."""

    def __init__(self) -> None:
        self._lists: dict[bytes, bytes] = {}

    def put(self, parts: Sequence[bytes]) -> bytes:
        whole = b"".join(parts)
        digest = sha256(whole).digest()
        self._lists[digest] = whole
        return digest

    def find(self, digest: bytes) -> bytes | None:
        return self._lists.get(digest)

    def has(self, digest: bytes) -> bool:
        return digest in self._lists

    def check(self, digest: bytes) -> bool:
        return digest in self._lists

    def keep_only(self, digests: set[bytes]) -> None:
        self._lists = {digest: whole for digest, whole in self._lists.items() if digest in digests}


async def at_once(work: Callable[P, T], /, *arguments: P.args, **more: P.kwargs) -> T:
    """``authority.crls.Aside`` without a thread."""
    return work(*arguments, **more)
