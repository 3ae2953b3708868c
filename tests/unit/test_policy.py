"""Who may have what: every objection at once, and no name that would be worthless."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, get_args

import msgspec
import pytest

from quicklime.errors import Code, Reasons, Refused
from quicklime.events import Requester, Role
from quicklime.pki.profile import SERVER
from quicklime.policy import (
    PERMISSIONS,
    CertificateRule,
    Identity,
    check_issuance,
    check_names,
    check_permission,
    identity_of_certificate,
    may_see,
)
from tests.support.lab import lab

SERIAL = "40" * 20
ALL_PERMISSIONS = ("issue", "read", "revoke", "tokens", "issuers")
# as the documents have it: the row says what the role may
MAY = {
    "admin": {"issue", "read", "revoke", "tokens", "issuers"},
    "operator": {"issue", "read", "revoke"},
    "auditor": {"read"},
    "requester": {"issue"},
}


def identity(role: Role = "requester", *names: str, kind: str = "token", id_: str = "t") -> Identity:
    requester = msgspec.convert({"kind": kind, "id": id_, "role": role}, Requester)
    return Identity(requester=requester, role=role, names=names or ("**.lab.internal",), profiles=("server",))


def codes(reasons: Reasons) -> list[Code]:
    with pytest.raises(Refused) as raised:
        reasons.raise_if_any()
    return [Code(reason.code) for reason in raised.value.reasons]


@pytest.mark.parametrize(("role", "permission"), list(product(get_args(Role), ALL_PERMISSIONS)))
def test_each_role_may_what_it_may_and_nothing_else(role: Role, permission: str) -> None:
    assert set(PERMISSIONS) == set(MAY)
    if permission in MAY[role]:
        check_permission(identity(role), permission)
    else:
        with pytest.raises(Refused) as raised:
            check_permission(identity(role), permission)
        assert raised.value.code == Code.FORBIDDEN


def test_the_evidence_says_name_by_name_why() -> None:
    reasons = Reasons()
    found = check_issuance(
        identity("requester", "web.lab.internal", "ip:10.0.0.0/8"),
        SERVER,
        ("dns:web.lab.internal", "ip:10.1.2.3"),
        "ecdsa-p256",
        lab().facts.constraints,
        reasons,
    )
    reasons.raise_if_any()
    assert found == (
        "dns:web.lab.internal granted by web.lab.internal",
        "ip:10.1.2.3 granted by ip:10.0.0.0/8",
    )


def test_every_objection_is_named_at_once() -> None:
    reasons = Reasons()
    nobody = Identity(requester=Requester(kind="token", id="t"), role="auditor")
    check_issuance(
        nobody,
        SERVER,
        ("dns:web.lab.internal", "dns:else.example.org"),
        "ecdsa-p256",
        lab().facts.constraints,
        reasons,
    )
    found = codes(reasons)
    assert found.count(Code.NAME_NOT_ALLOWED) == 2
    assert {Code.FORBIDDEN, Code.PROFILE_NOT_ALLOWED, Code.NAME_OUTSIDE_ISSUER} <= set(found)


def test_a_name_that_the_issuer_may_not_sign_is_refused_also_to_an_administrator() -> None:
    reasons = Reasons()
    check_issuance(
        identity("admin", "**"),
        SERVER,
        ("dns:www.example.org",),
        "ecdsa-p256",
        lab().facts.constraints,
        reasons,
    )
    assert codes(reasons) == [Code.NAME_OUTSIDE_ISSUER]


@pytest.mark.parametrize(
    ("change", "name", "key_type", "code"),
    [
        ({"wildcard_allowed": False}, "dns:*.lab.internal", "ecdsa-p256", Code.NAME_NOT_ALLOWED),
        (
            {"allowed_name_patterns": ("*.apps.lab.internal",)},
            "dns:web.lab.internal",
            "ecdsa-p256",
            Code.NAME_NOT_ALLOWED,
        ),
        ({"key_types": ("rsa-2048",)}, "dns:web.lab.internal", "ecdsa-p256", Code.KEY_TYPE_NOT_ALLOWED),
        ({"requesters": ("operator",)}, "dns:web.lab.internal", "ecdsa-p256", Code.PROFILE_NOT_ALLOWED),
    ],
)
def test_what_the_profile_does_not_have_nobody_gets(
    change: dict[str, Any], name: str, key_type: str, code: Code
) -> None:
    reasons = Reasons()
    profile = replace(SERVER, **change)
    check_issuance(identity(), profile, (name,), key_type, lab().facts.constraints, reasons)
    assert codes(reasons) == [code]


def test_a_renewal_needs_no_grant_but_keeps_every_other_rule() -> None:
    reasons = Reasons()
    found = check_names(
        SERVER, ("dns:web.lab.internal",), "ecdsa-p256", lab().facts.constraints, reasons, granted=None
    )
    reasons.raise_if_any()
    assert found == ("dns:web.lab.internal held",)
    check_names(
        SERVER, ("dns:www.example.org",), "ecdsa-p256", lab().facts.constraints, reasons, granted=None
    )
    assert codes(reasons) == [Code.NAME_OUTSIDE_ISSUER]


def test_a_client_certificate_gets_the_union_of_the_rules_that_name_it_and_the_strongest_role() -> None:
    rules = (
        CertificateRule(bearer="deployer.lab.internal", names=("a.lab.internal",), profiles=("server",)),
        CertificateRule(
            bearer="*.lab.internal", names=("b.lab.internal",), profiles=("client",), role="operator"
        ),
        CertificateRule(
            bearer="other.lab.internal", names=("c.lab.internal",), profiles=("peer",), role="admin"
        ),
    )
    found = identity_of_certificate(SERIAL, ("dns:deployer.lab.internal",), rules)
    assert found.role == "operator"
    assert found.names == ("a.lab.internal", "b.lab.internal")
    assert found.profiles == ("client", "server")


def test_a_client_certificate_that_no_rule_names_may_have_nothing() -> None:
    found = identity_of_certificate(SERIAL, ("dns:web.lab.internal",), ())
    assert (found.role, found.names, found.profiles) == ("requester", (), ())


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        (identity("auditor"), True),
        (identity("operator", id_="other"), True),
        (identity("requester", id_="owner"), True),
        (identity("requester", id_="other"), False),
        (identity("requester", kind="certificate", id_=SERIAL), True),
        (identity("requester", kind="certificate", id_="41" * 20), False),
        # a token whose id happens to be the serial is no holder of the certificate
        (identity("requester", kind="cfssl", id_="owner"), False),
    ],
)
def test_who_may_not_read_sees_only_what_is_its_own(who: Identity, *, sees: bool) -> None:
    assert may_see(who, SERIAL, Requester(kind="token", id="owner")) is sees
