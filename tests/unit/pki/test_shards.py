"""Which CRL a certificate is on is read from its own bytes, and a foreign or broken one is on the plain list."""

from __future__ import annotations

import pytest
from cryptography import x509

from quicklime.pki.certificate import Template, URLs
from quicklime.pki.profile import BUILTIN, SERVER
from quicklime.pki.shards import CRL_SHARDS_MAX, shard_of, shards_named
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


def test_what_only_looks_like_a_shard_is_the_plain_list() -> None:
    body = tbs(16)
    path = body[body.rindex(b"/crl/") :].split(b".crl")[0] + b".crl"
    assert shards_named(path) == 1
    assert shards_named(b"") == 1
    assert shards_named(body.replace(b"\x06\x03\x55\x1d\x1f", b"\x06\x03\x55\x1d\x1e")) == 1
    assert shards_named(body.replace(b"/16/", b"/0x/")) == 1
    for cut in range(len(body)):
        assert shards_named(body[:cut]) in (1, 16)
    too_many = path.replace(b"/16/", b"/9999/")
    assert shards_named(b"\x06\x03\x55\x1d\x1f\x04" + bytes((len(too_many),)) + too_many) == 1
