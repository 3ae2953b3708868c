"""Profiles: the built-in ones, and every fault of an operator's own named at once."""

from __future__ import annotations

from typing import Any

import pytest

from quicklime.pki.profile import BUILTIN, DAY, Profile


def _profile(**changes: Any) -> Profile:
    fields: dict[str, Any] = {
        "name": "database",
        "validity_seconds": 7 * DAY,
        "validity_seconds_max": 30 * DAY,
        "extended_key_usage": ("serverAuth",),
    }
    return Profile(**{**fields, **changes})


def test_the_built_in_profiles_are_those_that_the_documentation_names() -> None:
    assert list(BUILTIN) == ["server", "client", "peer", "ocsp-responder"]
    assert [name for name, profile in BUILTIN.items() if profile.internal] == ["ocsp-responder"]
    assert [name for name, profile in BUILTIN.items() if profile.is_responder] == ["ocsp-responder"]
    assert all(profile.key_usage == ("digitalSignature",) for profile in BUILTIN.values())


def test_an_operators_own_profile() -> None:
    profile = _profile(
        allowed_name_patterns=("**.db.internal", "ip:10.1.0.0/16"),
        key_types=("ecdsa-p256", "rsa-2048", "rsa-8192"),
        requesters=("operator", "backup host"),
        extended_key_usage=("serverAuth", "1.3.6.1.4.1.311.20.2.2"),
    )
    assert profile.extended_key_usage_oids == ("1.3.6.1.5.5.7.3.1", "1.3.6.1.4.1.311.20.2.2")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "name is not"),
        ({"name": "Data base"}, "name is not"),
        ({"name": "../x"}, "name is not"),
        ({"name": "a" * 65}, "name is not"),
        ({"validity_seconds": 0}, "validity_seconds is 0"),
        ({"validity_seconds": 31 * DAY}, "validity_seconds is"),
        ({"validity_seconds_max": 4000 * DAY}, "validity_seconds_max is"),
        ({"backdate_seconds": -1}, "backdate_seconds"),
        ({"backdate_seconds": 7 * DAY}, "backdate_seconds"),
        ({"renewal_grace_seconds": -1}, "renewal_grace_seconds"),
        ({"key_usage": ("digitalSignature", "keyCertSign")}, "'keyCertSign'"),
        ({"key_usage": ("digitalSignature", "cRLSign")}, "'cRLSign'"),
        ({"key_usage": ()}, "digitalSignature"),
        ({"key_usage": ("keyEncipherment",)}, "digitalSignature"),
        ({"key_usage": ("digitalSignature", "digitalSignature")}, "twice"),
        ({"extended_key_usage": ()}, "empty"),
        ({"extended_key_usage": ("webAuth",)}, "'webAuth'"),
        ({"extended_key_usage": ("1.2.03",)}, "'1.2.03'"),
        ({"extended_key_usage": ("1.40.3",)}, "'1.40.3'"),
        ({"extended_key_usage": ("3.1.1",)}, "'3.1.1'"),
        ({"extended_key_usage": ("serverAuth", "1.3.6.1.5.5.7.3.1")}, "twice"),
        ({"extended_key_usage": ("2.5.29.37.0",)}, "not for subscribers"),
        ({"extended_key_usage": ("1.3.6.1.5.5.7.3.8",)}, "not for subscribers"),
        ({"extended_key_usage": ("OCSPSigning",)}, "responders"),
        ({"extended_key_usage": ("1.3.6.1.5.5.7.3.9",)}, "responders"),
        ({"allowed_name_patterns": ("a_b.internal",)}, "allowed_name_patterns"),
        ({"allowed_name_patterns": ("ip:10.0.0.1/8",)}, "allowed_name_patterns"),
        ({"key_types": ("ecdsa-p521",)}, "'ecdsa-p521'"),
        ({"key_types": ("rsa-1024",)}, "'rsa-1024'"),
    ],
)
def test_a_fault_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        _profile(**changes)
    assert said in str(caught.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        _profile(validity_seconds=0, key_usage=("magic",), key_types=("dsa",))
    assert all(
        part in str(caught.value) for part in ("'database'", "validity_seconds is 0", "'magic'", "'dsa'")
    )
