"""ACME from the first nonce to the certificate: resources, statuses, and what each answer has to carry."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime import codec
from quicklime.events import CertificatePlannedV2
from quicklime.lifecycle.certificate import Certificate
from quicklime.protocol import NameValidated
from quicklime.validation import CAARecord, Fetched
from tests.support.acme import BASE, directory, problem, running
from tests.support.authority import Subscriber
from tests.support.pkix_lint import chain_findings, findings

WEB = "dns:web.lab.internal"


async def test_the_directory_names_every_resource_and_what_there_is() -> None:
    async with running() as served:
        answer = await served.ask("GET", "/acme/default/directory")
        assert answer.status_code == 200
        content = answer.json()
        assert content["newOrder"] == f"{BASE}/acme/default/new-order"
        assert {
            "newNonce",
            "newAccount",
            "newAuthz",
            "revokeCert",
            "keyChange",
            "renewalInfo",
        } <= content.keys()
        assert content["meta"]["profiles"].keys() == {"server", "client"}
        assert content["meta"]["caaIdentities"] == ["ca.lab.internal"]
        assert "externalAccountRequired" not in content["meta"]


async def test_a_client_is_told_urls_of_the_host_that_it_named_where_that_is_ours() -> None:
    async with running() as served:
        answer = await served.ask("GET", "/acme/default/directory", headers={"host": "api.lab.internal:8443"})
        assert answer.json()["newNonce"].startswith("https://api.lab.internal:8443/")
        answer = await served.ask("GET", "/acme/default/directory", headers={"host": "evil.example"})
        assert answer.json()["newNonce"].startswith(f"{BASE}/")
        forwarded = {"x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
        answer = await served.ask("GET", "/acme/default/directory", headers=forwarded)
        assert answer.json()["newNonce"].startswith(f"{BASE}/")
    async with running(url="https://acme.example.test") as served:
        answer = await served.ask("GET", "/acme/default/directory", headers={"host": "localhost:8443"})
        assert answer.json()["newNonce"].startswith("https://acme.example.test/acme/")


async def test_nonces_come_by_head_and_get_and_are_never_cached() -> None:
    async with running() as served:
        head = await served.ask("HEAD", "/acme/default/new-nonce")
        get = await served.ask("GET", "/acme/default/new-nonce")
        assert (head.status_code, get.status_code) == (200, 204)
        assert head.headers["cache-control"] == get.headers["cache-control"] == "no-store"
        assert head.headers["replay-nonce"] != get.headers["replay-nonce"]
        assert f'<{BASE}/acme/default/directory>;rel="index"' in head.headers["link"]


async def test_a_certificate_by_http_01_with_its_evidence_in_the_ledger() -> None:
    async with running() as served:
        client = await served.registered()
        issued = await client.issued(WEB, "dns:www.lab.internal")
        assert issued.order["status"] == "valid"
        assert issued.leaf.not_valid_before_utc < issued.leaf.not_valid_after_utc
        names = issued.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert sorted(names.get_values_for_type(x509.DNSName)) == ["web.lab.internal", "www.lab.internal"]
        assert not findings(issued.der)
        assert not chain_findings(issued.certificates[1].public_bytes(Encoding.DER), issued.der)
        plan = next(one for one in served.authority.events() if isinstance(one, CertificatePlannedV2))
        assert client.account is not None
        assert (plan.requester.kind, plan.requester.id) == ("acme", client.account.rsplit("/", 1)[1])
        proof = next(line for line in plan.evidence if line.startswith(f"{WEB} validated by http-01"))
        assert "A, AAAA web.lab.internal of 192.0.2.53:53" in proof
        assert "GET http://web.lab.internal/.well-known/acme-challenge/" in proof
        assert any("CAA web.lab.internal and its parents" in line for line in plan.evidence)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65_537, 2048),
    ],
    ids=["ES384", "EdDSA", "RS256"],
)
async def test_account_keys_of_every_kind(key: ec.EllipticCurvePrivateKey) -> None:
    async with running() as served:
        client = await served.registered(key=key)
        assert (await client.issued(WEB)).order["status"] == "valid"


async def test_a_wildcard_by_dns_01_and_only_so() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order("dns:*.lab.internal", "dns:web.lab.internal")).json()
        found = [(await client.post(url)).json() for url in order["authorizations"]]
        wild = next(one for one in found if one.get("wildcard"))
        assert wild["identifier"] == {"type": "dns", "value": "lab.internal"}
        assert [one["type"] for one in wild["challenges"]] == ["dns-01"]
        await client.prove(order, "dns-01")
        assert (await client.finalize(order)).json()["status"] == "valid"


async def test_an_address_by_http_01_never_by_dns() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order("ip:10.0.0.7")).json()
        found = (await client.post(order["authorizations"][0])).json()
        assert {one["type"] for one in found["challenges"]} == {"http-01", "tls-alpn-01"}
        issued = await client.issued("ip:10.0.0.7")
        assert served.world.dialled[-1][2].startswith("http://10.0.0.7/")
        names = issued.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]


async def test_an_order_goes_from_pending_to_ready_to_valid() -> None:
    async with running() as served:
        client = await served.registered()
        answer = await client.order(WEB)
        order, url = answer.json(), answer.headers["location"]
        assert (answer.status_code, order["status"]) == (201, "pending")
        early = await client.finalize(order)
        assert (early.status_code, problem(early)) == (403, "orderNotReady")
        await client.prove(order)
        assert (await client.post(url)).json()["status"] == "ready"
        done = await client.finalize(order)
        assert done.json()["status"] == "valid"
        assert (await client.post(url)).json()["certificate"] == done.json()["certificate"]
        again = await client.finalize(order)
        assert problem(again) == "orderNotReady"


async def test_a_failed_validation_makes_order_and_authorization_invalid_and_says_why() -> None:
    async with running() as served:
        client = await served.registered()
        answer = await client.order(WEB)
        found = (await client.post(answer.json()["authorizations"][0])).json()
        challenge = next(one for one in found["challenges"] if one["type"] == "http-01")
        served.world.pages[f"/.well-known/acme-challenge/{challenge['token']}"] = Fetched(
            status=200, location=None, body=b"secret page"
        )
        judged = await client.post(challenge["url"], {})
        assert judged.json()["status"] == "invalid"
        assert judged.json()["error"]["type"].endswith(":unauthorized")
        # what was fetched is not told to who asked for it
        assert "secret page" not in judged.text
        assert (await client.post(answer.json()["authorizations"][0])).json()["status"] == "invalid"
        assert (await client.post(answer.headers["location"])).json()["status"] == "invalid"


async def test_a_challenge_names_its_authorization_and_empty_objects_alone_start_it() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).json()
        url = order["authorizations"][0]
        challenge = (await client.post(url)).json()["challenges"][0]
        read = await client.post(challenge["url"])
        assert read.json()["status"] == "pending"
        assert f'<{url}>;rel="up"' in read.headers["link"]
        assert not served.world.dialled


async def test_a_slow_validation_is_told_as_processing_and_judged_later() -> None:
    async with running() as served:
        client = await served.registered()
        answer = await client.order(WEB)
        challenge = (await client.post(answer.json()["authorizations"][0])).json()["challenges"][0]
        served.world.gate = gate = asyncio.Event()
        client.show("web.lab.internal", challenge["token"])
        told = await client.post(challenge["url"], {})
        assert told.json()["status"] == "processing"
        assert told.headers["retry-after"].isdecimal()
        gate.set()
        await asyncio.gather(*served.desks.validations.values())
        assert (await client.post(answer.headers["location"])).json()["status"] == "ready"


async def test_a_proved_name_is_not_asked_for_again_until_it_expires() -> None:
    async with running() as served:
        client = await served.registered()
        first = await client.issued(WEB)
        second = (await client.order(WEB)).json()
        assert second["status"] == "ready"
        assert second["authorizations"] == first.order["authorizations"]
        served.authority.clock.advance(28_801)
        third = (await client.order(WEB)).json()
        assert third["status"] == "pending"


async def test_a_deactivated_authorization_proves_nothing_any_more() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).json()
        await client.prove(order)
        gone = await client.post(order["authorizations"][0], {"status": "deactivated"})
        assert gone.json()["status"] == "deactivated"
        assert problem(await client.finalize(order)) == "orderNotReady"
        assert (await client.order(WEB)).json()["status"] == "pending"


async def test_orders_expire() -> None:
    async with running() as served:
        client = await served.registered()
        answer = await client.order(WEB)
        served.authority.clock.advance(86_401)
        assert (await client.post(answer.headers["location"])).json()["status"] == "invalid"


async def test_a_name_can_be_authorized_before_any_order() -> None:
    async with running() as served:
        client = await served.registered()
        asked = {"identifier": {"type": "dns", "value": "web.lab.internal"}}
        answer = await client.post(client.url("new-authz"), asked)
        assert answer.status_code == 201
        await client.prove({"authorizations": [answer.headers["location"]]})
        assert (await client.order(WEB)).json()["status"] == "ready"
        wild = {"identifier": {"type": "dns", "value": "*.lab.internal"}}
        assert problem(await client.post(client.url("new-authz"), wild)) == "malformed"


async def test_the_list_of_orders_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quicklime.services.acme.accounts.ORDERS_PAGE", 2)
    async with running() as served:
        client = await served.registered()
        made = []
        for number in range(5):
            served.authority.clock.advance(1)
            made.append((await client.order(f"dns:n{number}.lab.internal")).headers["location"])
        url: str | None = f"{client.account}/orders"
        found = []
        while url is not None:
            page = await client.post(url)
            found += page.json()["orders"]
            following = [one for one in page.headers.get_list("link") if 'rel="next"' in one]
            url = following[0].split(">")[0].removeprefix("<") if following else None
        assert found == made


async def test_chains_leaf_first_and_with_the_root_as_an_alternate() -> None:
    async with running() as served:
        client = await served.registered()
        issued = await client.issued(WEB)
        url = issued.order["certificate"]
        answer = await client.post(url)
        assert answer.headers["content-type"] == "application/pem-certificate-chain"
        assert answer.text.startswith("-----BEGIN CERTIFICATE-----\n")
        alternate = next(one for one in answer.headers.get_list("link") if "alternate" in one)
        longer = x509.load_pem_x509_certificates(
            (await client.post(alternate.split(">")[0].removeprefix("<"))).content
        )
        assert longer[:-1] == list(issued.certificates)
        assert longer[-1].subject == longer[-1].issuer


# --- policy ---------------------------------------------------------------------------------------------------------


async def test_names_outside_the_issuer_are_refused_at_the_order_each_by_name() -> None:
    async with running() as served:
        client = await served.registered()
        answer = await client.order(WEB, "dns:www.example.com", "ip:192.0.2.1")
        assert problem(answer) == "rejectedIdentifier"
        named = [one["identifier"]["value"] for one in answer.json()["subproblems"]]
        assert sorted(named) == ["192.0.2.1", "www.example.com"]


async def test_a_directory_gives_its_names_under_its_profiles() -> None:
    only = directory(names=("**.apps.lab.internal",), profiles=("client",), methods=("dns-01",))
    async with running(directories={"default": only}) as served:
        client = await served.registered()
        assert problem(await client.order(WEB)) == "rejectedIdentifier"
        assert problem(await client.order("dns:a.apps.lab.internal", profile="server")) == "invalidProfile"
        order = (await client.order("dns:a.apps.lab.internal", profile="client")).json()
        assert order["profile"] == "client"
        found = (await client.post(order["authorizations"][0])).json()
        assert [one["type"] for one in found["challenges"]] == ["dns-01"]


async def test_the_profile_that_was_asked_for_is_the_one_that_is_used() -> None:
    async with running() as served:
        client = await served.registered()
        issued = await client.issued(WEB, profile="client")
        usage = issued.leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [one.dotted_string for one in usage] == ["1.3.6.1.5.5.7.3.2"]


@pytest.mark.parametrize(
    ("identifiers", "kind"),
    [
        ([], "malformed"),
        ([{"type": "dns", "value": f"n{number}.lab.internal"} for number in range(101)], "malformed"),
        ([{"type": "email", "value": "ada@lab.internal"}], "unsupportedIdentifier"),
        ([{"type": "dns", "value": "10.0.0.1"}], "malformed"),
        ([{"type": "dns", "value": "*.*.lab.internal"}], "malformed"),
        ([{"type": "dns", "value": "web\0.lab.internal"}], "malformed"),
        ([{"type": "dns", "value": "x" * 100_000}], "malformed"),
        ([{"type": "ip", "value": "010.0.0.1"}], "malformed"),
        ([{"type": "ip", "value": "fd00:0::1"}], "malformed"),
        ([{"type": "ip", "value": "::ffff:10.0.0.1"}], "malformed"),
        ([{"type": "dns"}], "malformed"),
        ("all of them", "malformed"),
    ],
)
async def test_identifiers_that_are_none(identifiers: object, kind: str) -> None:
    async with running() as served:
        client = await served.registered()
        answer = await client.post(client.url("new-order"), {"identifiers": identifiers})
        assert problem(answer) == kind


async def test_lifetimes_are_refused_not_ignored() -> None:
    async with running() as served:
        client = await served.registered()
        assert problem(await client.order(WEB, notAfter="2030-01-01T00:00:00Z")) == "malformed"


@pytest.mark.parametrize(
    "names", [("dns:web.lab.internal", "dns:more.lab.internal"), ("dns:other.lab.internal",)]
)
async def test_a_csr_for_other_names_than_the_order(names: tuple[str, ...]) -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).json()
        await client.prove(order)
        answer = await client.finalize(order, *names)
        assert problem(answer) == "badCSR"
        # the order is ready still
        assert (await client.finalize(order)).status_code == 200


async def test_a_csr_with_the_accounts_key_or_none_at_all() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).json()
        await client.prove(order)
        assert isinstance(client.key, ec.EllipticCurvePrivateKey)
        assert problem(await client.finalize(order, by=Subscriber(client.key))) == "badCSR"
        for csr in ("", "AAAA", "not base64!", "MIIB"):
            assert problem(await client.post(order["finalize"], {"csr": csr})) == "badCSR"


async def test_caa_is_asked_for_at_issuance_and_forbids() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).json()
        await client.prove(order)
        served.world.caa_at["lab.internal"] = [CAARecord(flags=0, tag="issue", value="other.example")]
        answer = await client.finalize(order)
        assert (answer.status_code, problem(answer)) == (403, "caa")
        assert answer.json()["subproblems"][0]["identifier"]["value"] == "web.lab.internal"
        uri = f"{BASE}/acme/default/account/{(client.account or '').rsplit('/', 1)[1]}"
        served.world.caa_at["lab.internal"] = [
            CAARecord(
                flags=0, tag="issue", value=f"ca.lab.internal; accounturi={uri}; validationmethods=http-01"
            )
        ]
        assert (await client.finalize(order)).status_code == 200


async def test_caa_that_can_not_be_looked_up_forbids() -> None:
    async with running() as served:
        client = await served.registered()
        order = (await client.order(WEB)).json()
        await client.prove(order)
        served.world.broken.add("lab.internal")
        assert problem(await client.finalize(order)) == "caa"


# --- races ----------------------------------------------------------------------------------------------------------


async def test_of_two_finalizations_at_once_one_gets_the_certificate() -> None:
    async with running() as served:
        client = await served.registered()
        answer = await client.order(WEB)
        await client.prove(answer.json())
        answers = await asyncio.gather(*(client.finalize(answer.json()) for _ in range(4)))
        assert [one.status_code for one in answers].count(200) == 1
        assert {problem(one) for one in answers if one.status_code != 200} <= {"orderNotReady"}
        plans = [one for one in served.authority.events() if isinstance(one, CertificatePlannedV2)]
        standing = [served.authority.state.certificate(one.serial) for one in plans]
        assert [one.status for one in standing if isinstance(one, Certificate)].count("issued") == 1


async def test_of_two_registrations_with_one_key_at_once_there_is_one_account() -> None:
    async with running() as served:
        client = served.client()
        bodies = [
            await client.body(client.url("new-account"), {"termsOfServiceAgreed": True}, by_key=True)
            for _ in range(3)
        ]
        answers = await asyncio.gather(*(client.send(client.url("new-account"), body) for body in bodies))
        assert sorted(one.status_code for one in answers) == [200, 200, 201]
        assert len({one.headers["location"] for one in answers}) == 1


async def test_everything_that_was_said_is_found_again_by_another_replica() -> None:
    """A second set of desks over the same logs, with a store of its own, as another node has it."""
    async with running() as served:
        client = await served.registered()
        answer = await client.order(WEB)
        await client.prove(answer.json())
        async with running(log=served.authority.log, protocol_log=served.log, protocol_store=None) as other:
            twin = other.client(client.key)
            twin.account = client.account
            assert (await twin.post(answer.headers["location"])).json()["status"] == "ready"
            assert (await twin.finalize(answer.json())).json()["status"] == "valid"
        assert (await client.post(answer.headers["location"])).json()["status"] == "valid"


async def test_validations_are_facts_with_what_was_asked() -> None:
    async with running() as served:
        client = await served.registered()
        await client.issued(WEB)
        facts = [codec.decode_protocol(one.value) for one in served.log.read(0)]
        proved = next(one for one in facts if isinstance(one, NameValidated))
        assert [one.asked.split()[0] for one in proved.evidence] == ["A,", "GET"]
        assert all(one.perspective == "here" and one.at for one in proved.evidence)


async def test_rate_limits_say_how_long_to_wait() -> None:
    async with running(accounts_per_minute=1, orders_per_minute=2) as served:
        client = await served.registered()
        refused = await served.client().register()
        assert (refused.status_code, problem(refused)) == (429, "rateLimited")
        assert int(refused.headers["retry-after"]) > 0
        assert [(await client.order(WEB)).status_code for _ in range(3)] == [201, 201, 429]


async def test_failed_validations_are_limited_by_account_and_name() -> None:
    async with running(failures_per_minute=1) as served:
        client = await served.registered()
        statuses = []
        for _ in range(2):
            order = (await client.order(WEB)).json()
            challenge = (await client.post(order["authorizations"][0])).json()["challenges"][0]
            statuses.append((await client.post(challenge["url"], {})).status_code)
        assert statuses == [200, 429]
