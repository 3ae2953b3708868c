"""How often and how much: buckets that fill with time, tables that do not grow, bodies that end at their limit."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from quicklime.errors import Code, Refused
from quicklime.web.limits import Rate, read_body


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(rate: Rate, key: str, times: int) -> int:
    """How many of ``times`` are allowed."""
    refusals: list[Refused] = []
    for _ in range(times):
        try:
            rate.take(key)
        except Refused as refused:
            refusals.append(refused)
    assert {refused.code for refused in refusals} <= {Code.RATE_LIMITED}
    assert all((refused.retry_after_seconds or 0) >= 1 for refused in refusals)
    return times - len(refusals)


def test_a_burst_and_then_so_many_a_minute() -> None:
    clock = Clock()
    rate = Rate(60, burst=5, clock=clock)
    assert taken(rate, "a", 10) == 5
    clock.now += 1
    assert taken(rate, "a", 10) == 1
    clock.now += 3.5
    assert taken(rate, "a", 10) == 3
    clock.now += 0.5
    assert taken(rate, "a", 10) == 1
    clock.now += 3600
    assert taken(rate, "a", 10) == 5


def test_keys_do_not_share() -> None:
    rate = Rate(60, burst=1, clock=Clock())
    assert taken(rate, "a", 2) == 1
    assert taken(rate, "b", 2) == 1


def test_the_time_to_wait_is_enough() -> None:
    clock = Clock()
    rate = Rate(6, burst=1, clock=clock)
    rate.take("a")
    with pytest.raises(Refused) as refused:
        rate.take("a")
    assert refused.value.retry_after_seconds == 10
    clock.now += 10
    rate.take("a")


def test_looking_takes_nothing_and_noting_refuses_nothing() -> None:
    rate = Rate(60, burst=2, clock=Clock())
    assert all(rate.allows("a") for _ in range(10))
    for _ in range(5):
        rate.note("a")
    assert not rate.allows("a")
    assert taken(rate, "a", 1) == 0


def test_the_table_stays_bounded_and_forgets_who_was_quiet_longest() -> None:
    clock = Clock()
    rate = Rate(60, burst=1, keys_max=100, clock=clock)
    for number in range(1000):
        rate.take(str(number))
    assert len(rate._buckets) == 100
    assert not rate.allows("999")
    assert rate.allows("0")
    # whoever is refused again and again is not forgotten for it
    rate = Rate(60, burst=2, keys_max=2, clock=clock)
    rate.take("a")
    rate.take("b")
    rate.take("a")
    rate.take("c")
    assert not rate.allows("a")


def test_whoever_goes_on_is_not_forgotten_by_being_refused() -> None:
    rate = Rate(60, burst=1, keys_max=3, clock=Clock())
    rate.take("a")
    for number in range(10):
        assert taken(rate, "a", 1) == 0, number
        rate.note("a")
    assert not rate.allows("a")


def test_without_a_burst_a_tenth_of_the_minute_is_one() -> None:
    assert taken(Rate(600, clock=Clock()), "a", 100) == 60
    assert taken(Rate(1, clock=Clock()), "a", 100) == 1


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 600), st.integers(1, 50))
def test_never_more_than_the_burst_and_what_time_gave(
    pauses: list[float], per_minute: int, burst: int
) -> None:
    clock = Clock()
    rate = Rate(per_minute, burst=burst, clock=clock)
    allowed = 0
    for pause in pauses:
        clock.now += pause
        allowed += taken(rate, "a", 3)
    assert allowed <= burst + (clock.now - 1000) * per_minute / 60 + 1e-6


# --- bodies ---------------------------------------------------------------------------------------------------------


class Body:
    """A body in chunks; ``asked`` counts how many were taken."""

    def __init__(self, chunks: Iterable[bytes], *, ends: bool = True, length: str | None = None) -> None:
        self.chunks = list(chunks)
        self.ends = ends
        self.length = length
        self.asked = 0

    async def receive(self) -> Message:
        self.asked += 1
        if self.chunks:
            chunk = self.chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks) or not self.ends}
        return {"type": "http.disconnect"}

    @property
    def request(self) -> Request:
        headers = [] if self.length is None else [(b"content-length", self.length.encode())]
        return Request({"type": "http", "method": "POST", "headers": headers}, self.receive)


async def test_a_body_in_pieces_is_one() -> None:
    assert await read_body(Body([b"ab", b"", b"c"]).request, 3) == b"abc"
    assert await read_body(Body([b""]).request, 3) == b""


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    body = Body([b"x" * 10], length="10")
    with pytest.raises(Refused) as refused:
        await read_body(body.request, 9)
    assert refused.value.code == Code.REQUEST_TOO_LARGE
    assert body.asked == 0


@pytest.mark.parametrize("length", [None, "5", "x", "-1", "\u00b2"])
async def test_a_body_that_does_not_say_so_is_read_to_the_limit(length: str | None) -> None:
    body = Body([b"x" * 4] * 1000, length=length)
    with pytest.raises(Refused) as refused:
        await read_body(body.request, 9)
    assert refused.value.code == Code.REQUEST_TOO_LARGE
    assert body.asked == 3


async def test_a_client_that_goes_away_has_sent_no_body() -> None:
    with pytest.raises(Refused) as refused:
        await read_body(Body([b"ab"], ends=False).request, 100)
    assert refused.value.code == Code.REQUEST_MALFORMED
