"""What strangers send to ACME: forged and twisted signatures, used nonces, other people's URLs. Refused, each in its words."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quicklime.adapters.memory_store import MemoryStore
from quicklime.authority.acme import CreateBindingKey
from quicklime.events import (
    ACMEAccountCreated,
    CertificatePlannedV2,
    CertificateRevoked,
    CertificateRevokedV2,
)
from quicklime.pki.jws import base64url
from quicklime.web.render import timestamp
from tests.support.acme import JOSE, Client, Served, directory, flattened, jwk_of, problem, running, sign
from tests.support.authority import ADA, Subscriber

WEB = "dns:web.lab.internal"


def _raw(header: dict[str, Any], payload: bytes = b"", signature: bytes = b"") -> bytes:
    return json.dumps(flattened(header, payload, lambda _: signature)).encode()


async def _header(client: Client, **more: Any) -> dict[str, Any]:
    url = client.url("new-order")
    found = {"alg": "ES256", "kid": client.account, "nonce": await client.nonce(), "url": url} | more
    return {name: value for name, value in found.items() if value is not None}


async def _twisted(client: Client, payload: object = None, **header: Any) -> str:
    """The error of a newOrder signed under a header of which something is otherwise."""
    octets = b"" if payload is None else json.dumps(payload).encode()
    found = await _header(client, **header)
    body = flattened(found, octets, lambda message: sign(client.key, message))
    return problem(await client.send(client.url("new-order"), json.dumps(body).encode()))


# --- signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "PS256", "ES512", "ES256K", "", 7, None])
async def test_algorithms_that_are_not_taken_are_refused_and_the_others_told(algorithm: object) -> None:
    async with running() as served:
        client = await served.registered()
        header = await _header(client, alg=algorithm)
        public = client.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        protected, payload = base64url(json.dumps(header).encode()), base64url(b"{}")
        mac = hmac.digest(public, f"{protected}.{payload}".encode(), "sha256")
        body = json.dumps({"protected": protected, "payload": payload, "signature": base64url(mac)}).encode()
        answer = await client.send(client.url("new-order"), body)
        assert problem(answer) == "badSignatureAlgorithm"
        assert "ES256" in answer.json()["algorithms"]
        assert "replay-nonce" in answer.headers


async def test_signatures_that_are_none() -> None:
    async with running() as served:
        client = await served.registered()
        url = client.url("new-order")
        assert isinstance(client.key, ec.EllipticCurvePrivateKey)
        der = client.key.sign(b"x", ec.ECDSA(hashes.SHA256()))
        for signature in (b"", bytes(64), bytes(63), bytes(32) + b"\1" * 32, b"\xff" * 64, der):
            answer = await client.send(url, _raw(await _header(client), b"{}", signature))
            assert problem(answer) == "malformed"
        body = json.loads(await client.body(url, {"identifiers": []}))
        body["payload"] = base64url(b'{"identifiers":[{"type":"dns","value":"evil.lab.internal"}]}')
        assert problem(await client.send(url, json.dumps(body).encode())) == "malformed"


async def test_an_algorithm_that_does_not_fit_the_key() -> None:
    async with running() as served:
        client = await served.registered()
        assert await _twisted(client, alg="RS256") == "badSignatureAlgorithm"
        assert await _twisted(client, alg="EdDSA") == "badSignatureAlgorithm"


@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"crit": []},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/x"},
        {"x5c": []},
        {"zip": "DEF"},
    ],
)
async def test_headers_that_move_the_key_or_the_rules_elsewhere(more: dict[str, Any]) -> None:
    async with running() as served:
        assert await _twisted(await served.registered(), **more) == "malformed"


async def test_exactly_one_of_jwk_and_kid() -> None:
    async with running() as served:
        client = await served.registered()
        assert await _twisted(client, jwk=jwk_of(client.key)) == "malformed"
        assert await _twisted(client, kid=None) == "malformed"
        # a bare key where an account is asked for, and the other way round
        assert await _twisted(client, kid=None, jwk=jwk_of(client.key)) == "malformed"
        answer = await client.post(client.url("new-account"), {"termsOfServiceAgreed": True})
        assert problem(answer) == "malformed"


@pytest.mark.parametrize(
    "kid",
    [
        "1",
        "",
        7,
        "https://evil.example/acme/default/account/{id}",
        "http://localhost:8443/acme/default/account/{id}",
        "https://localhost:8443/acme/other/account/{id}",
        "https://localhost:8443/acme/default/account/{id}/",
        "https://localhost:8443/acme/default/account/aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "{id}",
    ],
)
async def test_a_kid_that_is_no_account_of_this_directory(kid: object) -> None:
    async with running(directories={"default": directory(), "other": directory("other")}) as served:
        client = await served.registered()
        identifier = (client.account or "").rsplit("/", 1)[1]
        found = kid.replace("{id}", identifier) if isinstance(kid, str) else kid
        assert await _twisted(client, kid=found) == "accountDoesNotExist"


async def test_the_signed_url_is_the_one_that_was_asked() -> None:
    async with running() as served:
        client = await served.registered()
        for url in (
            None,
            "",
            client.url("new-authz"),
            client.url("new-order") + "?a",
            "https://evil.example/",
            7,
        ):
            assert await _twisted(client, url=url) == "unauthorized"
        # the same path at another of our names is another URL
        other = client.url("new-order").replace("localhost", "api.lab.internal")
        assert await _twisted(client, url=other) == "unauthorized"
        # what a proxy says counts for nothing
        body = await client.body(other, {})
        answer = await served.ask(
            "POST",
            client.url("new-order"),
            content=body,
            headers={
                "content-type": JOSE,
                "x-forwarded-host": "api.lab.internal:8443",
                "x-forwarded-proto": "https",
            },
        )
        assert problem(answer) == "unauthorized"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b"\xff\xfe",
        b"{" * 50_000,
        b"[" * 50_000,
        b'{"protected":"e30","payload":"","signature":""}',
        b'{"protected":"e30","protected":"e30","payload":"","signature":""}',
        b'{"protected":"e30=","payload":"","signature":""}',
        b'{"protected":"","payload":"","signature":""}',
        b'{"protected":7,"payload":"","signature":""}',
        b'{"protected":"e30","payload":"","signatures":[]}',
        b'{"protected":"e30","payload":"","signature":"","header":{"alg":"none"}}',
        b'{"protected":"e30","payload":"","signature":"","more":1}',
        b'{"protected":"eyJhbGciOiJFUzI1NiIsImFsZyI6Im5vbmUifQ","payload":"","signature":""}',
        b'{"protected":"bnVsbA","payload":"","signature":""}',
        b'{"protected":NaN,"payload":"","signature":""}',
        b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA",
    ],
)
async def test_bodies_that_are_no_jws(body: bytes) -> None:
    async with running() as served:
        client = served.client()
        answer = await client.send(client.url("new-account"), body)
        assert answer.status_code == 400
        assert problem(answer) in {"malformed", "badSignatureAlgorithm"}
        assert "replay-nonce" in answer.headers


async def test_sizes_and_media_types() -> None:
    async with running() as served:
        client = await served.registered()
        url = client.url("new-order")
        answer = await client.send(url, b"x" * 200_000)
        assert (answer.status_code, problem(answer)) == (413, "malformed")
        for kind in ("application/json", "text/plain", "", "application/jose"):
            answer = await client.send(url, b"{}", kind)
            assert (answer.status_code, problem(answer)) == (415, "malformed")
        answer = await client.send(url, await client.body(url, {}), "application/jose+json; charset=utf-8")
        assert answer.status_code == 400  # read, and then refused for its payload


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_resources_are_fetched_by_post_alone(method: str) -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).headers["location"]
        for url in (order, client.account or "", client.url("new-order"), client.url("revoke-cert")):
            answer = await served.ask(method, url)
            assert answer.status_code == 405
            assert answer.headers["allow"] == "POST"


async def test_nothing_else_is_here() -> None:
    async with running() as served:
        for path in (
            "/acme/default/",
            "/acme/default/nothing",
            "/acme/none/directory",
            "/acme/default/order/../x",
        ):
            answer = await served.ask("GET", path)
            assert answer.status_code == 404
        client = await served.registered()
        for part in ("order", "authz", "cert"):
            answer = await client.post(client.url(part, "aaaaaaaaaaaaaaaaaaaaaaaaaa"))
            assert (answer.status_code, problem(answer)) == (404, "malformed")


async def test_a_post_as_get_has_no_payload() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).headers["location"]
        assert problem(await client.post(order, {})) == "malformed"
        assert problem(await client.post(f"{client.account}/orders", {})) == "malformed"


async def test_weak_and_private_account_keys() -> None:
    async with running() as served:
        client = served.client(rsa.generate_private_key(65_537, 1024))
        assert problem(await client.register()) == "badPublicKey"
        good = served.client()
        private = jwk_of(good.key) | {"d": "AAAA"}
        answer = await good.post(good.url("new-account"), {}, by_key=True, header={"jwk": private})
        assert problem(answer) == "badPublicKey"
        jwks: list[Any] = [
            {},
            [],
            {"kty": "oct", "k": "AAAA"},
            {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"},
            jwk_of(good.key) | {"x": "AAAA"},
            jwk_of(good.key) | {"x": base64url(bytes(32))},
            {"kty": "RSA", "n": "AAAA", "e": "AQAB"},
            {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        ]
        for jwk in jwks:
            answer = await good.post(good.url("new-account"), {}, by_key=True, header={"jwk": jwk})
            assert problem(answer) in {"badPublicKey", "malformed"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_MEMBERS = st.sampled_from(["alg", "kid", "jwk", "nonce", "url", "crit", "b64", "typ"])


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    header=st.dictionaries(_MEMBERS, _JSON, max_size=6),
    payload=_JSON,
    where=st.integers(0, 8),
    keep=st.booleans(),
)
def test_whatever_is_sent_gets_an_acme_error_and_never_a_fault(
    header: dict[str, Any], payload: Any, where: int, *, keep: bool
) -> None:
    async def story() -> None:
        async with running() as served:
            client = await served.registered()
            order = (await client.order(WEB)).json()
            urls = [
                client.url("new-order"),
                client.url("new-account"),
                client.url("revoke-cert"),
                client.url("key-change"),
                client.url("new-authz"),
                order["finalize"],
                order["authorizations"][0],
                client.account or "",
                f"{order['authorizations'][0].replace('authz', 'chall')}/http-01",
            ]
            url = urls[where]
            more = {} if keep else header
            answer = await client.post(url, payload, header=more)
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                problem(answer)

    asyncio.run(story())


# --- nonces ---------------------------------------------------------------------------------------------------------


async def test_a_nonce_is_good_once_and_a_fresh_one_comes_with_the_refusal() -> None:
    async with running() as served:
        client = await served.registered()
        url = client.url("new-order")
        body = await client.body(url, {"identifiers": [{"type": "dns", "value": "web.lab.internal"}]})
        assert (await client.send(url, body)).status_code == 201
        again = await client.send(url, body)
        assert (again.status_code, problem(again)) == (400, "badNonce")
        fresh = again.headers["replay-nonce"]
        answer = await client.post(url, {"identifiers": []}, header={"nonce": fresh})
        assert problem(answer) == "malformed"


async def test_of_two_uses_of_a_nonce_at_once_one_counts() -> None:
    async with running() as served:
        client = await served.registered()
        url = client.url("new-order")
        body = await client.body(url, {"identifiers": [{"type": "dns", "value": "web.lab.internal"}]})
        answers = await asyncio.gather(*(client.send(url, body) for _ in range(5)))
        assert sorted(one.status_code for one in answers) == [201, 400, 400, 400, 400]


@pytest.mark.parametrize("nonce", [None, "", "AAAA", 7, "é", "A" * 43, "A" * 10_000, ["x"]])
async def test_nonces_that_are_none(nonce: object) -> None:
    async with running() as served:
        assert await _twisted(await served.registered(), nonce=nonce) == "badNonce"


async def test_a_nonce_ages_and_a_changed_one_is_none() -> None:
    async with running() as served:
        client = await served.registered()
        nonce = await client.nonce()
        octets = bytearray(urlsafe_b64decode(nonce + "="))
        octets[0] ^= 1
        assert await _twisted(client, nonce=base64url(bytes(octets))) == "badNonce"
        served.authority.clock.advance(3601)
        assert await _twisted(client, nonce=nonce) == "badNonce"


async def test_a_nonce_is_good_at_another_replica_and_after_a_restart_but_once_in_all() -> None:
    store = MemoryStore()
    async with running(protocol_store=store) as served:
        client = await served.registered()
        nonce, used = await client.nonce(), await client.nonce()
        assert await _twisted(client, {}, nonce=used) == "malformed"
        async with running(log=served.authority.log, protocol_log=served.log, protocol_store=store) as other:
            twin = other.client(client.key)
            twin.account = client.account
            assert await _twisted(twin, {}, nonce=used) == "badNonce"
            assert await _twisted(twin, {}, nonce=nonce) == "malformed"
        assert await _twisted(client, {}, nonce=nonce) == "badNonce"


async def test_nonces_from_before_the_store_of_used_ones_was_lost_are_refused() -> None:
    async with running() as served:
        client = await served.registered()
        nonce = await client.nonce()
        served.authority.clock.advance(1)
        with served.desks.protocol.store.write() as batch:
            batch.clear("acme-nonces")
        assert await _twisted(client, nonce=nonce) == "badNonce"


# --- whose is it? ---------------------------------------------------------------------------------------------------


async def test_no_account_reaches_anothers_resources() -> None:
    async with running() as served:
        ada, eve = await served.registered(), await served.registered()
        issued = await ada.issued(WEB)
        order = (await ada.order("dns:other.lab.internal")).json()
        challenge = (await ada.post(order["authorizations"][0])).json()["challenges"][0]["url"]
        for url, payload in (
            (issued.url, None),
            (issued.order["certificate"], None),
            (order["authorizations"][0], None),
            (order["authorizations"][0], {"status": "deactivated"}),
            (challenge, {}),
            (order["finalize"], {"csr": "AAAA"}),
            (ada.account or "", None),
            (ada.account or "", {"status": "deactivated"}),
            (f"{ada.account}/orders", None),
        ):
            answer = await eve.post(url, payload)
            assert (answer.status_code, problem(answer)) == (403, "unauthorized"), url


async def test_directories_share_no_accounts_and_no_orders() -> None:
    async with running(directories={"default": directory(), "other": directory("other")}) as served:
        ada = await served.registered()
        issued = await ada.issued(WEB)
        there = await served.registered(key=ada.key, directory="other")
        assert there.account != ada.account
        answer = await there.post(issued.url.replace("/default/", "/other/"))
        assert (answer.status_code, problem(answer)) == (404, "malformed")


# --- accounts -------------------------------------------------------------------------------------------------------


async def test_registering_again_finds_the_account() -> None:
    async with running() as served:
        client = await served.registered()
        first = client.account
        again = await client.register(contact=["mailto:other@example.com"])
        assert (again.status_code, again.headers["location"]) == (200, first)
        found = await client.post(client.url("new-account"), {"onlyReturnExisting": True}, by_key=True)
        assert (found.status_code, found.headers["location"]) == (200, first)
        stranger = served.client()
        assert problem(await stranger.register(onlyReturnExisting=True)) == "accountDoesNotExist"


@pytest.mark.parametrize(
    ("contact", "kind"),
    [
        ("mailto:a@example.com,b@example.com", "invalidContact"),
        ("mailto:a@example.com?subject=x", "invalidContact"),
        ("mailto:a@example.com\r\nBcc: b@example.com", "invalidContact"),
        ("mailto:", "invalidContact"),
        ("mailto:a", "invalidContact"),
        ("tel:+1", "unsupportedContact"),
        ("a@example.com", "unsupportedContact"),
        ("mailto:" + "a" * 400 + "@example.com", "invalidContact"),
    ],
)
async def test_contacts_that_are_none(contact: str, kind: str) -> None:
    async with running() as served:
        assert problem(await served.client().register(contact=[contact])) == kind
        assert (
            problem(await served.client().register(contact=["mailto:a@example.com"] * 11)) == "invalidContact"
        )


async def test_an_account_is_changed_and_closed_for_ever() -> None:
    async with running() as served:
        client = await served.registered()
        url = client.account or ""
        changed = await client.post(url, {"contact": ["mailto:new@example.com"], "orders": "ignored"})
        assert changed.json()["contact"] == ["mailto:new@example.com"]
        assert problem(await client.post(url, {"status": "valid"})) == "malformed"
        closed = await client.post(url, {"status": "deactivated"})
        assert closed.json()["status"] == "deactivated"
        assert problem(await client.order(WEB)) == "unauthorized"
        assert problem(await client.register()) == "unauthorized"


async def test_terms_are_to_be_agreed_to() -> None:
    async with running(directories={"default": directory(terms="https://ca.lab.internal/terms")}) as served:
        client = served.client()
        answer = await client.post(client.url("new-account"), {}, by_key=True)
        assert problem(answer) == "userActionRequired"
        assert '<https://ca.lab.internal/terms>;rel="terms-of-service"' in answer.headers.get_list("link")
        assert (await client.register()).json()["termsOfServiceAgreed"] is True


# --- key rollover ---------------------------------------------------------------------------------------------------


async def _change(
    client: Client, new: Any, *, signer: Any = None, header: Any = None, payload: Any = None
) -> Any:
    url = client.url("key-change")
    found = {"alg": "ES256", "jwk": jwk_of(new), "url": url} | (header or {})
    content = {"account": client.account, "oldKey": jwk_of(client.key)} | (payload or {})
    inner = flattened(found, json.dumps(content).encode(), lambda message: sign(signer or new, message))
    return await client.post(url, inner)


async def test_a_new_key_takes_the_old_ones_place() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).json()
        new = ec.generate_private_key(ec.SECP256R1())
        assert (await _change(client, new)).status_code == 200
        assert problem(await client.order(WEB)) == "malformed"
        client.key = new
        # what was authorized is the account's still, and proofs are of the new key from here on
        await client.prove(order)
        assert (await client.finalize(order)).status_code == 200


async def test_a_key_of_another_account_is_not_taken_over() -> None:
    async with running() as served:
        ada, eve = await served.registered(), await served.registered()
        answer = await _change(ada, eve.key)
        assert (answer.status_code, answer.headers["location"]) == (409, eve.account)
        again = await _change(ada, ada.key)
        assert again.status_code == 409


async def test_rollovers_that_prove_nothing() -> None:
    async with running() as served:
        ada, eve = await served.registered(), await served.registered()
        new = ec.generate_private_key(ec.SECP256R1())
        url = ada.url("key-change")
        twists: list[dict[str, Any]] = [
            {"signer": ada.key},
            {"header": {"nonce": await ada.nonce()}},
            {"header": {"url": ada.url("new-order")}},
            {"header": {"kid": ada.account}},
            {"payload": {"account": eve.account}},
            {"payload": {"oldKey": jwk_of(new)}},
            {"payload": {"oldKey": {}}},
        ]
        for twist in twists:
            answer = await _change(ada, new, **twist)
            assert problem(answer) in {"malformed", "badPublicKey"}, twist
        assert problem(await ada.post(url, {"account": ada.account})) == "malformed"
        weak = rsa.generate_private_key(65_537, 1024)
        assert problem(await _change(ada, weak, header={"alg": "RS256"})) == "badPublicKey"
        assert (await ada.order(WEB)).status_code == 201


# --- external account binding ---------------------------------------------------------------------------------------


async def _binding(
    client: Client, kid: str, mac: bytes, *, header: Any = None, jwk: Any = None
) -> dict[str, str]:
    found = {"alg": "HS256", "kid": kid, "url": client.url("new-account")} | (header or {})
    payload = json.dumps(jwk or jwk_of(client.key)).encode()
    return flattened(found, payload, lambda message: hmac.digest(mac, message, "sha256"))


async def _key(served: Served, **more: Any) -> tuple[str, bytes]:
    command = CreateBindingKey(
        directory="default",
        names=more.get("names", ("**.apps.lab.internal",)),
        profiles=more.get("profiles", ()),
        lifetime_seconds=3600,
        certificates_max=more.get("certificates_max"),
    )
    key, mac = await served.desks.accounts.create_key(command, ADA, profiles=["server", "client"])
    return key.key, mac


async def test_an_account_is_bound_to_what_was_granted() -> None:
    async with running(directories={"default": directory(binding_required=True)}) as served:
        client = served.client()
        assert problem(await client.register()) == "externalAccountRequired"
        kid, mac = await _key(served, certificates_max=2, profiles=("server",))
        answer = await client.register(externalAccountBinding=await _binding(client, kid, mac))
        assert answer.status_code == 201
        assert problem(await client.order(WEB)) == "rejectedIdentifier"
        assert problem(await client.order("dns:a.apps.lab.internal", profile="client")) == "invalidProfile"
        for name in "ab":
            await client.issued(f"dns:{name}.apps.lab.internal")
        # the quota is used up, which the log's order decides
        assert problem(await client.order("dns:c.apps.lab.internal")) == "unauthorized"
        created = next(one for one in served.authority.events() if isinstance(one, ACMEAccountCreated))
        assert created.binding == kid
        assert not any(mac in record.value for record in served.authority.log.read(0))


async def test_a_binding_key_binds_once_and_to_nothing_else() -> None:
    async with running(directories={"default": directory(), "other": directory("other")}) as served:
        kid, mac = await _key(served)
        other_kid, other_mac = await _key(served)
        client = served.client()
        stranger = jwk_of(ed25519.Ed25519PrivateKey.generate())
        for binding in (
            await _binding(client, kid, other_mac),
            await _binding(client, "unknown", mac),
            await _binding(client, kid, mac, header={"nonce": await client.nonce()}),
            await _binding(client, kid, mac, header={"url": client.url("new-order")}),
            await _binding(client, kid, mac, header={"alg": "ES256"}),
            await _binding(client, kid, mac, header={"alg": "none"}),
            await _binding(client, kid, mac, jwk=stranger),
            {},
            {"protected": "e30"},
        ):
            answer = await client.register(externalAccountBinding=binding)
            assert problem(answer) in {"malformed", "unauthorized"}, binding
        there = served.client(directory="other")
        answer = await there.register(externalAccountBinding=await _binding(there, kid, mac))
        assert problem(answer) == "unauthorized"
        assert (
            await client.register(externalAccountBinding=await _binding(client, kid, mac))
        ).status_code == 201
        second = served.client()
        answer = await second.register(externalAccountBinding=await _binding(second, kid, mac))
        assert problem(answer) == "unauthorized"
        served.authority.clock.advance(3601)
        late = served.client()
        answer = await late.register(externalAccountBinding=await _binding(late, other_kid, other_mac))
        assert problem(answer) == "unauthorized"


async def test_a_revoked_binding_key_ends_what_its_account_may_have() -> None:
    async with running() as served:
        kid, mac = await _key(served)
        client = served.client()
        await client.register(externalAccountBinding=await _binding(client, kid, mac))
        order = (await client.order("dns:a.apps.lab.internal")).json()
        await client.prove(order)
        await served.desks.accounts.revoke_key(kid, ADA)
        answer = await client.finalize(order)
        assert problem(answer) == "unauthorized"
        assert problem(await client.order("dns:b.apps.lab.internal")) == "unauthorized"


# --- revocation -----------------------------------------------------------------------------------------------------


async def _revoke(client: Client, der: bytes, *, by_key: bool = False, **more: Any) -> Any:
    payload = {"certificate": base64url(der)} | more
    return await client.post(client.url("revoke-cert"), payload, by_key=by_key)


async def test_revocation_by_the_account_by_the_key_and_by_who_proved_every_name() -> None:
    async with running() as served:
        ada, bob = await served.registered(), await served.registered()
        holder = Subscriber.new()
        first, second, third = [await ada.issued(WEB, by=by) for by in (None, holder, None)]
        assert (await _revoke(ada, first.der, reason=4)).status_code == 200
        again = await _revoke(ada, first.der)
        assert problem(again) == "alreadyRevoked"
        by_key = served.client(holder.key)
        assert (await _revoke(by_key, second.der, by_key=True, reason=1)).status_code == 200
        assert problem(await _revoke(bob, third.der)) == "unauthorized"
        await bob.prove((await bob.order(WEB)).json())
        assert (await _revoke(bob, third.der)).status_code == 200
        facts = [one for one in served.authority.events() if isinstance(one, CertificateRevoked)]
        assert [(type(one), one.requester.kind, one.reason) for one in facts] == [
            (CertificateRevokedV2, "acme", 4),
            (CertificateRevoked, "possession", 1),
            (CertificateRevokedV2, "acme", 0),
        ]


async def test_revocations_that_are_none() -> None:
    async with running() as served:
        ada = await served.registered()
        holder = Subscriber.new()
        issued = await ada.issued(WEB, by=holder)
        assert problem(await _revoke(ada, issued.der, reason=6)) == "badRevocationReason"
        assert problem(await _revoke(ada, issued.der, reason=7)) == "badRevocationReason"
        assert problem(await _revoke(served.client(), issued.der, by_key=True)) == "unauthorized"
        assert problem(await _revoke(ada, b"")) == "malformed"
        assert problem(await _revoke(ada, issued.der + b"\0")) == "malformed"
        # a certificate with a real serial that is not the one that was issued
        forged = bytearray(issued.der)
        forged[-1] ^= 1
        assert problem(await _revoke(ada, bytes(forged))) == "malformed"
        # another authority's
        assert problem(await _revoke(ada, served.authority.lab.root)) == "malformed"
        certificate = served.authority.state.certificate(issued.serial)
        assert certificate is not None
        assert certificate.status == "issued"


async def test_of_two_revocations_at_once_one_counts() -> None:
    async with running() as served:
        ada = await served.registered()
        issued = await ada.issued(WEB)
        answers = await asyncio.gather(*(_revoke(ada, issued.der) for _ in range(3)))
        assert sorted(one.status_code for one in answers) == [200, 400, 400]


# --- renewal information --------------------------------------------------------------------------------------------


async def test_the_window_lies_before_the_end_and_in_the_past_once_revoked() -> None:
    async with running() as served:
        ada = await served.registered()
        issued = await ada.issued(WEB)
        url = f"{ada.url('renewal-info')}/{issued.identifier}"
        answer = await served.ask("GET", url)
        window = answer.json()["suggestedWindow"]
        end = issued.leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        assert "2026" < window["start"] < window["end"] < end
        assert int(answer.headers["retry-after"]) > 0
        await _revoke(ada, issued.der)
        past = (await served.ask("GET", url)).json()["suggestedWindow"]
        now = served.authority.clock.now
        assert past["start"] < past["end"] <= timestamp(now)


@pytest.mark.parametrize(
    "identifier", ["", "AAAA", "AAAA.", ".AAAA", "AAAA.AAAA", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"]
)
async def test_certificate_ids_that_are_none(identifier: str) -> None:
    async with running() as served:
        answer = await served.ask("GET", f"/acme/default/renewal-info/{identifier}")
        assert answer.status_code in {400, 404}
        assert problem(answer) == "malformed"


async def test_a_replacement_is_one_lineage_and_happens_once() -> None:
    async with running() as served:
        ada = await served.registered()
        first = await ada.issued(WEB)
        order = (await ada.order(WEB, replaces=first.identifier)).json()
        assert order["replaces"] == first.identifier
        rival = (await ada.order(WEB, replaces=first.identifier)).json()
        done = await ada.finalize(order)
        assert done.status_code == 200
        plan = [one for one in served.authority.events() if isinstance(one, CertificatePlannedV2)][1]
        assert (plan.predecessor, plan.lineage) == (first.serial, first.serial)
        answer = await ada.finalize(rival)
        assert (answer.status_code, problem(answer)) == (409, "alreadyReplaced")
        late = await ada.order(WEB, replaces=first.identifier)
        assert (late.status_code, problem(late)) == (409, "alreadyReplaced")


async def test_a_revoked_certificate_is_replaced_and_the_names_may_be_others() -> None:
    async with running() as served:
        ada = await served.registered()
        first = await ada.issued(WEB)
        await _revoke(ada, first.der)
        order = (await ada.order(WEB, "dns:more.lab.internal", replaces=first.identifier)).json()
        await ada.prove(order)
        assert (await ada.finalize(order)).status_code == 200


async def test_what_can_not_be_replaced() -> None:
    async with running() as served:
        ada, eve = await served.registered(), await served.registered()
        first = await ada.issued(WEB)
        assert problem(await eve.order(WEB, replaces=first.identifier)) == "unauthorized"
        assert problem(await ada.order("dns:x.lab.internal", replaces=first.identifier)) == "malformed"
        assert problem(await ada.order(WEB, replaces="AAAA.AAAA")) == "malformed"
        native = await served.authority.issued()
        number = bytes.fromhex(native["serial"])
        identifier = f"{first.identifier.partition('.')[0]}.{base64url(number.lstrip(bytes(1)))}"
        assert problem(await ada.order(WEB, replaces=identifier)) in {"unauthorized", "malformed"}
