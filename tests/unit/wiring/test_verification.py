"""`log verify`: what was tampered with, forged or copied is told at its offset; what only came too late is told apart."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from quicklime import codec
from quicklime.events import CertificateAbandoned, CertificateIssued, CertificatePlanned, Event
from quicklime.log import Entry, MemoryLog
from quicklime.wiring.verification import Report, verify
from tests.support.authority import AUTHORITY, running


async def history() -> list[Event]:
    """Founding, two certificates, a revocation."""
    async with running() as authority:
        one = await authority.issued("dns:one.lab.internal")
        await authority.issued("dns:two.lab.internal")
        answer = await authority.ask(
            "POST",
            f"/v1/certificates/{one['serial']}/revocation",
            json={"secret": one["revocation_secret"], "reason": 4},
        )
        assert answer.status_code == 200
        return authority.events()


async def report_over(events: list[Event], *, source: str = AUTHORITY, twice: int | None = None) -> Report:
    log = MemoryLog()
    for number, event in enumerate(events):
        of = AUTHORITY if number < len(events) - 1 else source
        value = codec.encode(event, event_id=f"{number:032x}", source=of, time_seconds=0)
        for _ in range(2 if twice == number else 1):
            await log.append([Entry(event.TYPE, value)])
    return verify(log, lambda _: None)


def place(events: list[Event], kind: type[Event], number: int = 0) -> int:
    return [offset for offset, event in enumerate(events) if isinstance(event, kind)][number]


async def test_an_honest_log_is_clean() -> None:
    events = await history()
    report = await report_over(events)
    assert (report.records, report.certificates, report.faults, report.late) == (len(events), 2, [], [])


def _flip_signature(events: list[Event]) -> int:
    at = place(events, CertificateIssued)
    issued = events[at]
    assert isinstance(issued, CertificateIssued)
    der = bytearray(issued.certificate)
    der[-1] ^= 1
    events[at] = msgspec.structs.replace(issued, certificate=bytes(der))
    return at


def _swap_certificates(events: list[Event]) -> int:
    first, second = (place(events, CertificateIssued, number) for number in (0, 1))
    one, two = events[first], events[second]
    assert isinstance(one, CertificateIssued)
    assert isinstance(two, CertificateIssued)
    events[first] = msgspec.structs.replace(one, certificate=two.certificate)
    return first


def _drop_plan(events: list[Event]) -> int:
    del events[place(events, CertificatePlanned)]
    return place(events, CertificateIssued)


def _other_tbs(events: list[Event]) -> int:
    at = place(events, CertificatePlanned)
    plan = events[at]
    assert isinstance(plan, CertificatePlanned)
    tbs = bytearray(plan.tbs)
    tbs[-1] ^= 1
    events[at] = msgspec.structs.replace(plan, tbs=bytes(tbs))
    return place(events, CertificateIssued)


@pytest.mark.parametrize(
    "tamper", [_flip_signature, _swap_certificates, _drop_plan, _other_tbs], ids=lambda one: one.__name__
)
async def test_what_was_tampered_with_is_a_fault_at_its_offset(tamper: Callable[[list[Event]], int]) -> None:
    events = await history()
    at = tamper(events)
    report = await report_over(events)
    assert at in {offset for offset, _ in report.faults}


async def test_a_record_that_was_delivered_twice_is_told() -> None:
    events = await history()
    at = place(events, CertificatePlanned)
    report = await report_over(events, twice=at)
    assert (at + 1, f"the id '{at:032x}' stands twice") in report.faults


async def test_a_record_of_another_authority_is_told() -> None:
    events = await history()
    report = await report_over(events, source="00000000-0000-4000-8000-000000000000")
    assert [offset for offset, _ in report.faults] == [len(events) - 1]


async def test_an_issuance_whose_plan_was_given_up_is_late_and_no_fault() -> None:
    events = await history()
    at = place(events, CertificateIssued)
    issued = events[at]
    assert isinstance(issued, CertificateIssued)
    # the revocation at the end is of this certificate, which is then none
    events.insert(at, CertificateAbandoned(serial=issued.serial, cause="", abandoned_at=0))
    report = await report_over(events)
    assert report.faults == []
    assert report.late == [at + 1]
    assert report.certificates == 1


async def test_another_certificate_under_a_plan_that_was_given_up_is_a_fault() -> None:
    events = await history()
    at = _swap_certificates(events)
    issued = events[at]
    assert isinstance(issued, CertificateIssued)
    events.insert(at, CertificateAbandoned(serial=issued.serial, cause="", abandoned_at=0))
    report = await report_over(events)
    assert report.late == []
    assert at + 1 in {offset for offset, _ in report.faults}


async def test_a_plan_past_its_deadline_is_not_finished_by_its_own_process_either() -> None:
    """A key that was slow: the plan is given up, nothing is handed out, and the log is clean."""
    async with running() as authority:
        sign = authority.issuers.sign_certificate

        async def slow(*arguments: object) -> bytes:
            signed = await sign(*arguments)  # type: ignore[arg-type]
            authority.clock.advance(60)
            return signed

        authority.issuers.sign_certificate = slow  # type: ignore[method-assign,assignment]
        with pytest.raises(AssertionError, match="certificate-not-issued"):
            await authority.issued("dns:late.lab.internal")
        events = authority.events()
        assert not [event for event in events if isinstance(event, CertificateIssued)]
        (given_up,) = [event for event in events if isinstance(event, CertificateAbandoned)]
        assert given_up.cause == "not signed by its deadline"
        report = verify(authority.log, lambda _: None)
        assert (report.faults, report.late) == ([], [])
