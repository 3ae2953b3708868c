"""Who is asking: a token or a client certificate, each only as the log knows it."""

from __future__ import annotations

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.policy import CertificateRule
from tests.support.authority import Authority, base64, certificate_of, codes_of, running, subscriber

RULES = (
    CertificateRule(
        bearer="deployer.lab.internal", names=("**.lab.internal",), profiles=("server",), role="requester"
    ),
)
WEB = {"csr": base64(subscriber("web").csr("dns:web.lab.internal"))}


async def asked(
    authority: Authority, *, authorization: str | None = None, peer: bytes | None = None, **forwarded: str
) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in forwarded.items()}
    if authorization is not None:
        headers["authorization"] = authorization
    return await authority.ask("POST", "/v1/certificates", json=WEB, peer=peer, headers=headers)


async def shown(authority: Authority) -> tuple[dict[str, object], bytes]:
    """A client's certificate: the answer to its request, and its DER."""
    answer = await authority.issued("dns:deployer.lab.internal", profile="client")
    return answer, certificate_of(answer).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "bearer", "Token x", "Bearer " + "x" * 201],
)
async def test_an_authorization_of_another_form_is_told(header: str) -> None:
    async with running() as authority:
        answer = await asked(authority, authorization=header)
        assert answer.status_code == 401
        assert codes_of(answer) == ["unauthenticated"]
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_token_is_known_whole_or_not_at_all() -> None:
    async with running() as authority:
        token = await authority.token()
        other = token[:-1] + ("A" if token[-1] != "A" else "B")
        for wrong in (token[:-1], token + "A", token.swapcase(), other):
            assert codes_of(await asked(authority, authorization=f"Bearer {wrong}")) == ["token-unknown"]
        for right in (f"Bearer {token}", f"bearer {token}", f"BEARER  {token} "):
            assert (await asked(authority, authorization=right)).status_code == 201


async def test_who_shows_a_certificate_that_a_rule_names_gets_what_the_rule_says() -> None:
    async with running(rules=RULES) as authority:
        _, der = await shown(authority)
        assert (await asked(authority, peer=der)).status_code == 201


async def test_a_wrong_token_is_not_made_good_by_a_certificate() -> None:
    async with running(rules=RULES) as authority:
        _, der = await shown(authority)
        answer = await asked(authority, peer=der, authorization="Bearer ql_nothing_at_all")
        assert codes_of(answer) == ["token-unknown"]


async def test_a_revoked_certificate_is_nobodys_from_that_moment_on() -> None:
    async with running(rules=RULES) as authority:
        told, der = await shown(authority)
        body = {"secret": told["revocation_secret"], "reason": 4}
        answer = await authority.ask("POST", f"/v1/certificates/{told['serial']}/revocation", json=body)
        assert answer.status_code == 200
        assert codes_of(await asked(authority, peer=der)) == ["unauthenticated"]


async def test_an_expired_certificate_is_nobodys() -> None:
    async with running(rules=RULES) as authority:
        told, der = await shown(authority)
        found = authority.state.certificate(str(told["serial"]))
        assert found is not None
        authority.clock.now = found.not_after
        assert (await asked(authority, peer=der)).status_code == 201
        authority.clock.advance(1)
        assert codes_of(await asked(authority, peer=der)) == ["unauthenticated"]


async def test_a_forged_certificate_with_a_real_serial_is_nobodys() -> None:
    """Self-made, with serial, names and dates of a real one: neither with another key, nor with the same."""
    async with running(rules=RULES) as authority:
        told, der = await shown(authority)
        real = x509.load_der_x509_certificate(der)
        assert isinstance(real.public_key(), ec.EllipticCurvePublicKey)
        for key in (ec.generate_private_key(ec.SECP256R1()), subscriber().key):
            forged = (
                x509.CertificateBuilder(
                    issuer_name=real.issuer,
                    subject_name=real.subject,
                    public_key=key.public_key(),
                    serial_number=real.serial_number,
                    not_valid_before=real.not_valid_before_utc,
                    not_valid_after=real.not_valid_after_utc,
                )
                .add_extension(
                    x509.SubjectAlternativeName([x509.DNSName("deployer.lab.internal")]), critical=True
                )
                .sign(key, hashes.SHA256())
            )
            answer = await asked(authority, peer=forged.public_bytes(Encoding.DER))
            assert codes_of(answer) == ["unauthenticated"], told


async def test_whoever_guesses_is_slowed_down_and_others_are_not() -> None:
    async with running(failures_per_minute=5) as authority:
        for _ in range(5):
            assert codes_of(await asked(authority, authorization="Bearer ql_x_y")) == ["token-unknown"]
        answer = await asked(authority, authorization=f"Bearer {authority.admin}")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        other = await authority.ask(
            "POST", "/v1/certificates", token=authority.admin, json=WEB, address="192.0.2.99"
        )
        assert other.status_code == 201


async def test_an_address_in_a_header_of_proxies_is_not_believed() -> None:
    async with running(failures_per_minute=5) as authority:
        for number in range(5):
            address = f"198.51.100.{number}"
            await asked(
                authority,
                authorization="Bearer ql_x_y",
                x_forwarded_for=address,
                forwarded=f"for={address}",
            )
        answer = await asked(authority, authorization="Bearer ql_x_y", x_forwarded_for="198.51.100.77")
        assert answer.status_code == 429
