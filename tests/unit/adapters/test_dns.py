"""The DNS adapter against a name server on loopback that also misbehaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quicklime.adapters.dns import DNSResolver
from quicklime.validation import CAARecord, Unanswered
from tests.support.names import NameServer, serving_names


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    with serving_names() as found:
        found.put("web.internal", "A", "10.0.0.1", "10.0.0.2")
        found.put("web.internal", "AAAA", "fd00::1")
        found.put("_acme-challenge.web.internal", "TXT", '"one"', '"two" "parts"')
        found.put("alias.internal", "CNAME", "web.internal.")
        found.put("_acme-challenge.alias.internal", "CNAME", "_acme-challenge.web.internal.")
        found.put("loop.internal", "CNAME", "loop.internal.")
        found.put("web.internal", "CAA", '0 issue "ca.internal"', '128 future "x"')
        yield found


def _resolver(names: NameServer, **more: float) -> DNSResolver:
    return DNSResolver("127.0.0.1", names.port, **({"timeout_seconds": 2.0} | more))


async def test_records_of_each_kind(names: NameServer) -> None:
    resolver = _resolver(names)
    first, *others = await resolver.addresses("web.internal")
    assert first == "fd00::1"
    assert sorted(others) == ["10.0.0.1", "10.0.0.2"]
    assert sorted(await resolver.texts("_acme-challenge.web.internal")) == ["one", "twoparts"]
    assert sorted(await resolver.caa("web.internal"), key=lambda one: one.flags) == [
        CAARecord(flags=0, tag="issue", value="ca.internal"),
        CAARecord(flags=128, tag="future", value="x"),
    ]
    assert resolver.address == f"127.0.0.1:{names.port}"


async def test_aliases_are_followed_and_loops_end(names: NameServer) -> None:
    resolver = _resolver(names)
    assert "10.0.0.1" in await resolver.addresses("alias.internal")
    assert len(await resolver.texts("_acme-challenge.alias.internal")) == 2
    with pytest.raises(Unanswered, match="CNAMEs"):
        await resolver.texts("loop.internal")


async def test_no_name_and_no_record_are_answers(names: NameServer) -> None:
    resolver = _resolver(names)
    assert await resolver.addresses("none.internal") == []
    assert await resolver.texts("web.internal") == []
    assert await resolver.caa("none.internal") == []


async def test_a_failing_or_silent_server_is_no_answer(names: NameServer) -> None:
    names.broken.add("broken.internal")
    names.silent.add("silent.internal")
    with pytest.raises(Unanswered, match="SERVFAIL"):
        await _resolver(names).caa("broken.internal")
    with pytest.raises(Unanswered, match="no answer"):
        await _resolver(names, timeout_seconds=0.1).texts("silent.internal")
    with pytest.raises(Unanswered):
        await _resolver(names, timeout_seconds=0.1).addresses("silent.internal")


async def test_a_truncated_answer_is_asked_for_over_tcp(names: NameServer) -> None:
    names.truncated = True
    try:
        names.put("many.internal", "TXT", *(f'"{number:0200d}"' for number in range(100)))
        assert len(await _resolver(names).texts("many.internal")) == 100
    finally:
        names.truncated = False
    assert names.asked[-1] == ("many.internal", "TXT", "tcp")


async def test_an_answer_that_does_not_repeat_the_case_is_asked_for_over_tcp(names: NameServer) -> None:
    names.lower_case = True
    try:
        name = "a-name-of-many-letters-in-any-case.internal"
        names.put(name, "A", "10.0.0.9")
        assert await _resolver(names).addresses(name) == ["10.0.0.9"]
    finally:
        names.lower_case = False
    assert {transport for asked, _, transport in names.asked if asked == name} == {"udp", "tcp"}


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".internal", "." * 3, "\\300.internal"])
async def test_names_that_no_question_can_hold(names: NameServer, name: str) -> None:
    with pytest.raises(Unanswered):
        await _resolver(names).texts(name)
