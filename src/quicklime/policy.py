"""Who may have which names, under which profile. Pure: it judges an identity that was established elsewhere.

No identity, no certificate: there is no anonymous issuance. A requester gets a name when its grant, the profile and the
issuer's own name constraints all allow it; every objection is named at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from quicklime.errors import Code, Reasons, Refused
from quicklime.events import Requester, Role
from quicklime.pki.names import Constraints, check_inside, matches
from quicklime.pki.profile import Profile


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, and what was granted to them.

    ``names`` are patterns (``pki.names``), ``profiles`` names of profiles, both empty where nothing may be issued.
    ``label`` is what the operator called the credential.
    """

    requester: Requester
    role: Role
    names: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRule:
    """What the holder of a client certificate may ask for: one that bears a name matching ``bearer`` gets ``names``."""

    bearer: str
    names: tuple[str, ...]
    profiles: tuple[str, ...]
    role: Role = "requester"


SYSTEM = Identity(requester=Requester(kind="system", id="quicklime"), role="admin")

# What each role may do besides issuing what its grant names. The admin's is everything.
PERMISSIONS: dict[Role, frozenset[str]] = {
    "admin": frozenset({"issue", "read", "revoke", "tokens", "issuers"}),
    "operator": frozenset({"issue", "read", "revoke"}),
    "auditor": frozenset({"read"}),
    "requester": frozenset({"issue"}),
}


def check_permission(identity: Identity, permission: str) -> None:
    """Raises Refused (``forbidden``) where the role does not have ``permission``."""
    if permission not in PERMISSIONS[identity.role]:
        raise Refused(Code.FORBIDDEN, f"role {identity.role!r} has no permission {permission!r}")


def may_see(identity: Identity, serial: str, requester: Requester) -> bool:
    """Who may read sees every certificate; the others what they got themselves, and the one that they identify by."""
    if "read" in PERMISSIONS[identity.role]:
        return True
    if (identity.requester.kind, identity.requester.id) == ("certificate", serial):
        return True
    return (identity.requester.kind, identity.requester.id) == (requester.kind, requester.id)


def identity_of_certificate(
    serial: str, names: tuple[str, ...], rules: tuple[CertificateRule, ...]
) -> Identity:
    """The identity of a client that showed a valid certificate of this authority: the union of the rules that match."""
    granted = [rule for rule in rules if any(matches(rule.bearer, name) for name in names)]
    roles = [rule.role for rule in granted]
    role: Role = next((one for one in PERMISSIONS if one in roles), "requester")
    return Identity(
        requester=Requester(kind="certificate", id=serial, role=role),
        role=role,
        names=tuple(sorted({name for rule in granted for name in rule.names})),
        profiles=tuple(sorted({profile for rule in granted for profile in rule.profiles})),
        label=names[0] if names else "",
    )


def check_issuance(
    identity: Identity,
    profile: Profile,
    names: tuple[str, ...],
    key_type: str,
    constraints: Constraints,
    reasons: Reasons,
) -> tuple[str, ...]:
    """Gather in ``reasons`` all that speaks against the request; the evidence, a line per name, where nothing does."""
    if "issue" not in PERMISSIONS[identity.role]:
        reasons.add(Code.FORBIDDEN, f"role {identity.role!r} has no permission 'issue'")
    if profile.name not in identity.profiles:
        reasons.add(
            Code.PROFILE_NOT_ALLOWED,
            f"profile {profile.name!r} is not granted, expected one of {identity.profiles!r}",
            "profile",
        )
    if profile.requesters and not {identity.role, identity.label, identity.requester.kind} & set(
        profile.requesters
    ):
        reasons.add(
            Code.PROFILE_NOT_ALLOWED,
            f"profile {profile.name!r} is only for {profile.requesters!r}",
            "profile",
        )
    return check_names(profile, names, key_type, constraints, reasons, granted=identity.names)


def check_names(
    profile: Profile,
    names: tuple[str, ...],
    key_type: str,
    constraints: Constraints,
    reasons: Reasons,
    *,
    granted: tuple[str, ...] | None,
) -> tuple[str, ...]:
    """The part of ``check_issuance`` that a renewal repeats: names, key type, the issuer's constraints.

    ``granted`` is None where the names are those of a certificate that the requester proved to hold.
    """
    if profile.key_types and key_type not in profile.key_types:
        reasons.add(
            Code.KEY_TYPE_NOT_ALLOWED,
            f"key type {key_type!r} is not one of {profile.key_types!r}",
            "csr",
        )
    evidence = []
    for place, name in enumerate(names):
        field = f"names[{place}]"
        if name.startswith("dns:*.") and not profile.wildcard_allowed:
            reasons.add(Code.NAME_NOT_ALLOWED, f"profile {profile.name!r} has no wildcards: {name!r}", field)
        allowed = profile.allowed_name_patterns
        if allowed and not any(matches(pattern, name) for pattern in allowed):
            reasons.add(
                Code.NAME_NOT_ALLOWED,
                f"name {name!r} is outside profile {profile.name!r}: {allowed!r}",
                field,
            )
        if granted is None:
            evidence.append(f"{name} held")
            continue
        by = next((pattern for pattern in granted if matches(pattern, name)), None)
        if by is None:
            reasons.add(Code.NAME_NOT_ALLOWED, f"name {name!r} is not granted, expected {granted!r}", field)
        else:
            evidence.append(f"{name} granted by {by}")
    # a name outside the issuer's constraints would make the certificate worthless: RFC 5280, Section 4.2.1.10
    check_inside(names, constraints, reasons)
    return tuple(evidence)
