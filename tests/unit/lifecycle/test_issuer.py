"""The lives of issuers: founded once, one active, retired ones answerable, numbers of lists that only rise."""

from __future__ import annotations

import pytest

from quicklime.errors import Code
from quicklime.events import CRLPublished, Event, IssuerActivated, IssuerAdded, Requester
from tests.support.lives import FOUNDING, ISSUER, LOCAL, WHEN, Lives, planned

NEXT = "bb" * 20
SYSTEM = Requester(kind="system", id="quicklime")


def added(issuer: str = NEXT, role: str = "intermediate") -> Event:
    return IssuerAdded(
        issuer=issuer,
        role="root" if role == "root" else "intermediate",
        certificate=b"",
        added_at=WHEN,
        requester=LOCAL,
    )


def activated(issuer: str = NEXT) -> Event:
    return IssuerActivated(issuer=issuer, activated_at=WHEN, requester=LOCAL)


def listed(number: int, issuer: str = ISSUER) -> Event:
    return CRLPublished(
        issuer=issuer,
        number=number,
        covers=0,
        this_update=WHEN,
        next_update=WHEN + 60,
        signature=b"",
        crl_sha256=bytes(32),
    )


def refused(lives: Lives, event: Event) -> Code:
    before = lives.snapshot()
    reason = lives.tell(event)
    assert reason is not None, "stands"
    assert lives.founded == before[-1], "what does not stand changed an issuer"
    return Code(reason.code)


def test_a_log_has_one_founding() -> None:
    assert refused(Lives(*FOUNDING), FOUNDING[0]) == Code.BUSY


@pytest.mark.parametrize("event", [added(), activated(), planned(1), listed(1)], ids=lambda one: one.TYPE)
def test_nothing_of_an_issuer_stands_before_the_founding(event: Event) -> None:
    assert refused(Lives(), event) == Code.ISSUER_UNKNOWN


@pytest.mark.parametrize(
    "event", [activated(), planned(1, issuer=NEXT), listed(1, NEXT)], ids=lambda one: one.TYPE
)
def test_an_issuer_that_was_not_added_can_do_nothing(event: Event) -> None:
    assert refused(Lives(*FOUNDING), event) == Code.ISSUER_UNKNOWN


def test_the_next_ones_activation_retires_the_one_before() -> None:
    lives = Lives(*FOUNDING, added(), activated())
    assert lives.founded is not None
    assert [(one.issuer, one.status) for one in lives.founded.intermediates] == [
        (ISSUER, "retired"),
        (NEXT, "active"),
    ]


def test_an_issuer_is_added_once_and_activated_once() -> None:
    lives = Lives(*FOUNDING, added(), activated())
    assert refused(lives, added()) == Code.BUSY
    assert refused(lives, activated()) == Code.ISSUER_UNAVAILABLE
    assert refused(lives, activated(ISSUER)) == Code.ISSUER_UNAVAILABLE


def test_a_root_never_issues() -> None:
    lives = Lives(*FOUNDING, added(role="root"))
    assert refused(lives, activated()) == Code.ISSUER_UNAVAILABLE
    assert refused(lives, planned(1, issuer=NEXT)) == Code.ISSUER_UNAVAILABLE


def test_a_retired_issuer_signs_for_the_system_alone() -> None:
    lives = Lives(*FOUNDING, added(), activated())
    assert refused(lives, planned(1)) == Code.ISSUER_UNAVAILABLE
    assert lives.tell(planned(2, requester=SYSTEM)) is None


def test_an_issuer_that_is_not_active_yet_signs_for_nobody() -> None:
    lives = Lives(*FOUNDING, added())
    assert refused(lives, planned(1, issuer=NEXT)) == Code.ISSUER_UNAVAILABLE
    assert refused(lives, planned(2, issuer=NEXT, requester=SYSTEM)) == Code.ISSUER_UNAVAILABLE


def test_numbers_of_lists_only_rise_for_each_issuer_by_itself() -> None:
    lives = Lives(*FOUNDING, added(), listed(5))
    assert refused(lives, listed(5)) == Code.BUSY
    assert refused(lives, listed(4)) == Code.BUSY
    assert lives.tell(listed(1, NEXT)) is None
    assert lives.tell(listed(6)) is None
