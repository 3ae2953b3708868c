"""Orders and authorizations: what stands, and what an order's status follows from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quicklime.lifecycle.order import Authorization, Order, evolve, status_of
from quicklime.protocol import (
    AuthorizationCreated,
    AuthorizationDeactivated,
    NameValidated,
    OrderCreated,
    OrderFailed,
    ProtocolEvent,
    ValidationFailed,
    ValidationRequested,
)

WHEN = 1_795_000_000


class Lives:
    """``lifecycle.order.Book`` in dictionaries."""

    def __init__(self, *events: ProtocolEvent) -> None:
        self.orders: dict[str, Order] = {}
        self.authorizations: dict[str, Authorization] = {}
        for event in events:
            assert self.tell(event), event

    def order(self, order: str) -> Order | None:
        return self.orders.get(order)

    def authorization(self, authorization: str) -> Authorization | None:
        return self.authorizations.get(authorization)

    def tell(self, event: ProtocolEvent) -> bool:
        """Whether ``event`` stands."""
        changes = evolve(self, event)
        self.orders |= changes.orders
        self.authorizations |= changes.authorizations
        return changes.refusal is None


def authorization(name: str = "a", *, expires_at: int = WHEN + 100) -> ProtocolEvent:
    return AuthorizationCreated(
        authorization=name,
        account="ada",
        directory="default",
        name="dns:web.internal",
        methods=("http-01", "dns-01"),
        token="t",
        created_at=WHEN,
        expires_at=expires_at,
    )


def order(*authorizations: str, name: str = "o") -> ProtocolEvent:
    return OrderCreated(
        order=name,
        account="ada",
        directory="default",
        names=("dns:web.internal",),
        profile="server",
        authorizations=authorizations or ("a",),
        created_at=WHEN,
        expires_at=WHEN + 1000,
    )


def proved(name: str = "a", method: str = "http-01", *, expires_at: int = WHEN + 500) -> ProtocolEvent:
    return NameValidated(
        authorization=name, method=method, evidence=(), validated_at=WHEN + 1, expires_at=expires_at
    )


def failed(name: str = "a") -> ProtocolEvent:
    return ValidationFailed(
        authorization=name, method="http-01", type="dns", detail="", evidence=(), failed_at=WHEN + 1
    )


def given_back(name: str = "a") -> ProtocolEvent:
    return AuthorizationDeactivated(authorization=name, deactivated_at=WHEN)


def requested(name: str = "a") -> ProtocolEvent:
    return ValidationRequested(authorization=name, method="http-01", requested_at=WHEN)


@pytest.mark.parametrize(
    ("facts", "now", "status"),
    [
        ([], WHEN, "pending"),
        ([requested()], WHEN, "pending"),
        ([proved()], WHEN, "ready"),
        ([failed()], WHEN, "invalid"),
        ([proved(), given_back()], WHEN, "invalid"),
        ([given_back()], WHEN, "invalid"),
        ([], WHEN + 100, "invalid"),
        ([proved()], WHEN + 499, "ready"),
        ([proved()], WHEN + 500, "invalid"),
        ([proved(expires_at=WHEN + 5000)], WHEN + 1000, "invalid"),
        ([proved(), OrderFailed(order="o", type="caa", detail="", failed_at=WHEN)], WHEN, "invalid"),
    ],
)
def test_the_status_of_an_order(facts: list[ProtocolEvent], now: int, status: str) -> None:
    lives = Lives(authorization(), order(), *facts)
    found = lives.orders["o"]
    assert status_of(lives, found, now, planned=False, issued=False) == status
    # what the ledger holds is above all that
    assert status_of(lives, found, now, planned=True, issued=False) == "processing"
    assert status_of(lives, found, now, planned=True, issued=True) == "valid"


def test_every_name_has_to_be_proved() -> None:
    lives = Lives(authorization("a"), authorization("b"), order("a", "b"), proved("a"))
    assert status_of(lives, lives.orders["o"], WHEN, planned=False, issued=False) == "pending"
    lives.tell(proved("b"))
    assert status_of(lives, lives.orders["o"], WHEN, planned=False, issued=False) == "ready"
    missing = Lives(order("gone"))
    assert status_of(missing, missing.orders["o"], WHEN, planned=False, issued=False) == "invalid"


@pytest.mark.parametrize(
    ("facts", "fact"),
    [
        ([failed()], proved()),
        ([proved()], failed()),
        ([given_back()], proved()),
        ([failed()], given_back()),
        ([given_back()], given_back()),
        ([proved()], requested()),
        ([], proved(method="tls-alpn-01")),
        ([], proved("other")),
        ([], authorization()),
        ([order()], order()),
        ([], OrderFailed(order="o", type="caa", detail="", failed_at=WHEN)),
    ],
    ids=range(11),
)
def test_what_was_judged_is_not_judged_again(facts: list[ProtocolEvent], fact: ProtocolEvent) -> None:
    assert not Lives(authorization(), *facts).tell(fact)


_NAMES = st.sampled_from(["a", "b"])
_EVENTS: st.SearchStrategy[ProtocolEvent] = st.one_of(
    st.builds(authorization, _NAMES),
    st.builds(proved, _NAMES, st.sampled_from(["http-01", "dns-01", "tls-alpn-01"])),
    st.builds(failed, _NAMES),
    st.builds(given_back, _NAMES),
    st.builds(requested, _NAMES),
    st.builds(lambda names: order(*names), st.lists(_NAMES, min_size=1, max_size=2)),
)


@given(st.lists(_EVENTS, max_size=30))
def test_whatever_is_told_only_a_proof_makes_valid_and_the_end_is_final(history: list[ProtocolEvent]) -> None:
    lives = Lives()
    for event in history:
        before = dict(lives.authorizations)
        lives.tell(event)
        for name, one in lives.authorizations.items():
            old = before.get(name)
            if one.status == "valid" and (old is None or old.status != "valid"):
                assert isinstance(event, NameValidated)
            if old is not None and old.status in {"invalid", "deactivated"}:
                assert one == old
        # told twice, it changes nothing the second time
        again = dict(lives.authorizations)
        if not isinstance(event, ValidationRequested):
            lives.tell(event)
            assert lives.authorizations == again
