"""What an account may have, before anything is proved: by its directory, its binding key, the profile and the issuer."""

from __future__ import annotations

from typing import NoReturn

from quicklime.authority.acme import WantedAuthorization
from quicklime.errors import Reasons, Refused
from quicklime.lifecycle.account import BindingKey, why_ungranted
from quicklime.lifecycle.order import Authorization
from quicklime.policy import check_names
from quicklime.services.acme.exchange import Desks, Exchange
from quicklime.services.acme.wire import Problem, problem_of
from quicklime.validation import methods_for


def check_policy(exchange: Exchange, names: tuple[str, ...], profile_name: str) -> None:
    """Whether account, directory, profile and issuer allow these names. Raises Problem with a subproblem for each that not."""
    desks, directory = exchange.desks, exchange.directory
    binding = binding_of(exchange)
    allowed = (
        directory.profiles
        if binding is None or not binding.profiles
        else tuple(one for one in directory.profiles if one in binding.profiles)
    )
    if profile_name not in allowed:
        raise Problem("invalidProfile", f"profile {profile_name[:64]!r} is not one of {list(allowed)!r}")
    if binding is not None and (why := why_ungranted(binding)) is not None:
        raise Problem("unauthorized", why.detail)
    profile = desks.issuers.profile(profile_name, public=True)
    reasons = Reasons()
    # the key's type is not known before the CSR
    any_key = profile.key_types[0] if profile.key_types else ""
    for granted in (directory.names or None, None if binding is None else binding.names or None):
        before = len(list(reasons))
        check_names(profile, names, any_key, desks.issuers.active().constraints, reasons, granted=granted)
        if len(list(reasons)) > before:
            break
    try:
        reasons.raise_if_any()
    except Refused as refused:
        raise problem_of(refused, names) from None


def binding_of(exchange: Exchange) -> BindingKey | None:
    account = exchange.account
    return None if account.binding is None else exchange.desks.state.acme_key(account.binding)


def binding_names(exchange: Exchange) -> tuple[str, ...] | None:
    """What the account's binding key grants, None where it grants every name that is proved."""
    binding = binding_of(exchange)
    return None if binding is None else binding.names or None


def wanted_for(exchange: Exchange, name: str) -> WantedAuthorization:
    wildcard = name.startswith("dns:*.")
    # RFC 8555, Section 7.1.4: the authorization of a wildcard is for the name without it
    bare = f"dns:{name[6:]}" if wildcard else name
    methods = methods_for(bare, wildcard=wildcard, allowed=exchange.directory.methods)
    if not methods:
        raise Problem(
            "rejectedIdentifier",
            f"no challenge of this directory can prove {name!r}",
            subproblems=[("rejectedIdentifier", "no challenge can prove it", name)],
        )
    return WantedAuthorization(name=bare, wildcard=wildcard, methods=methods)


def authorization_of(desks: Desks, identifier: str) -> Authorization:
    found = desks.protocol.orders.authorization(identifier)
    if found is None:
        gone()
    return found


def gone() -> NoReturn:
    raise Problem("malformed", "no such authorization", status=404)
