"""ACME accounts and binding keys, by the log's order: given facts, when a fact comes, then it stands or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quicklime.errors import Code
from quicklime.events import (
    ACMEAccountClosed,
    ACMEAccountCreated,
    ACMEAccountKeyChanged,
    ACMEAccountUpdated,
    ACMEKeyCreated,
    ACMEKeyRevoked,
    CertificateAbandoned,
    CertificateRevoked,
    Event,
    Requester,
)
from tests.support.lives import FOUNDING, LOCAL, WHEN, Lives, issued, planned, serial

ADA = Requester(kind="acme", id="ada")


def created(account: str = "ada", key: bytes = b"k", *, binding: str | None = None, at: int = WHEN) -> Event:
    return ACMEAccountCreated(
        account=account,
        directory="default",
        jwk="{}",
        thumbprint=key,
        created_at=at,
        address="10.0.0.1",
        binding=binding,
    )


def binding(certificates_max: int | None = None) -> Event:
    return ACMEKeyCreated(
        key="eab",
        directory="default",
        created_at=WHEN,
        expires_at=WHEN + 3600,
        requester=LOCAL,
        certificates_max=certificates_max,
    )


def closed(account: str = "ada") -> Event:
    return ACMEAccountClosed(account=account, status="deactivated", closed_at=WHEN, requester=ADA)


def changed(account: str, key: bytes) -> Event:
    return ACMEAccountKeyChanged(account=account, jwk="{}", thumbprint=key, changed_at=WHEN)


def abandoned(number: int) -> Event:
    return CertificateAbandoned(serial=serial(number), cause="", abandoned_at=WHEN)


@pytest.mark.parametrize(
    ("given_facts", "fact", "code"),
    [
        ([], planned(1, requester=ADA), Code.ACCOUNT_UNKNOWN),
        ([created(), closed()], planned(1, requester=ADA), Code.ACCOUNT_CLOSED),
        ([created()], created("eve", b"k"), Code.ACCOUNT_EXISTS),
        ([created()], created("ada", b"l"), Code.BUSY),
        ([created()], created("eve", b"l", binding="eab"), Code.BINDING_UNUSABLE),
        ([binding(), created(binding="eab")], created("eve", b"l", binding="eab"), Code.BINDING_UNUSABLE),
        ([binding()], created(binding="eab", at=WHEN + 3600), Code.BINDING_UNUSABLE),
        ([created(), created("eve", b"l")], changed("ada", b"l"), Code.ACCOUNT_EXISTS),
        ([created(), closed()], changed("ada", b"m"), Code.ACCOUNT_CLOSED),
        ([created(), closed()], closed(), Code.ACCOUNT_CLOSED),
        ([], ACMEAccountUpdated(account="ada", updated_at=WHEN), Code.ACCOUNT_UNKNOWN),
        ([binding()], binding(), Code.BUSY),
        ([], ACMEKeyRevoked(key="eab", revoked_at=WHEN, requester=LOCAL), Code.NOT_FOUND),
        (
            [binding(), created(binding="eab"), ACMEKeyRevoked(key="eab", revoked_at=WHEN, requester=LOCAL)],
            planned(1, requester=ADA),
            Code.BINDING_UNUSABLE,
        ),
        (
            [binding(1), created(binding="eab"), planned(1, requester=ADA)],
            planned(2, requester=ADA),
            Code.QUOTA_EXHAUSTED,
        ),
    ],
    ids=range(15),
)
def test_facts_that_do_not_stand(given_facts: list[Event], fact: Event, code: Code) -> None:
    refusal = Lives(*FOUNDING, *given_facts).tell(fact)
    assert refusal is not None
    assert refusal.code == code


def test_an_account_with_its_key_goes_from_one_key_to_the_next() -> None:
    lives = Lives(*FOUNDING, created(), changed("ada", b"l"))
    assert lives.acme_account_of_key("default", b"l") == "ada"
    assert lives.acme_account_of_key("default", b"k") is None
    # the old key is anybody's, and never this account's again by itself
    assert lives.tell(created("eve", b"k")) is None


def test_a_plan_that_came_to_nothing_gives_its_place_in_the_quota_back() -> None:
    lives = Lives(*FOUNDING, binding(1), created(binding="eab"), planned(1, requester=ADA))
    assert lives.tell(abandoned(1)) is None
    assert lives.tell(planned(2, requester=ADA)) is None
    assert lives.tell(issued(2)) is None
    assert lives.tell(planned(3, requester=ADA)) is not None


def test_a_plan_by_an_account_may_replace_what_is_revoked_and_bear_other_names() -> None:
    revoked = CertificateRevoked(serial=serial(1), reason=1, revoked_at=WHEN, requester=LOCAL)
    lives = Lives(*FOUNDING, created(), planned(1), issued(1), revoked)
    again = planned(2, predecessor=1, requester=ADA, names=("dns:other.internal",), key=b"new")
    assert lives.tell(again) is None
    # once, as for everybody
    second = lives.tell(planned(3, predecessor=1, requester=ADA, key=b"third"))
    assert second is not None
    assert second.code == Code.RENEWAL_IN_PROGRESS


def test_a_renewal_by_the_old_key_keeps_its_rules() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1))
    refusal = lives.tell(planned(2, predecessor=1, names=("dns:other.internal",)))
    assert refusal is not None
    assert refusal.code == Code.NAMES_WIDENED


_ACCOUNTS, _KEYS = st.sampled_from(["ada", "eve", "bob"]), st.sampled_from([b"k", b"l", b"m"])
_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        lambda account, key, bound: created(account, key, binding=bound),
        _ACCOUNTS,
        _KEYS,
        st.sampled_from([None, "eab"]),
    ),
    st.builds(changed, _ACCOUNTS, _KEYS),
    st.builds(closed, _ACCOUNTS),
    st.builds(binding, st.sampled_from([None, 1, 2])),
    st.just(ACMEKeyRevoked(key="eab", revoked_at=WHEN, requester=LOCAL)),
    st.builds(
        lambda number, account: planned(number, requester=Requester(kind="acme", id=account)),
        st.integers(1, 6),
        _ACCOUNTS,
    ),
    st.builds(abandoned, st.integers(1, 6)),
)


@given(st.lists(_EVENTS, max_size=40))
def test_whatever_is_told_each_key_has_one_account_and_no_quota_is_passed(history: list[Event]) -> None:
    lives = Lives(*FOUNDING)
    ended: set[str] = set()
    for fact in history:
        lives.tell(fact)
        for (_, key), holder in lives.acme.by_key.items():
            if holder is not None:
                assert lives.acme.accounts[holder].thumbprint == key
        # closed is for ever
        now_ended = {one.account for one in lives.acme.accounts.values() if one.status != "valid"}
        assert ended <= now_ended
        ended = now_ended
        for bound in lives.acme.keys.values():
            standing = [
                one
                for one in lives.certificates.values()
                if one.status in {"planned", "issued"} and one.requester.id == bound.account
            ]
            if bound.certificates_max is not None:
                assert len(standing) == bound.certificates <= bound.certificates_max
