"""Bearer tokens over HTTP: for administrators alone, told once, and worth nothing once they are revoked."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.events import TokenRevoked
from tests.support.authority import Authority, base64, codes_of, fields_of, running, subscriber

PATH = "/v1/tokens"
ASKED = {"names": ["web.lab.internal"], "profiles": ["server"], "lifetime_seconds": 3600}


async def made(authority: Authority, **change: Any) -> dict[str, Any]:
    answer = await authority.ask("POST", PATH, token=authority.admin, json=ASKED | change)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_token_gets_what_it_was_made_for(authority: Authority) -> None:
    found = await made(authority, uses=1, label="ci")
    assert (found["role"], found["label"], found["uses"], found["uses_max"]) == ("requester", "ci", 0, 1)
    await authority.issued("dns:web.lab.internal", token=found["token"])
    other = await authority.ask(
        "POST",
        "/v1/certificates",
        token=found["token"],
        json={"csr": base64(subscriber().csr("dns:other.lab.internal"))},
    )
    assert set(codes_of(other)) <= {"name-not-allowed", "token-exhausted"}
    (listed,) = [one for one in await listing(authority) if one["id"] == found["id"]]
    assert (listed["uses"], listed["created_by"]) == (1, authority.admin.split("_")[1])


async def listing(authority: Authority) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await authority.ask("GET", PATH, token=authority.admin)).json()["tokens"]
    return found


async def test_the_text_is_told_once_and_the_log_has_its_hash(authority: Authority) -> None:
    found = await made(authority)
    text = found["token"]
    assert text.startswith(f"ql_{found['id']}_")
    records = b"".join(record.value for record in authority.log.read(0))
    assert text.rpartition("_")[2].encode() not in records
    known = authority.state.token(found["id"])
    assert known is not None
    assert known.token_sha256 == sha256(text.encode()).digest()
    answer = await authority.ask("GET", PATH, token=authority.admin)
    assert text.rpartition("_")[2] not in answer.text
    assert known.token_sha256.hex() not in answer.text


@pytest.mark.parametrize("role", ["operator", "auditor", "requester"])
async def test_others_make_see_and_revoke_none(authority: Authority, role: Any) -> None:
    token = await authority.token(role)
    identifier = token.split("_")[1]
    for method, path in (("POST", PATH), ("GET", PATH), ("DELETE", f"{PATH}/{identifier}")):
        body = ASKED if method == "POST" else None
        answer = await authority.ask(method, path, token=token, json=body)
        assert (answer.status_code, codes_of(answer)) == (403, ["forbidden"])
        assert (await authority.ask(method, path)).status_code == 401
    known = authority.state.token(identifier)
    assert known is not None
    assert known.revoked_at is None


async def test_a_revoked_token_opens_nothing(authority: Authority) -> None:
    found = await made(authority)
    for _ in range(2):
        answer = await authority.ask("DELETE", f"{PATH}/{found['id']}", token=authority.admin)
        assert answer.status_code == 200
        assert answer.json()["revoked_at"] is not None
    assert len([event for event in authority.events() if isinstance(event, TokenRevoked)]) == 1
    refused = await authority.ask("GET", "/v1/lineages?name=web.lab.internal", token=found["token"])
    assert (refused.status_code, codes_of(refused)) == (401, ["token-revoked"])


async def test_an_administrator_s_token_may_end_itself(authority: Authority) -> None:
    identifier = authority.admin.split("_")[1]
    answer = await authority.ask("DELETE", f"{PATH}/{identifier}", token=authority.admin)
    assert answer.status_code == 200
    assert codes_of(await authority.ask("GET", PATH, token=authority.admin)) == ["token-revoked"]


async def test_a_token_ends_at_its_second(authority: Authority) -> None:
    found = await made(authority)
    authority.clock.advance(3599)
    path = "/v1/lineages?name=web.lab.internal"
    assert (await authority.ask("GET", path, token=found["token"])).status_code == 200
    authority.clock.advance(1)
    late = await authority.ask("GET", path, token=found["token"])
    assert (late.status_code, codes_of(late)) == (401, ["token-expired"])
    assert late.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("identifier", ["aaaaaaaaaaaaaaaa", "x" * 4000, "%00", "%F0%9F%92%A9", "a%2Fb"])
async def test_a_token_that_is_not_there_is_not_found(identifier: str, tmp_path: Path) -> None:
    # over the store that has a limit for keys
    store = LMDBStore(tmp_path / "views")
    async with running(store=store) as authority:
        answer = await authority.ask("DELETE", f"{PATH}/{identifier}", token=authority.admin)
        # 401 would say that the asker's own token is unknown
        assert (answer.status_code, codes_of(answer)) == (404, ["not-found"])
        assert len(answer.content) < 1000
    store.close()


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"names": []}, "names-missing", "names"),
        ({"names": ["no name!"]}, "name-malformed", "names[0]"),
        ({"names": ["web.lab.internal"] * 101}, "names-too-many", "names"),
        ({"profiles": ["ocsp-responder"]}, "profile-unknown", "profiles"),
        ({"profiles": ["x" * 5000]}, "profile-unknown", "profiles"),
        ({"lifetime_seconds": 0}, "request-malformed", "lifetime_seconds"),
        ({"lifetime_seconds": -1}, "request-malformed", "lifetime_seconds"),
        ({"lifetime_seconds": 10**30}, "request-malformed", "lifetime_seconds"),
        ({"uses": 0}, "request-malformed", "uses"),
        ({"label": "x" * 201}, "request-malformed", "label"),
        ({"label": "a\u202eb"}, "request-malformed", "label"),
        ({"role": "root"}, "request-malformed", None),
        ({"uses_max": 1}, "request-malformed", None),
    ],
)
async def test_what_can_not_be_is_refused(
    authority: Authority, change: dict[str, Any], code: str, field: str | None
) -> None:
    answer = await authority.ask("POST", PATH, token=authority.admin, json=ASKED | change)
    assert answer.status_code in {400, 403}
    assert codes_of(answer) == [code]
    assert fields_of(answer) == {field}
    assert len(answer.content) < 1500


async def test_every_fault_is_told_at_once(authority: Authority) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        json={"names": ["!"], "profiles": ["x"], "lifetime_seconds": 0, "uses": 0, "label": "\n"},
    )
    assert len(codes_of(answer)) == 5


async def test_another_media_type_is_refused(authority: Authority) -> None:
    answer = await authority.ask("POST", PATH, token=authority.admin, content=b"{}")
    assert (answer.status_code, codes_of(answer)) == (415, ["media-type-unsupported"])


async def test_a_used_up_token_still_says_who_is_asking(authority: Authority) -> None:
    found = await made(authority, uses=1)
    issued = await authority.issued("dns:web.lab.internal", token=found["token"])
    shown = await authority.ask("GET", f"/v1/certificates/{issued['serial']}", token=found["token"])
    assert shown.status_code == 200
    again = await authority.ask(
        "POST",
        "/v1/certificates",
        token=found["token"],
        json={"csr": base64(subscriber().csr("dns:web.lab.internal"))},
    )
    assert (again.status_code, codes_of(again)) == (403, ["token-exhausted"])
