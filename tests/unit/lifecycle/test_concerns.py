"""What a life says it is not concerned with, it neither judges nor is changed by: skipping it is no rule of its own."""

from __future__ import annotations

import pytest

from quicklime.events import EVENTS, Event
from quicklime.lifecycle import certificate, evolve, issuer, token
from tests.support.lives import FOUNDING, Lives, issued, planned, token_created
from vectors.make import EXAMPLES


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.TYPE)
def test_a_life_that_is_not_asked_would_have_nothing_to_say(event: Event) -> None:
    lives = Lives(*FOUNDING, token_created(), planned(1), issued(1))
    if type(event) not in certificate.CONCERNS:
        assert certificate.judge(lives, event) is None
        changes = certificate.evolve(lives, event, 9, None)
        assert (changes.certificates, changes.claims, changes.compromised) == ({}, {}, set())
    if type(event) not in token.CONCERNS:
        assert token.judge(lives, event) is None
        assert token.evolve(lives, event, None) == {}
    if type(event) not in issuer.CONCERNS:
        assert issuer.judge(lives, event) is None
        assert issuer.evolve(lives, event, None) is None
    evolve(lives, 9, event)


def test_every_life_is_concerned_with_facts_there_are() -> None:
    for life in (certificate, token, issuer):
        assert set(EVENTS) >= life.CONCERNS
