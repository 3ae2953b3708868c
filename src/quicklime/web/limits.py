"""What one client may ask of us: sizes of bodies, and how often. Every table is bounded; time is the monotonic clock's."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request

from quicklime.errors import Code, Refused

ADDRESSES_MAX = 10_000


async def read_body(request: Request, octets_max: int) -> bytes:
    """The whole body. Raises Refused (``request-too-large``) before more than ``octets_max`` were kept."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > octets_max:
        raise _too_large(octets_max)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Refused(Code.REQUEST_MALFORMED, "the client went away in the middle of the body")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > octets_max:
            raise _too_large(octets_max)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _too_large(octets_max: int) -> Refused:
    return Refused(Code.REQUEST_TOO_LARGE, f"the body has more than {octets_max} octets")


class Rate:
    """A token bucket per key: ``per_minute`` on average, ``burst`` at once.

    Beyond ``keys_max`` keys the one that was quiet longest is forgotten: an attacker with many addresses gets many buckets
    anyway, and memory stays what it is.
    """

    def __init__(
        self,
        per_minute: float,
        *,
        burst: int | None = None,
        keys_max: int = ADDRESSES_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_minute / 60
        self._burst = float(max(1, int(per_minute // 10)) if burst is None else burst)
        self._keys_max = keys_max
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, key: str) -> bool:
        """Whether ``key`` has something left, without taking it."""
        return self._level(key) >= 1

    def take(self, key: str) -> None:
        """Take one. Raises Refused (``rate-limited``) with the time to wait."""
        level = self._level(key)
        if level < 1:
            raise self.refusal(level)
        self._keep(key, level - 1)

    def spends(self, key: str) -> bool:
        """Take one if there is one; whether there was."""
        level = self._level(key)
        if level < 1:
            return False
        self._keep(key, level - 1)
        return True

    def note(self, key: str) -> None:
        """Take one if there is one."""
        self._keep(key, max(0.0, self._level(key) - 1))

    def refusal(self, level: float = 0.0) -> Refused:
        wait = max(1, round((1 - level) / self._per_second))
        return Refused(Code.RATE_LIMITED, "too many requests from this address", retry_after_seconds=wait)

    def _level(self, key: str) -> float:
        found = self._buckets.get(key)
        if found is None:
            return self._burst
        level, since = found
        return min(self._burst, level + (self._clock() - since) * self._per_second)

    def _keep(self, key: str, level: float) -> None:
        self._buckets[key] = (level, self._clock())
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)
