"""The life of a token: created, used by plans, revoked."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from quicklime.errors import Code
from quicklime.events import CertificateAbandoned, Requester, TokenRevoked
from tests.support.lives import FOUNDING, LOCAL, TOKEN, WHEN, Lives, issued, planned, serial, token_created

HOLDER = Requester(kind="token", id=TOKEN, role="requester")


@dataclass(frozen=True, slots=True)
class Case:
    lives: Lives

    def uses(self) -> int:
        return self.lives.tokens[TOKEN].uses


def given(uses_max: int | None) -> Case:
    return Case(Lives(*FOUNDING, token_created(uses_max)))


def test_a_plan_uses_a_token_and_the_log_counts() -> None:
    case = given(2)
    assert case.lives.tell(planned(1, requester=HOLDER)) is None
    assert case.uses() == 1


def test_the_plan_beyond_the_last_use_does_not_stand() -> None:
    case = given(1)
    assert case.lives.tell(planned(1, requester=HOLDER)) is None
    refusal = case.lives.tell(planned(2, requester=HOLDER))
    assert refusal is not None
    assert refusal.code == Code.TOKEN_EXHAUSTED
    assert case.lives.certificates[serial(2)].status == "refused"
    assert case.uses() == 1


def test_a_plan_that_is_given_up_gives_its_use_back_once() -> None:
    case = given(1)
    case.lives.tell(planned(1, requester=HOLDER))
    abandoned = CertificateAbandoned(serial=serial(1), cause="", abandoned_at=WHEN)
    assert case.lives.tell(abandoned) is None
    assert case.lives.tell(abandoned) is not None
    assert case.uses() == 0
    assert case.lives.tell(planned(2, requester=HOLDER)) is None


def test_what_was_issued_keeps_its_use_for_ever() -> None:
    case = given(1)
    case.lives.tell(planned(1, requester=HOLDER))
    case.lives.tell(issued(1))
    assert case.lives.tell(CertificateAbandoned(serial=serial(1), cause="", abandoned_at=WHEN)) is not None
    assert case.uses() == 1


def test_a_token_without_limit_is_not_counted() -> None:
    case = given(None)
    for number in range(1, 4):
        assert case.lives.tell(planned(number, requester=HOLDER)) is None
    assert case.uses() == 0


@pytest.mark.parametrize(("late", "code"), [(0, None), (3599, None), (3600, Code.TOKEN_EXPIRED)])
def test_a_token_opens_nothing_from_its_last_second_on(late: int, code: Code | None) -> None:
    case = given(None)
    plan = msgspec.structs.replace(planned(1, requester=HOLDER), planned_at=WHEN + late)
    refusal = case.lives.tell(plan)
    assert (None if refusal is None else refusal.code) == code


def test_a_revoked_token_opens_nothing_and_stays_revoked_since_the_first_time() -> None:
    case = given(None)
    case.lives.tell(TokenRevoked(token=TOKEN, revoked_at=WHEN + 1, requester=LOCAL))
    case.lives.tell(TokenRevoked(token=TOKEN, revoked_at=WHEN + 9, requester=LOCAL))
    assert case.lives.tokens[TOKEN].revoked_at == WHEN + 1
    refusal = case.lives.tell(planned(1, requester=HOLDER))
    assert refusal is not None
    assert refusal.code == Code.TOKEN_REVOKED


def test_a_token_id_is_taken_once() -> None:
    case = given(1)
    refusal = case.lives.tell(token_created(100))
    assert refusal is not None
    assert case.lives.tokens[TOKEN].uses_max == 1


def test_what_speaks_of_an_unknown_token_does_not_stand() -> None:
    lives = Lives(*FOUNDING)
    for event in (planned(1, requester=HOLDER), TokenRevoked(token=TOKEN, revoked_at=WHEN, requester=LOCAL)):
        refusal = lives.tell(event)
        assert refusal is not None
        assert refusal.code == Code.TOKEN_UNKNOWN
