"""What was issued: who may see it, pages that miss nothing, filters; and how the service says that it is not well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.memory_store import MemoryStore
from quicklime.log import LogUnreadable, MemoryLog, Record
from quicklime.projection import Store
from tests.support.authority import Authority, Subscriber, certificate_of, codes_of, running

DAY = 86_400


async def page(authority: Authority, query: str = "", token: str | None = None) -> dict[str, Any]:
    answer = await authority.ask("GET", f"/v1/certificates{query}", token=token or authority.admin)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def serials(found: dict[str, Any]) -> list[str]:
    return [one["serial"] for one in found["certificates"]]


def der(found: dict[str, Any]) -> bytes:
    return certificate_of(found).public_bytes(Encoding.DER)


# --- who may see what -----------------------------------------------------------------------------------------------


async def test_a_requester_sees_its_own_and_nothing_else(authority: Authority) -> None:
    one, two = await authority.token(), await authority.token()
    of_one, of_two = await authority.issued(token=one), await authority.issued(token=two)

    async def seen(found: dict[str, Any], **who: Any) -> httpx.Response:
        return await authority.ask("GET", f"/v1/certificates/{found['serial']}", **who)

    assert (await seen(of_one, token=one)).json()["serial"] == of_one["serial"]
    assert (await seen(of_two, token=two)).json()["serial"] == of_two["serial"]
    foreign = await seen(of_two, token=one)
    unknown = await seen({"serial": of_two["serial"][:-1] + "0"}, token=one)
    assert (foreign.status_code, codes_of(foreign)) == (404, ["certificate-unknown"])
    # a stranger's certificate and none at all look the same
    assert foreign.json()["detail"].replace(of_two["serial"], "?") == unknown.json()["detail"].replace(
        of_two["serial"][:-1] + "0", "?"
    )
    assert (await seen(of_one)).status_code == 401
    for role in ("auditor", "operator", "admin"):
        token = await authority.token(role)
        assert (await seen(of_one, token=token)).status_code == 200
    listing = await authority.ask("GET", "/v1/certificates", token=one)
    assert (listing.status_code, codes_of(listing)) == (403, ["forbidden"])
    scraped = await authority.ask("GET", "/metrics", token=one)
    assert (scraped.status_code, codes_of(scraped)) == (403, ["forbidden"])
    assert (await authority.ask("GET", "/metrics")).status_code == 401


async def test_the_holder_of_a_client_certificate_sees_it_and_no_other(authority: Authority) -> None:
    held = await authority.issued(profile="client")
    other = await authority.issued(profile="client")
    mine = await authority.ask("GET", f"/v1/certificates/{held['serial']}", peer=der(held))
    assert mine.json()["certificate"] == held["certificate"]
    foreign = await authority.ask("GET", f"/v1/certificates/{other['serial']}", peer=der(held))
    assert (foreign.status_code, codes_of(foreign)) == (404, ["certificate-unknown"])


async def test_cfssl_s_certinfo_shows_no_more_than_our_own_api(authority: Authority) -> None:
    one, two = await authority.token(), await authority.token()
    found = await authority.issued(token=one)
    body = {"serial": found["serial"]}
    for who, status in ((one, 200), (two, 400), (None, 400), (authority.admin, 200)):
        answer = await authority.ask("POST", "/api/v1/cfssl/certinfo", token=who, json=body)
        assert (answer.status_code, answer.json()["success"]) == (status, status == 200)


async def test_a_record_says_all_and_nothing_secret(authority: Authority) -> None:
    token = await authority.token(label="ci")
    holder = Subscriber.new()
    found = await authority.issued(token=token, by=holder, node="rack 7")
    renewed = (await authority.renew(found, by=holder, to=Subscriber.new())).json()
    shown = (await authority.ask("GET", f"/v1/certificates/{found['serial']}", token=token)).json()
    for field in ("serial", "issuer", "profile", "names", "not_before", "not_after", "certificate", "chain"):
        assert shown[field] == found[field], field
    assert (shown["status"], shown["successor"], shown["node"]) == ("issued", renewed["serial"], "rack 7")
    assert shown["issued_offset"] == found["log_offset"] == shown["plan_offset"] + 1
    assert shown["requester"]["kind"] == "token"
    assert shown["requester"]["id"] in token
    assert "secret" not in str(shown)
    child = (
        await authority.ask("GET", f"/v1/certificates/{renewed['serial']}", token=authority.admin)
    ).json()
    assert (child["predecessor"], child["lineage"]) == (found["serial"], found["serial"])
    assert child["requester"] == {"kind": "possession", "id": found["serial"]}


async def test_a_record_in_pem_and_der(authority: Authority) -> None:
    found = await authority.issued()
    path = f"/v1/certificates/{found['serial']}"
    chain = await authority.ask(
        "GET", path, token=authority.admin, headers={"accept": "application/pem-certificate-chain"}
    )
    assert chain.text == found["chain"]
    leaf = await authority.ask(
        "GET", path, token=authority.admin, headers={"accept": "application/pkix-cert"}
    )
    assert x509.load_der_x509_certificate(leaf.content) == certificate_of(found)
    neither = await authority.ask("GET", path, token=authority.admin, headers={"accept": "image/png"})
    assert (neither.status_code, codes_of(neither)) == (406, ["not-acceptable"])


# --- pages ----------------------------------------------------------------------------------------------------------


async def test_pages_hold_every_certificate_once_in_the_order_of_the_log(authority: Authority) -> None:
    issued = [(await authority.issued(f"dns:n{number}.lab.internal"))["serial"] for number in range(7)]
    for limit in (1, 2, 3, 7, 8):
        found: list[str] = []
        cursor: str | None = None
        for _ in range(20):
            one = await page(authority, f"?limit={limit}" + ("" if cursor is None else f"&after={cursor}"))
            assert len(one["certificates"]) <= limit
            found += serials(one)
            cursor = one["next"]
            if cursor is None:
                break
        assert found == issued, limit


async def test_by_name(authority: Authority) -> None:
    both = await authority.issued("dns:a.lab.internal", "dns:b.lab.internal")
    one = await authority.issued("dns:a.lab.internal")
    address = await authority.issued("ip:10.0.0.1")
    assert serials(await page(authority, "?name=a.lab.internal")) == [both["serial"], one["serial"]]
    assert serials(await page(authority, "?name=dns:B.lab.internal")) == [both["serial"]]
    assert serials(await page(authority, "?name=10.0.0.1")) == [address["serial"]]
    assert serials(await page(authority, "?name=lab.internal")) == []
    first = await page(authority, "?name=a.lab.internal&limit=1")
    assert serials(await page(authority, f"?name=a.lab.internal&limit=1&after={first['next']}")) == [
        one["serial"]
    ]


async def test_by_status(authority: Authority) -> None:
    short = await authority.issued(validity_seconds=3600)
    gone = await authority.issued()
    good = await authority.issued()
    path = f"/v1/certificates/{gone['serial']}/revocation"
    await authority.ask("POST", path, json={"secret": gone["revocation_secret"], "reason": 4})
    authority.clock.advance(3601)
    assert serials(await page(authority, "?status=expired")) == [short["serial"]]
    assert serials(await page(authority, "?status=revoked")) == [gone["serial"]]
    assert serials(await page(authority, "?status=issued")) == [good["serial"]]
    every = await page(authority, "?status=all")
    assert [one["status"] for one in every["certificates"]] == ["expired", "revoked", "issued"]
    assert every["certificates"][1]["reason"] == "superseded"
    assert every["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=1e2", "limit"),
        ("status=good", "status"),
        ("after=zz", "after"),
        ("nmae=x", "query"),
    ],
)
@pytest.mark.parametrize("kind", ["memory", "lmdb"])
async def test_a_query_that_can_not_be_is_refused(kind: str, query: str, field: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else LMDBStore(tmp_path / "views")
    async with running(store=store) as authority:
        answer = await authority.ask("GET", f"/v1/certificates?{query}", token=authority.admin)
        assert (answer.status_code, codes_of(answer)) == (400, ["request-malformed"])
        assert answer.json()["reasons"][0]["field"] == field
    store.close()


async def test_every_fault_of_a_query_is_told_at_once(authority: Authority) -> None:
    answer = await authority.ask(
        "GET", "/v1/certificates?limit=0&status=x&after=z&name=!&foo=1", token=authority.admin
    )
    assert {reason["field"] for reason in answer.json()["reasons"]} == {
        "limit",
        "status",
        "after",
        "name",
        "query",
    }


@pytest.mark.parametrize("cursor", ["", "00", "69", "6a", "ff" * 9, "69" + "ff" * 8, "69" * 600])
@pytest.mark.parametrize("kind", ["memory", "lmdb"])
async def test_any_cursor_gives_a_page(kind: str, cursor: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else LMDBStore(tmp_path / "views")
    async with running(store=store) as authority:
        issued = await authority.issued()
        found = serials(await page(authority, f"?after={cursor}"))
        assert found in ([], [issued["serial"]])
    store.close()


# --- how the service is ---------------------------------------------------------------------------------------------


async def test_live_and_ready(authority: Authority) -> None:
    assert (await authority.ask("GET", "/health/live")).json() == {"status": "live"}
    assert (await authority.ask("GET", "/health/ready")).json() == {"status": "ready", "lag_records": 0}


async def test_not_ready_where_no_key_is_here() -> None:
    async with running() as authority:
        authority.issuers._signers.clear()
        authority.issuers._keys.clear()
        answer = await authority.ask("GET", "/health/ready")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert authority.lab.facts.issuer in answer.json()["reasons"][0]
        refused = await authority.ask(
            "POST",
            "/v1/certificates",
            token=authority.admin,
            content=Subscriber.new().csr("dns:web.lab.internal"),
            headers={"content-type": "application/pkcs10"},
        )
        assert (refused.status_code, codes_of(refused)) == (503, ["issuer-unavailable"])
        assert "retry-after" in refused.headers


class Gone(MemoryLog):
    """A log that can be taken away."""

    gone = False

    def head(self) -> int:
        if self.gone:
            raise LogUnreadable("connection to /var/lib/secret/place lost")
        return super().head()

    def read(self, start: int, limit: int = 1000) -> list[Record]:
        if self.gone:
            raise LogUnreadable("connection to /var/lib/secret/place lost")
        return list(super().read(start, limit))


async def test_not_ready_where_the_log_is_away_and_nobody_hears_where_it_was() -> None:
    log = Gone()
    async with running(log=log) as authority:
        found = await authority.issued()
        log.gone = True
        answer = await authority.ask("GET", "/health/ready")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["the log can't be read"])
        assert (await authority.ask("GET", "/health/live")).status_code == 200
        shown = await authority.ask("GET", f"/v1/certificates/{found['serial']}", token=authority.admin)
        assert (shown.status_code, codes_of(shown)) == (503, ["log-unavailable"])
        assert "/var/lib" not in shown.text
        # what is in the views is still told
        status = await authority.ask("GET", f"/v1/certificates/{found['serial']}/status")
        assert status.json()["status"] == "good"
        log.gone = False


async def test_metrics_count_what_happened(authority: Authority) -> None:
    found = await authority.issued()
    path = f"/v1/certificates/{found['serial']}/revocation"
    await authority.ask("POST", path, json={"secret": found["revocation_secret"]})
    await authority.ask("POST", path, json={"secret": found["revocation_secret"]})
    await authority.ask("GET", "/nowhere/at/all")
    answer = await authority.ask("GET", "/metrics", token=await authority.token("auditor"))
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'quicklime_certificates_total{operation="issue",profile="server"} 1.0' in lines
    assert 'quicklime_revocations_total{reason="unspecified"} 1.0' in lines
    assert 'quicklime_http_requests_total{operation="none",status="404"} 1.0' in lines
    assert 'quicklime_http_requests_total{operation="revoke",status="200"} 2.0' in lines
    assert "quicklime_open_plans 0.0" in lines
    assert "nowhere" not in answer.text
    assert found["serial"] not in answer.text
