"""The fold: every life together, over one fact at a time.

The lives meet here and in events, nowhere else. A fact stands only if none of them objects; what stands, changes them.
``evolve`` is what live processing and replay both run.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from quicklime.errors import Reason
from quicklime.events import Event
from quicklime.lifecycle import account, certificate, issuer, token

RULES_VERSION = 2
"""Raised whenever a rule in this package changes its verdict, or what it keeps of a log that exists: views are then rebuilt."""


class Lives(certificate.Book, token.Book, issuer.Book, account.Book, Protocol):
    """Every life as it is before the fact in question."""


NO_ACCOUNTS = account.Changes(accounts={}, keys={}, by_key={})


class Changes(msgspec.Struct, frozen=True, gc=False):
    """What one fact changed. ``refusal`` says why it does not stand; the record remains in the log all the same."""

    refusal: Reason | None
    certificates: dict[str, certificate.Certificate]
    claims: dict[bytes, str | None]
    compromised: set[bytes]
    tokens: dict[str, token.Token]
    authority: issuer.Authority | None
    acme: account.Changes = NO_ACCOUNTS


def evolve(lives: Lives, offset: int, event: Event) -> Changes:
    """The verdict over ``event`` at ``offset``, and what it changes. Pure."""
    kind = type(event)
    # each life is asked about the facts that concern it: a replay is millions of them
    certificates = kind in certificate.CONCERNS
    tokens, issuers = kind in token.CONCERNS, kind in issuer.CONCERNS
    accounts = account.concerns(event)
    if not (certificates or tokens or issuers or accounts):
        return Changes(None, {}, {}, set(), {}, None)
    refusal = (
        (certificate.judge(lives, event) if certificates else None)
        or (token.judge(lives, event) if tokens else None)
        or (issuer.judge(lives, event) if issuers else None)
        or (account.judge(lives, event) if accounts else None)
    )
    book = certificate.evolve(lives, event, offset, refusal)
    return Changes(
        refusal=refusal,
        certificates=book.certificates,
        claims=book.claims,
        compromised=book.compromised,
        tokens=token.evolve(lives, event, refusal) if tokens else {},
        authority=issuer.evolve(lives, event, refusal) if issuers else None,
        acme=account.evolve(lives, event, refusal) if accounts else NO_ACCOUNTS,
    )
