"""Which CRL a certificate is on is read from its own bytes, and a foreign or broken one is on the plain list."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509

from quicklime.pki.certificate import Template, URLs
from quicklime.pki.profile import BUILTIN, SERVER
from quicklime.pki.shards import CRL_SHARDS_MAX, point_named, shard_of, shards_named
from tests.support.lab import DAY, NOW, entropy, lab, subscriber_key


def tbs(shards: int, seed: bytes = b"one", names: tuple[str, ...] = ("dns:web.lab.internal",)) -> bytes:
    return Template(lab().facts, SERVER, URLs("http://pki.lab.internal/crl/", shards)).tbs(
        serial="4f" + entropy(19, seed).hex(),
        not_before=NOW,
        not_after=NOW + DAY,
        spki=subscriber_key("ecdsa-p256"),
        names=names,
    )


@pytest.mark.parametrize("shards", [1, 2, 7, 64, CRL_SHARDS_MAX])
def test_the_certificate_names_its_own_shard(shards: int) -> None:
    issuer = lab().facts.issuer
    for number in range(5):
        body = tbs(shards, bytes((number,)))
        assert shards_named(body) == shards
        certificate = x509.load_der_x509_certificate(lab().sign(body))
        (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name is not None
        (location,) = point.full_name
        shard = shard_of(f"{certificate.serial_number:040x}", shards)
        name = issuer if shards == 1 else f"{issuer}/{shards}/{shard}"
        assert location.value == f"http://pki.lab.internal/crl/crl/{name}.crl"
        assert 0 <= shard < shards


def test_every_shard_gets_its_share() -> None:
    found = [shard_of(entropy(20, bytes((one % 256, one // 256))).hex(), 16) for one in range(1600)]
    assert {shard: found.count(shard) > 50 for shard in range(16)} == dict.fromkeys(range(16), True)


def test_a_responder_names_no_list_however_many_there_are() -> None:
    body = Template(lab().facts, BUILTIN["ocsp-responder"], URLs("http://pki.lab.internal", 8)).tbs(
        serial="4f" * 20,
        not_before=NOW,
        not_after=NOW + DAY,
        spki=subscriber_key("ecdsa-p256"),
        names=(),
    )
    assert shards_named(body) == 1
    assert b"/crl/" not in body


def test_the_url_before_it_is_the_status_services() -> None:
    assert point_named(tbs(16)) == ("http://pki.lab.internal/crl", 16)
    assert point_named(tbs(1)) == ("http://pki.lab.internal/crl", 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: b"",
        lambda body: body.replace(b"/16/", b"/0x/"),
        lambda body: body.replace(b"/16/", b"/00/"),
        lambda body: body.replace(b".crl", b".cr1"),
        lambda body: body.replace(b"http", b"ldap"),
        lambda body: body.replace(b"http://pki", b"http://p\xffi"),
        lambda body: b"http://x/crl/" + b"0" * 40 + b"/9999/1.crl",
        lambda body: b"http://x" + b"x" * 600 + b"/crl/" + b"0" * 40 + b".crl",
    ],
)
def test_what_only_looks_like_a_list_of_ours_is_none(spoil: Callable[[bytes], bytes]) -> None:
    assert point_named(spoil(tbs(16))) is None


def test_cut_off_bytes_never_make_it_fail() -> None:
    body = tbs(16)
    for cut in range(len(body)):
        assert shards_named(body[:cut]) in (1, 16)
        assert point_named(body[cut:]) in (None, ("http://pki.lab.internal/crl", 16))
