"""Randomness from the operating system, drawn a page at a time: a certificate takes five small draws, each a system call."""

from __future__ import annotations

import os
import threading

PAGE_OCTETS = 4096


class Entropy:
    """``Entropy()(n)`` is n octets from the system's generator; no octet is given out twice, none outlives its use here.

    Every thread has its own page. A process that was forked must not go on with its parent's: make it after ``fork``.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._process = os.getpid()

    def __call__(self, octets: int) -> bytes:
        if octets > PAGE_OCTETS // 4:
            return os.urandom(octets)
        page: bytearray = getattr(self._local, "page", bytearray())
        if len(page) < octets or self._process != os.getpid():
            self._process = os.getpid()
            page = self._local.page = bytearray(os.urandom(PAGE_OCTETS))
        drawn = bytes(page[-octets:])
        del page[-octets:]
        return drawn
