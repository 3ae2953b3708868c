"""The dashboard's questions, judged by a world whose answers are known; and that its view is what the log makes of it."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from quicklime import codec
from quicklime.adapters.sqlite_store import SQLiteStore
from quicklime.events import CertificatePlanned, CertificateRevoked
from quicklime.log import Entry
from quicklime.projection import Projector, digest
from quicklime.services.monitor.api import openapi
from quicklime.wiring.monitor import LAYOUT, VIEWS
from tests.support.authority import ADA, Subscriber, codes_of, fields_of
from tests.support.dashboard import Watched, dump, filled, prefix, watched

DAY = 86_400


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Watched]:
    async with watched(tmp_path) as made:
        yield made


async def small_world(home: Watched) -> dict[str, dict[str, Any]]:
    """A service of three nodes, one renewed, one revoked, one that asked in vain; another service; a short-lived one."""
    authority = home.authority
    holder = {name: Subscriber.new() for name in ("a", "b", "c")}
    made = {}
    for node, one in holder.items():
        made[node] = await authority.issued(
            "dns:web.lab.internal", f"dns:{node}.web.lab.internal", by=one, node=node
        )
        authority.clock.advance(60)
    authority.clock.advance(3600)
    made["a2"] = (await authority.renew(made["a"], by=holder["a"], to=Subscriber.new())).json()
    refused = await authority.renew(made["c"], by=holder["a"], to=Subscriber.new())
    assert refused.status_code == 403
    made["mail"] = await authority.issued("dns:mail.lab.internal", profile="client")
    path = f"/v1/certificates/{made['b']['serial']}/revocation"
    await authority.ask(
        "POST", path, json={"secret": made["b"]["revocation_secret"], "reason": "keyCompromise"}
    )
    made["short"] = await authority.issued("dns:short.lab.internal", validity_seconds=3600)
    authority.clock.advance(7200)
    made["late"] = await authority.issued("ip:10.0.0.9")
    home.projector.catch_up()
    return made


def serials(answer: dict[str, Any]) -> list[str]:
    return [one["serial"] for one in answer["certificates"]]


# --- the inventory --------------------------------------------------------------------------------------------------


async def test_what_each_status_holds(home: Watched) -> None:
    made = await small_world(home)
    names = {one["serial"]: name for name, one in made.items()}
    expected = {
        "all": {"a", "b", "c", "a2", "mail", "short", "late"},
        "valid": {"a", "c", "a2", "mail", "late"},
        "current": {"c", "a2", "mail", "late"},
        "replaced": {"a"},
        "expired": {"short"},
        "revoked": {"b"},
        "expiring": set(),
        "overdue": set(),
    }
    for status, wanted in expected.items():
        found = await home.get("certificates", status=status)
        assert {names[serial] for serial in serials(found)} == wanted, status
        assert found["is_whole"]
    home.authority.clock.advance(22 * DAY)
    late = await home.get("certificates", status="overdue")
    assert {names[serial] for serial in serials(late)} == {"c", "a2", "mail", "late"}
    assert all(one["is_overdue"] for one in late["certificates"])


async def test_search_finds_parts_of_names_and_beginnings_of_serials_and_hashes(home: Watched) -> None:
    made = await small_world(home)
    row = (await home.get(f"certificates/{made['a2']['serial']}"))["certificate"]
    spki = (await home.get(f"certificates/{made['a2']['serial']}"))["spki_sha256"]
    for text, wanted in {
        "web.lab": {"a", "b", "c", "a2"},
        "MAIL": {"mail"},
        "b.web": {"b"},
        "10.0.0.9": {"late"},
        row["serial"][:10].upper(): {"a2"},
        ":".join(row["fingerprint"][place : place + 2] for place in range(0, 64, 2)): {"a2"},
        spki[:16]: {"a2"},
        "client": {"mail"},
        'nosuch "thing': set(),
        "web nosuch": set(),
    }.items():
        found = serials(await home.get("certificates", q=text))
        assert set(found) == {made[name]["serial"] for name in wanted}, text


async def test_pages_hold_each_certificate_once_in_every_order(home: Watched) -> None:
    await small_world(home)
    every = (await home.get("certificates", limit=100))["certificates"]
    keys: dict[str, Any] = {
        "issued": lambda one: one["offset"],
        "expires": lambda one: (one["not_after"], one["offset"]),
        "name": lambda one: (one["service"], one["offset"]),
    }
    queries: list[dict[str, Any]] = [
        {},
        {"q": "internal"},
        {"profile": "server"},
        {"status": "valid"},
        {"name": "dns:web.lab.internal"},
    ]
    for (key, of), backwards, limit, query in itertools.product(
        keys.items(), (False, True), (2, 100), queries
    ):
        sort = f"-{key}" if backwards else key
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(20):
            page = await home.get(
                "certificates",
                sort=sort,
                limit=limit,
                **query,
                **({} if cursor is None else {"after": cursor}),
            )
            found += page["certificates"]
            cursor = page["next"]
            if cursor is None:
                break
        assert page["sort"] == sort
        offsets = [one["offset"] for one in found]
        wanted = {
            one["offset"] for one in (await home.get("certificates", limit=100, **query))["certificates"]
        }
        assert set(offsets) == wanted
        assert len(offsets) == len(wanted)
        assert found == sorted(found, key=of, reverse=backwards), (sort, query)
    assert len(every) == 7


async def test_filters(home: Watched) -> None:
    made = await small_world(home)
    issuer = made["a"]["issuer"]
    assert len(serials(await home.get("certificates", issuer=issuer, key_type="ecdsa-p256"))) == 7
    assert serials(await home.get("certificates", issuer="00" * 20)) == []
    by_possession = await home.get("certificates", requester=made["a"]["serial"])
    assert serials(by_possession) == [made["a2"]["serial"]]
    soon = await home.get("certificates", expires_before="2099-01-01T00:00:00Z", status="expired")
    assert serials(soon) == [made["short"]["serial"]]
    facets = await home.get("facets")
    assert {one["value"]: one["count"] for one in facets["profile"]} == {"server": 6, "client": 1}


async def test_exports_hold_what_the_list_holds(home: Watched) -> None:
    await small_world(home)
    await home.authority.issued("dns:formula.lab.internal", node="=cmd|' /C calc'!A0")
    for query in ({}, {"q": "web.lab", "sort": "name"}, {"status": "revoked"}, {"q": "nosuch"}):
        rows = (await home.get("certificates", limit=100, **query))["certificates"]
        exported = await home.get("export.json", **query)
        assert exported == rows
        answer = await home.ask("GET", "/v1/monitor/export.csv", token=home.authority.admin, params=query)
        assert answer.headers["content-disposition"] == 'attachment; filename="certificates.csv"'
        cells = list(csv.DictReader(io.StringIO(answer.text)))
        assert [one["serial"] for one in cells] == [one["serial"] for one in rows]
        assert [one["names"].split() for one in cells] == [one["names"] for one in rows]
        assert not [one for one in cells if one["node"].startswith("=")]
    refused = await home.ask("GET", "/v1/monitor/export.csv?status=x", token=home.authority.admin)
    assert refused.status_code == 400
    assert (await home.ask("GET", "/v1/monitor/export.json")).status_code == 401


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("certificates?limit=0&status=x&sort=y&after=z&foo=1&as_of=1", {"limit", "status", "sort", "query"}),
        ("certificates?limit=501", {"limit"}),
        ("certificates?after=%00", {"after"}),
        ("certificates?after=k6RuYW1loAY", {"after"}),
        ("certificates?after=AAAA&sort=name", {"after"}),
        ("certificates?expires_before=yesterday", {"expires_before"}),
        ("certificates?q=ab", {"q"}),
        ("certificates?q=" + "a" * 301, {"q"}),
        ("certificates?as_of=999999999", {"as_of"}),
        ("certificates?as_of=soon", {"as_of"}),
        ("lineages", {"name"}),
        ("overview?period=century", {"period"}),
        ("records?before=-1&type=" + "x" * 400, {"before", "type"}),
        ("services?limit=1e3", {"limit"}),
    ],
)
async def test_what_can_not_be_asked_is_refused_naming_every_fault(
    home: Watched, path: str, fields: set[str]
) -> None:
    answer = await home.ask("GET", f"/v1/monitor/{path}", token=home.authority.admin)
    assert (answer.status_code, set(codes_of(answer))) == (400, {"request-malformed"})
    assert fields_of(answer) == fields


@pytest.mark.parametrize(
    "q", ['"', "'; DROP TABLE certificates --", "NEAR(a b)", "a*b OR c", "\u202e\u202e", "^^^", "abc:def"]
)
async def test_a_search_is_text_and_nothing_else(home: Watched, q: str) -> None:
    await small_world(home)
    answer = await home.ask("GET", "/v1/monitor/certificates", token=home.authority.admin, params={"q": q})
    assert answer.status_code in (200, 400)
    assert len(serials(await home.get("certificates"))) == 7


# --- the view is what the log makes of it ---------------------------------------------------------------------------


async def test_rebuilt_is_the_same_to_the_row_however_the_records_came(home: Watched, tmp_path: Path) -> None:
    await small_world(home)
    log = home.authority.log
    for size in (1, 3, 1000):
        filled(tmp_path / f"{size}.sqlite", log, at_once=size)
    first = dump(tmp_path / "1.sqlite")
    assert len(first["certificates"]) == 7
    assert first == dump(tmp_path / "3.sqlite") == dump(tmp_path / "1000.sqlite")
    again = SQLiteStore(tmp_path / "1.sqlite", LAYOUT, writing=False)
    for view in VIEWS:
        assert digest(again, view.name) == digest(home.index, view.name)
    again.close()


async def test_as_of_an_offset_is_what_the_log_held_then(home: Watched, tmp_path: Path) -> None:
    await small_world(home)
    log = home.authority.log
    # a view that is led on record by record is, after each, what a view of that prefix is
    then = SQLiteStore(tmp_path / "then.sqlite", LAYOUT, writing=True)
    projector = Projector(log, then, VIEWS)
    for offset in range(log.head()):
        assert projector.advance(1).checkpoint == offset + 1
        expected = then.select(
            "SELECT offset, revoked_offset, replaced_by FROM certificates ORDER BY offset DESC", {}
        )
        found = await home.get("certificates", as_of=offset)
        assert [
            (one["offset"], one["status"] == "revoked", one["replaced_by"]) for one in found["certificates"]
        ] == [(row[0], row[1] is not None, row[2]) for row in expected], offset
        overview = await home.get("overview", as_of=offset)
        assert overview["counts"]["certificates"] == len(expected)
        assert overview["counts"]["revoked"] == len([row for row in expected if row[1] is not None])
    then.close()


async def test_as_of_a_time_is_judged_by_that_time(home: Watched) -> None:
    made = await small_world(home)
    short = (await home.get(f"certificates/{made['short']['serial']}"))["certificate"]
    assert short["status"] == "expired"
    then = await home.get("certificates", as_of=short["issued_at"], q="short")
    assert then["certificates"][0]["status"] == "valid"
    before = await home.get("certificates", as_of="2020-01-01T00:00:00Z")
    assert before["certificates"] == []


async def test_the_counts_now_are_those_that_one_gets_by_counting(home: Watched) -> None:
    await small_world(home)
    for seconds in (0, 3600, 7 * DAY, 60 * DAY, 250 * DAY):
        home.authority.clock.advance(seconds)
        counts = (await home.get("overview"))["counts"]
        for status, name in (
            ("valid", "valid"),
            ("expired", "expired"),
            ("revoked", "revoked"),
            ("all", "certificates"),
        ):
            assert counts[name] == len(serials(await home.get("certificates", status=status))), (
                seconds,
                status,
            )


async def test_once_revoked_always_revoked_whatever_the_log_says_after(home: Watched) -> None:
    """A log in which the revocation stands before the issuance: the lifecycle says revoked, so the dashboard does."""
    made = await home.authority.issued()
    log = home.authority.log
    records = list(log.read(0, 1000))
    issued = next(
        one for one in records if one.type.endswith("issued.v1") and made["serial"].encode() in one.value
    )
    shorter = prefix(log, issued.offset)
    revoked = CertificateRevoked(
        serial=made["serial"], reason=1, revoked_at=home.authority.clock.now, requester=ADA
    )
    source = home.authority.ledger.source
    value = codec.encode(revoked, event_id="0" * 32, source=source, time_seconds=home.authority.clock.now)
    await shorter.append([Entry(revoked.TYPE, value), Entry(issued.type, issued.value)])
    store = SQLiteStore(home.index._path.with_name("other.sqlite"), LAYOUT, writing=True)
    Projector(shorter, store, VIEWS).catch_up()
    rows = store.select("SELECT serial FROM certificates WHERE revoked_offset IS NULL", {})
    assert made["serial"] not in {row[0] for row in rows}
    store.close()


# --- lineages, and what needs a person ------------------------------------------------------------------------------


async def test_a_lane_per_node_with_what_was_replaced_and_what_was_refused(home: Watched) -> None:
    made = await small_world(home)
    answer = await home.get("lineages", name="dns:web.lab.internal")
    lanes = {lane["node"]: lane for lane in answer["lanes"]}
    assert list(lanes) == ["a", "b", "c"]
    assert [link["certificate"]["serial"] for link in lanes["a"]["links"]] == [
        made["a"]["serial"],
        made["a2"]["serial"],
    ]
    assert {node: lane["state"] for node, lane in lanes.items()} == {
        "a": "good",
        "b": "revoked",
        "c": "failing",
    }
    assert lanes["a"]["links"][0]["certificate"]["replaced_by"] == made["a2"]["serial"]
    refused = lanes["c"]["links"][0]["refusals"]
    assert [one["codes"] for one in refused] == [["renewal-signature-invalid"]]
    assert lanes["b"]["gaps"][0]["end"] is None
    assert lanes["a"]["gaps"] == []
    detail = await home.get(f"certificates/{made['a2']['serial']}")
    assert detail["lane"]["links"] == lanes["a"]["links"]


async def test_a_copied_key_is_seen_by_the_second_who_renews(home: Watched) -> None:
    authority = home.authority
    holder = Subscriber.new()
    made = await authority.issued("dns:vault.lab.internal", by=holder, node="vault-1")
    taken = await authority.renew(made, by=holder, to=Subscriber.new(), node="elsewhere")
    assert taken.status_code == 201
    in_vain = await authority.renew(made, by=holder, to=Subscriber.new())
    assert codes_of(in_vain) == ["already-renewed"]
    lane = (await home.get("lineages", name="dns:vault.lab.internal"))["lanes"][0]
    assert (lane["node"], lane["state"]) == ("vault-1", "contested")
    assert [link["contested"] for link in lane["links"]] == [True, False]
    assert [link["unusual"] for link in lane["links"]] == [False, True]
    found = (await home.get("overview"))["attention"]
    assert [(one["kind"], one["certificate"]["serial"]) for one in found] == [("contested", made["serial"])]
    assert found[0]["refusal"]["codes"] == ["already-renewed"]


async def test_who_is_late_by_its_own_habit_and_who_got_another_instead(home: Watched) -> None:
    authority = home.authority
    holder = Subscriber.new()
    made = await authority.issued("dns:early.lab.internal", by=holder, node="e", validity_seconds=20 * DAY)
    moved = await authority.issued("dns:moved.lab.internal", node="m", validity_seconds=20 * DAY)
    usual = await authority.issued("dns:usual.lab.internal", node="u", validity_seconds=20 * DAY)
    authority.clock.advance(10 * DAY)  # renews at half its life
    after = Subscriber.new()
    renewed = await authority.renew(made, by=holder, to=after, validity_seconds=20 * DAY)
    early = renewed.json()["serial"]
    authority.clock.advance(5 * DAY)
    again = await authority.issued("dns:moved.lab.internal", node="m", validity_seconds=20 * DAY)
    found = (await home.get("overview"))["attention"]
    assert [(one["kind"], one["certificate"]["serial"]) for one in found] == [("overdue", usual["serial"])]
    assert (await home.get("overview"))["counts"]["overdue"] == 1
    authority.clock.advance(7 * DAY)
    kinds = {one["certificate"]["serial"]: one["kind"] for one in (await home.get("overview"))["attention"]}
    # 12 of 20 days is late for one that renewed at 10; the others ended, and one of them got another instead
    assert kinds == {early: "overdue", usual["serial"]: "expired"}
    assert again["serial"] != moved["serial"]


async def test_services_tell_the_state_of_their_nodes(home: Watched) -> None:
    await small_world(home)
    answer = await home.get("services", q="web.lab")
    by_name = {one["name"]: one for one in answer["services"]}
    web = by_name["dns:web.lab.internal"]
    assert (web["nodes"], web["good"], web["certificates"]) == (3, 2, 4)
    first = await home.get("services", limit=2)
    second = await home.get("services", limit=2, after=first["next"])
    assert [one["name"] for one in first["services"] + second["services"]] == sorted(
        one["name"] for one in first["services"] + second["services"]
    )


# --- the log, and how things are ------------------------------------------------------------------------------------


async def test_records_newest_first_by_type_and_subject(home: Watched) -> None:
    made = await small_world(home)
    head = home.authority.log.head()
    found: list[int] = []
    before: int | None = None
    while True:
        page = await home.get("records", limit=4, **({} if before is None else {"before": before}))
        found += [one["offset"] for one in page["records"]]
        before = page["next"]
        if before is None:
            break
    assert found == list(range(head))[::-1]
    assert page["head"] == head
    both = await home.get(
        "records", type=["quicklime.certificate.revoked.v1", "quicklime.request.refused.v1"]
    )
    assert [one["type"].split(".")[-2] for one in both["records"]] == ["revoked", "refused"]
    life = await home.get("records", subject=made["b"]["serial"])
    assert [one["type"] for one in life["records"]] == [
        "quicklime.certificate.revoked.v1",
        "quicklime.certificate.issued.v1",
        "quicklime.certificate.planned.v1",
    ]
    one = await home.get(f"records/{life['records'][0]['offset']}")
    assert one["value"].encode() == home.authority.log.read(life["records"][0]["offset"], 1)[0].value
    missing = await home.ask("GET", f"/v1/monitor/records/{head}", token=home.authority.admin)
    assert (missing.status_code, codes_of(missing)) == (404, ["not-found"])


async def test_a_plan_that_does_not_stand_is_told_so(home: Watched) -> None:
    holder = Subscriber.new()
    made = await home.authority.issued(by=holder)
    plan = next(one for one in home.authority.events() if isinstance(one, CertificatePlanned))
    source = home.authority.ledger.source
    value = codec.encode(plan, event_id="1" * 32, source=source, time_seconds=home.authority.clock.now)
    await home.authority.log.append([Entry(plan.TYPE, value)])
    newest = (await home.get("records", limit=1))["records"][0]
    assert (newest["subject"], newest["refusal"]) == (made["serial"], "busy")


async def test_every_answer_is_as_openapi_describes_it(home: Watched) -> None:
    made = await small_world(home)
    described = (await home.ask("GET", openapi.PATH)).json()
    asked = {
        "overview": "Overview",
        "certificates": "CertificatePage",
        f"certificates/{made['a2']['serial']}": "CertificateDetail",
        "facets": "Facets",
        "services": "ServicePage",
        "lineages?name=dns:web.lab.internal": "Lineages",
        "issuers": "IssuerList",
        "records": "RecordPage",
        "records/3": "RecordDetail",
        "system": "System",
    }
    for path, kind in asked.items():
        schema = {"$ref": f"#/components/schemas/{kind}", "components": described["components"]}
        bare, _, name = path.partition("?name=")
        answer = await home.get(bare, **({"name": name} if name else {}))
        jsonschema.Draft202012Validator(schema).validate(answer)
    operations = {path.removeprefix("/v1/monitor/") for path in described["paths"] if "/monitor/" in path}
    assert operations == {
        path.split("?")[0].replace(made["a2"]["serial"], "{serial}").replace("/3", "/{offset}")
        for path in asked
    }


async def test_whoever_may_not_read_sees_nothing(home: Watched) -> None:
    made = await small_world(home)
    token = await home.authority.token()
    paths = (
        "overview",
        "certificates",
        f"certificates/{made['a']['serial']}",
        "services",
        "system",
        "stream",
    )
    for path in (*paths, "records", "issuers", "facets", "lineages?name=dns:web.lab.internal"):
        refused = await home.ask("GET", f"/v1/monitor/{path}", token=token)
        assert (refused.status_code, codes_of(refused)) == (403, ["forbidden"]), path
        assert (await home.ask("GET", f"/v1/monitor/{path}")).status_code == 401, path


async def test_while_the_view_is_being_made_the_answer_is_busy(home: Watched) -> None:
    home.index._path.unlink()
    answer = await home.ask("GET", "/v1/monitor/overview", token=home.authority.admin)
    assert (answer.status_code, codes_of(answer)) == (503, ["busy"])
    system = await home.ask("GET", "/v1/monitor/system", token=home.authority.admin)
    assert system.json()["views"][-1]["state"] == "being made"
