"""For how long certificates are made: bounds, the last second, clocks that are wrong, and dates at which encodings change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.pki import der
from quicklime.pki.certificate import tbs_of
from quicklime.pki.profile import BUILTIN
from tests.support.authority import Authority, base64, certificate_of, codes_of, running, subscriber
from tests.support.lab import DAY, Lab, lab

SERVER = BUILTIN["server"]


def ends(certificate: x509.Certificate) -> tuple[int, int]:
    return int(certificate.not_valid_before_utc.timestamp()), int(certificate.not_valid_after_utc.timestamp())


async def asked(authority: Authority, **options: Any) -> tuple[int, int]:
    return ends(certificate_of(await authority.issued(**options)))


async def refused(authority: Authority, **options: object) -> list[str]:
    body = {"csr": base64(subscriber().csr("dns:web.lab.internal"))} | options
    answer = await authority.ask("POST", "/v1/certificates", token=authority.admin, json=body)
    return codes_of(answer)


async def test_ninety_days_are_ninety_days_with_their_last_second(authority: Authority) -> None:
    now = authority.clock.now
    start, end = await asked(authority, validity_seconds=SERVER.validity_seconds_max)
    # RFC 5280, Section 4.1.2.5: both ends are included, so the last second is one less
    assert end - start + 1 == SERVER.validity_seconds_max == 90 * DAY
    # backdated by what the profile says, and no more
    assert now - start == SERVER.backdate_seconds == 300


@pytest.mark.parametrize("seconds", [0, -1, 90 * DAY + 1, 1 << 62])
async def test_no_other_lifetime_is_given(authority: Authority, seconds: int) -> None:
    assert await refused(authority, validity_seconds=seconds) == ["validity-not-allowed"]


async def test_nobody_chooses_when_it_begins(authority: Authority) -> None:
    assert await refused(authority, not_before="2020-01-01T00:00:00Z") == ["request-malformed"]


async def test_no_certificate_outlives_its_issuer_and_an_issuer_at_its_end_issues_none() -> None:
    end = lab().facts.not_after
    async with running(now=end - 10 * DAY) as authority:
        assert (await asked(authority))[1] == end
        authority.clock.now = end - 3600
        assert (await asked(authority))[1] == end
        authority.clock.advance(1)
        assert await refused(authority) == ["issuer-unavailable"]


async def test_no_certificate_is_older_than_its_issuer() -> None:
    async with running(now=lab().facts.not_before + 10) as authority:
        assert (await asked(authority))[0] == lab().facts.not_before


def when(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # type: ignore[arg-type,misc]


def later(now: int) -> Lab:
    """An authority that was founded a week before."""
    return lab("ecdsa-p256", now - 7 * DAY)


@pytest.mark.parametrize(
    ("now", "end", "written"),
    [
        # RFC 5280, Section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050
        (when(2049, 12, 2, 0, 5), "2049-12-31T23:59:59", "491231235959Z"),
        (when(2049, 12, 2, 0, 5, 1), "2050-01-01T00:00:00", "20500101000000Z"),
        # 32 bits of signed seconds end here
        (when(2037, 12, 20, 3, 19, 8), "2038-01-19T03:14:07", "380119031407Z"),
        (when(2037, 12, 20, 3, 19, 9), "2038-01-19T03:14:08", "380119031408Z"),
        # a leap day, and the day that a year of 1900's kind has not
        (when(2028, 1, 30, 0, 5), "2028-02-28T23:59:59", "280228235959Z"),
        (when(2028, 1, 30, 0, 5, 1), "2028-02-29T00:00:00", "280229000000Z"),
        (when(2100, 1, 30, 0, 5, 1), "2100-03-01T00:00:00", "21000301000000Z"),
    ],
)
async def test_dates_at_which_something_changes(now: int, end: str, written: str) -> None:
    async with running(now=now, at=later(now)) as authority:
        certificate = certificate_of(await authority.issued())
    assert certificate.not_valid_after_utc == datetime.fromisoformat(end).replace(tzinfo=UTC)
    validity = der.children(tbs_of_certificate(certificate))[4]
    assert der.contents(der.children(validity)[1]).decode() == written


def tbs_of_certificate(certificate: x509.Certificate) -> bytes:
    return tbs_of(certificate.public_bytes(Encoding.DER))


async def test_a_clock_that_goes_back_an_hour_issues_on_and_every_answer_stays_in_order(
    authority: Authority,
) -> None:
    first = await authority.issued()
    authority.clock.advance(-3600)
    second = await authority.issued()
    # what counts is the place in the log, not the time in it
    assert second["log_offset"] > first["log_offset"]
    path = f"/v1/certificates/{first['serial']}/revocation"
    answer = await authority.ask("POST", path, token=authority.admin, json={"reason": "superseded"})
    assert answer.status_code == 200
    found = authority.state.certificate(first["serial"])
    assert found is not None
    assert found.revocation is not None
    assert found.revocation.offset > first["log_offset"]


async def test_a_clock_an_hour_ahead_takes_nothing_back(authority: Authority) -> None:
    authority.clock.advance(3600)
    parent = await authority.issued(validity_seconds=7200)
    authority.clock.advance(-3600)
    # not valid yet by this clock, and not expired by the other: renewed as any
    answer = await authority.renew(parent, by=subscriber(), to=subscriber())
    assert answer.status_code == 201, answer.text
    assert ends(certificate_of(answer.json()))[0] == authority.clock.now - 300
