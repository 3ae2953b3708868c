"""Renewing over HTTP: the old key is the proof, one successor per certificate, names never widen; lineages are chains."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quicklime.events import CertificateIssued, CertificatePlanned, RequestRefused
from tests.support.authority import Authority, Subscriber, base64, certificate_of, codes_of, octets

DAY = 86_400
TWO = ("dns:a.lab.internal", "dns:b.lab.internal")


@pytest.fixture
def holder() -> Subscriber:
    return Subscriber.new()


@pytest.fixture
def successor() -> Subscriber:
    return Subscriber.new()


async def test_a_renewal_keeps_names_profile_node_and_lineage_and_takes_the_new_key(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(*TWO, by=holder, profile="peer", node="rack 7")
    answer = await authority.renew(parent, by=holder, to=successor)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["names"], found["profile"], found["node"]) == (list(TWO), "peer", "rack 7")
    assert (found["predecessor"], found["lineage"]) == (parent["serial"], parent["serial"])
    assert certificate_of(found).public_key() == successor.key.public_key()
    known = authority.state.certificate(parent["serial"])
    assert known is not None
    assert known.successor == found["serial"]
    assert known.status == "issued"


async def test_the_terms_are_told_to_everybody(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    path = f"/v1/certificates/{parent['serial']}/renewals"
    terms = (await authority.ask("GET", path)).json()
    assert terms["renewal_challenge"] == parent["renewal_challenge"]
    assert terms["successor"] is None
    assert parent["not_before"] < terms["due_at"] < parent["not_after"] <= terms["renewable_until"]
    renewed = (await authority.renew(parent, by=holder, to=successor)).json()
    assert (await authority.ask("GET", path)).json()["successor"] == renewed["serial"]
    unknown = await authority.ask("GET", f"/v1/certificates/{'4f' * 20}/renewals")
    assert (unknown.status_code, codes_of(unknown)) == (404, ["certificate-unknown"])


async def test_of_two_renewals_at_once_one_gets_through(authority: Authority, holder: Subscriber) -> None:
    parent = await authority.issued(by=holder)
    answers = await asyncio.gather(
        *(authority.renew(parent, by=holder, to=Subscriber.new()) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    refused = {code for answer in answers if answer.is_error for code in codes_of(answer)}
    assert refused <= {"already-renewed", "renewal-in-progress"}
    successors = [
        event
        for event in authority.events()
        if isinstance(event, CertificateIssued) and event.serial != parent["serial"]
    ]
    assert len(successors) == 1


async def test_a_second_renewal_names_the_successor(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    renewed = (await authority.renew(parent, by=holder, to=successor)).json()
    answer = await authority.renew(parent, by=holder, to=Subscriber.new())
    assert (answer.status_code, codes_of(answer)) == (409, ["already-renewed"])
    assert renewed["serial"] in answer.json()["detail"]


async def test_a_renewal_is_repeated_under_its_key(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    request = successor.csr("dns:web.lab.internal")
    path = f"/v1/certificates/{parent['serial']}/renewals"
    # ECDSA signatures differ each time: what counts is what was asked, not how it was proved
    answers = []
    for _ in range(2):
        signature = holder.renewal_signature(octets(parent["renewal_challenge"]), request)
        body = {"csr": base64(request), "signature": signature}
        answers.append(await authority.ask("POST", path, json=body, headers={"idempotency-key": "k"}))
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["serial"] == answers[1].json()["serial"]


async def test_only_the_old_key_over_this_challenge_and_this_request_renews(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    other = await authority.issued(by=holder)
    request = successor.csr("dns:web.lab.internal")
    challenge = octets(parent["renewal_challenge"])
    signatures = {
        "another key": successor.renewal_signature(challenge, request),
        "another challenge": holder.renewal_signature(octets(other["renewal_challenge"]), request),
        "another request": holder.renewal_signature(challenge, Subscriber.new().csr("dns:web.lab.internal")),
        "the request alone": base64(holder.sign(request)),
        "empty": "",
        "long": base64(bytes(9000)),
        "a revocation": holder.revocation_signature(challenge, parent["serial"], 0),
    }
    path = f"/v1/certificates/{parent['serial']}/renewals"
    for how, signature in signatures.items():
        answer = await authority.ask("POST", path, json={"csr": base64(request), "signature": signature})
        assert (answer.status_code, codes_of(answer)) == (403, ["renewal-signature-invalid"]), how
    known = authority.state.certificate(parent["serial"])
    assert known is not None
    assert known.successor is None


@pytest.mark.parametrize(
    "names", [("dns:a.lab.internal", "dns:c.lab.internal"), (*TWO, "ip:10.0.0.1"), ("dns:*.lab.internal",)]
)
async def test_names_never_widen(
    authority: Authority, holder: Subscriber, successor: Subscriber, names: tuple[str, ...]
) -> None:
    parent = await authority.issued(*TWO, by=holder)
    in_request = await authority.renew(parent, *names, by=holder, to=successor)
    beside = await authority.renew(parent, *TWO, by=holder, to=successor, names=list(names))
    for answer in (in_request, beside):
        assert (answer.status_code, codes_of(answer)) == (403, ["names-widened"])


async def test_names_may_narrow(authority: Authority, holder: Subscriber, successor: Subscriber) -> None:
    parent = await authority.issued(*TWO, by=holder)
    answer = await authority.renew(parent, TWO[0], by=holder, to=successor)
    assert answer.json()["names"] == [TWO[0]]
    back = await authority.renew(answer.json(), *TWO, by=successor, to=holder)
    assert codes_of(back) == ["names-widened"]


async def test_a_revoked_certificate_is_never_renewed(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    path = f"/v1/certificates/{parent['serial']}/revocation"
    await authority.ask("POST", path, json={"secret": parent["revocation_secret"]})
    answer = await authority.renew(parent, by=holder, to=successor)
    assert (answer.status_code, codes_of(answer)) == (409, ["certificate-revoked"])


async def test_a_renewal_that_loses_the_race_against_a_revocation_leaves_nothing_valid(
    authority: Authority, holder: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    path = f"/v1/certificates/{parent['serial']}/revocation"
    revoked, renewed = await asyncio.gather(
        authority.ask("POST", path, json={"secret": parent["revocation_secret"]}),
        authority.renew(parent, by=holder, to=Subscriber.new()),
    )
    assert revoked.status_code == 200
    if renewed.is_error:
        assert codes_of(renewed) == ["certificate-revoked"]
    else:
        known = authority.state.certificate(parent["serial"])
        assert known is not None
        assert known.revocation is not None
        plan = authority.state.certificate(renewed.json()["serial"])
        assert plan is not None
        assert plan.plan_offset < known.revocation.offset


async def test_after_the_grace_it_is_too_late(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    known = authority.state.certificate(parent["serial"])
    assert known is not None
    authority.clock.now = known.renewable_until
    in_time = await authority.renew(parent, by=holder, to=successor)
    assert in_time.status_code == 201, in_time.text
    second = await authority.issued(by=holder)
    later = authority.state.certificate(second["serial"])
    assert later is not None
    authority.clock.now = later.renewable_until + 1
    late = await authority.renew(second, by=holder, to=successor)
    assert (late.status_code, codes_of(late)) == (409, ["certificate-expired"])


async def test_a_key_that_is_compromised_renews_nothing(authority: Authority, holder: Subscriber) -> None:
    parent = await authority.issued(by=holder)
    bad = Subscriber.new()
    other = await authority.issued(by=bad)
    await authority.ask(
        "POST",
        f"/v1/certificates/{other['serial']}/revocation",
        json={"secret": other["revocation_secret"], "reason": 1},
    )
    answer = await authority.renew(parent, by=holder, to=bad)
    assert codes_of(answer) == ["key-compromised"]


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"csr": "?"}, {"csr"}),
        ({"signature": "?"}, {"signature"}),
        ({"names": ["no name!"]}, {"names"}),
        ({"csr": "?", "signature": "?", "names": ["no name!"]}, {"csr", "signature", "names"}),
        ({"profile": "peer"}, {None}),
    ],
)
async def test_every_fault_of_the_body_is_told(
    authority: Authority, holder: Subscriber, change: dict[str, Any], fields: set[str | None]
) -> None:
    parent = await authority.issued(by=holder)
    answer = await authority.renew(parent, by=holder, to=holder, **change)
    assert answer.status_code == 400
    found = {(reason.get("field") or "").partition("[")[0] or None for reason in answer.json()["reasons"]}
    assert found == fields


async def test_another_media_type_is_refused(authority: Authority) -> None:
    parent = await authority.issued()
    path = f"/v1/certificates/{parent['serial']}/renewals"
    answer = await authority.ask("POST", path, content=b"x", headers={"content-type": "application/pkcs10"})
    assert (answer.status_code, codes_of(answer)) == (415, ["media-type-unsupported"])


@pytest.mark.parametrize("serial", ["4f" * 20, "4f", "x" * 40, "%00", "4f" * 21, "\u0130" * 20])
async def test_a_serial_that_is_not_there_is_unknown(
    authority: Authority, holder: Subscriber, serial: str
) -> None:
    parent = await authority.issued(by=holder)
    answer = await authority.renew(parent | {"serial": serial}, by=holder, to=holder)
    assert (answer.status_code, codes_of(answer)) == (404, ["certificate-unknown"])


async def test_a_plan_that_was_refused_is_no_certificate(authority: Authority, holder: Subscriber) -> None:
    parent = await authority.issued(by=holder)
    await asyncio.gather(*(authority.renew(parent, by=holder, to=Subscriber.new()) for _ in range(3)))
    plans = [event.serial for event in authority.events() if isinstance(event, CertificatePlanned)]
    issued = [event.serial for event in authority.events() if isinstance(event, CertificateIssued)]
    for serial in set(plans) - set(issued):
        terms = await authority.ask("GET", f"/v1/certificates/{serial}/renewals")
        assert terms.status_code == 404
        status = await authority.ask("GET", f"/v1/certificates/{serial}/status")
        assert status.json()["status"] == "unknown"


async def test_nothing_is_issued_where_no_form_is_accepted(authority: Authority, holder: Subscriber) -> None:
    parent = await authority.issued(by=holder)
    answer = await authority.renew(parent, by=holder, to=holder, headers={"accept": "text/html"})
    assert codes_of(answer) == ["not-acceptable"]
    known = authority.state.certificate(parent["serial"])
    assert known is not None
    assert known.successor is None


async def test_a_refused_renewal_is_remembered_a_stranger_s_serial_is_not(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    parent = await authority.issued(by=holder)
    await authority.renew(parent, by=successor, to=successor)
    await authority.renew(parent | {"serial": "4f" * 20}, by=holder, to=successor)
    noted = [event for event in authority.events() if isinstance(event, RequestRefused)]
    assert [(event.operation, event.serial, event.codes) for event in noted] == [
        ("renew", parent["serial"], ("renewal-signature-invalid",))
    ]


# --- lineages -------------------------------------------------------------------------------------------------------


async def lineages(authority: Authority, query: str, token: str | None = None) -> list[dict[str, Any]]:
    answer = await authority.ask("GET", f"/v1/lineages?{query}", token=token or authority.admin)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["lineages"]
    return found


async def test_a_lineage_is_told_in_its_order_also_where_a_second_saw_several_renewals(
    authority: Authority, holder: Subscriber
) -> None:
    chain = [await authority.issued(by=holder, node="a")]
    for number in range(6):
        answer = await authority.renew(chain[-1], by=holder, to=holder, node=f"n{number}")
        chain.append(answer.json())
    (found,) = await lineages(authority, "name=web.lab.internal")
    assert [link["serial"] for link in found["certificates"]] == [one["serial"] for one in chain]
    assert found["lineage"] == chain[0]["serial"]
    assert found["node"] == "n5"
    assert [link["successor"] for link in found["certificates"]] == [
        *(one["serial"] for one in chain[1:]),
        None,
    ]


async def test_one_lineage_per_node_and_what_is_overdue(
    authority: Authority, holder: Subscriber, successor: Subscriber
) -> None:
    first = await authority.issued(by=holder, node="a")
    authority.clock.advance(10)
    await authority.issued(by=successor, node="b")
    authority.clock.advance(21 * DAY)
    await authority.renew(first, by=holder, to=holder)
    found = await lineages(authority, "name=dns:web.lab.internal")
    assert [(one["node"], one["overdue"], len(one["certificates"])) for one in found] == [
        ("a", False, 2),
        ("b", True, 1),
    ]
    before = await lineages(authority, "name=web.lab.internal&at=2026-09-23T00:00:00Z")
    assert [one["overdue"] for one in before] == [False, False]
    assert found[1]["due_at"] == found[1]["certificates"][0]["due_at"]


async def test_a_lineage_is_shown_to_who_may_have_the_name(authority: Authority) -> None:
    await authority.issued("dns:web.lab.internal")
    granted = await authority.token(names=("*.lab.internal",))
    assert len(await lineages(authority, "name=web.lab.internal", granted)) == 1
    other = await authority.token(names=("other.lab.internal",))
    answer = await authority.ask("GET", "/v1/lineages?name=web.lab.internal", token=other)
    assert (answer.status_code, codes_of(answer)) == (403, ["forbidden"])
    assert (await authority.ask("GET", "/v1/lineages?name=web.lab.internal")).status_code == 401


@pytest.mark.parametrize("query", ["", "name=", "name=no%20name", "name=web.lab.internal&at=yesterday"])
async def test_a_query_that_can_not_be_is_refused(authority: Authority, query: str) -> None:
    answer = await authority.ask("GET", f"/v1/lineages?{query}", token=authority.admin)
    assert answer.status_code == 400


async def test_a_name_without_certificates_has_no_lineage(authority: Authority) -> None:
    await authority.issued("dns:web.lab.internal")
    assert await lineages(authority, "name=we.lab.internal") == []
    assert await lineages(authority, "name=*.lab.internal") == []
