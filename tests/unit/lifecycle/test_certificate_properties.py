"""Properties over any history at all, in any order, sensible or not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quicklime.events import (
    CertificateAbandoned,
    CertificateRevoked,
    Event,
    IssuerActivated,
    IssuerAdded,
    Requester,
    RevocationSecretAdded,
    TokenRevoked,
)
from tests.support.lives import FOUNDING, LOCAL, TOKEN, WHEN, Lives, issued, planned, serial, token_created

NUMBERS = st.integers(1, 5)
WITH_TOKEN = Requester(kind="token", id=TOKEN, role="requester")

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        planned,
        NUMBERS,
        predecessor=st.none() | NUMBERS,
        names=st.sampled_from([("dns:a.internal",), ("dns:a.internal", "dns:b.internal")]),
        idempotency=st.none() | st.sampled_from([b"k" * 32, b"l" * 32]),
        requester=st.sampled_from([LOCAL, WITH_TOKEN]),
        key=st.sampled_from([b"key1", b"key2"]),
    ),
    st.builds(issued, NUMBERS, signed=st.none() | NUMBERS),
    st.builds(lambda n: CertificateAbandoned(serial=serial(n), cause="", abandoned_at=WHEN), NUMBERS),
    st.builds(
        lambda n, reason: CertificateRevoked(
            serial=serial(n), reason=reason, revoked_at=WHEN, requester=LOCAL
        ),
        NUMBERS,
        st.sampled_from([0, 1, 4]),
    ),
    st.builds(
        lambda n: RevocationSecretAdded(serial=serial(n), revocation_secret_sha256=bytes(32), added_at=WHEN),
        NUMBERS,
    ),
    st.sampled_from(
        [
            *FOUNDING,
            token_created(2),
            TokenRevoked(token=TOKEN, revoked_at=WHEN, requester=LOCAL),
            IssuerAdded(
                issuer="bb" * 20, role="intermediate", certificate=b"", added_at=WHEN, requester=LOCAL
            ),
            IssuerActivated(issuer="bb" * 20, activated_at=WHEN, requester=LOCAL),
        ]
    ),
)
HISTORIES = st.lists(EVENTS, max_size=40)


def started(uses_max: int | None = 2) -> Lives:
    return Lives(*FOUNDING, token_created(uses_max))


@given(HISTORIES)
def test_once_revoked_always_revoked(history: list[Event]) -> None:
    lives, revoked = started(), set[str]()
    for event in history:
        lives.tell(event)
        revoked |= {key for key, life in lives.certificates.items() if life.revocation is not None}
        assert all(lives.certificates[key].status == "revoked" for key in revoked)


@given(HISTORIES)
def test_a_certificate_has_at_most_one_standing_successor(history: list[Event]) -> None:
    lives = started()
    for event in history:
        lives.tell(event)
        standing = [
            life.predecessor
            for life in lives.certificates.values()
            if life.predecessor is not None
            # what never stood, or was abandoned, may still be revoked, to be safe: that makes it no successor
            and (life.status in ("planned", "issued") or life.issued_offset is not None)
        ]
        assert len(standing) == len(set(standing))


@given(HISTORIES)
def test_what_is_issued_was_planned_and_stays_what_it_was(history: list[Event]) -> None:
    lives, known = started(), dict[str, bytes]()
    for event in history:
        lives.tell(event)
        for key, life in lives.certificates.items():
            assert known.setdefault(key, life.tbs_sha256) == life.tbs_sha256
            assert (life.issued_offset is None) or life.plan_offset < life.issued_offset


@given(HISTORIES)
def test_a_fact_that_comes_twice_changes_nothing_the_second_time(history: list[Event]) -> None:
    lives = started()
    for event in history:
        lives.tell(event)
        before = lives.snapshot()
        again = lives.tell(event)
        if not isinstance(event, RevocationSecretAdded):
            assert again is not None or lives.snapshot() == before
        if again is not None:
            after = lives.snapshot()
            assert after == before


@given(HISTORIES)
def test_a_token_stands_behind_no_more_plans_than_it_has_uses(history: list[Event]) -> None:
    lives = started(uses_max=2)
    for event in history:
        lives.tell(event)
        behind = [
            life
            for life in lives.certificates.values()
            if life.requester == WITH_TOKEN
            # what was abandoned gave its use back, also where its serial was revoked later, to be safe
            and (life.status in ("planned", "issued") or life.issued_offset is not None)
        ]
        assert len(behind) <= 2


@given(HISTORIES)
def test_a_claim_is_held_by_a_plan_that_stands(history: list[Event]) -> None:
    lives = started()
    for event in history:
        lives.tell(event)
        for claim, holder in lives.claims.items():
            life = lives.certificates[holder]
            assert life.idempotency_sha256 == claim
            assert life.status not in ("abandoned", "refused")


@given(HISTORIES)
def test_replay_is_live(history: list[Event]) -> None:
    live, replay = started(), started()
    verdicts = [live.tell(event) for event in history]
    assert [replay.tell(event) for event in history] == verdicts
    assert live.snapshot() == replay.snapshot()


@given(HISTORIES)
def test_at_most_one_intermediate_is_active(history: list[Event]) -> None:
    lives = started()
    for event in history:
        lives.tell(event)
        assert lives.founded is not None
        assert sum(issuer.status == "active" for issuer in lives.founded.issuers) <= 1
