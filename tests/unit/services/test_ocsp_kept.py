"""Answers that are kept: shared by responders, renewed ahead, whole for the listener; and what strangers can't make us sign."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote

import pytest
from cryptography import x509

from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.adapters.memory_store import MemoryStore
from quicklime.pki import der
from quicklime.services.ocsp.api import handler
from quicklime.services.ocsp.responder import Obtained, Responder
from quicklime.services.ocsp.wire import SHELF
from quicklime.web.status_message import Request, Response, Whole, encoded
from tests.support.authority import Authority
from tests.support.lab import lab
from tests.unit.services.test_ocsp import (
    UNKNOWN_SERIAL,
    VALIDITY_SECONDS,
    Desk,
    certified,
    read,
    refused,
    request,
    told,
)

ISSUERS = (lab().facts.issuer,)


async def desk_of(
    authority: Authority,
    shared: MemoryStore | None = None,
    may_sign: Callable[[str], bool] = lambda _: True,
    *,
    certify: bool = True,
) -> Desk:
    async def obtain(issuer: str, spki: bytes, predecessor: str | None) -> Obtained:
        return await certified(authority.issuance, issuer, spki, predecessor)

    knows = [True]
    responder = Responder(
        store=authority.store,
        authority=authority.state.authority,
        obtain=obtain,
        new_signer=lambda: FileSigner(generate("ecdsa-p256"), "memory:ocsp"),
        clock=authority.clock,
        trusted=lambda: knows[0],
        validity_seconds=VALIDITY_SECONDS,
        metrics=authority.metrics,
        may_sign=may_sign,
        shared=shared,
    )
    if certify:
        await responder.renew_where_due(ISSUERS)
    return Desk(
        authority=authority,
        responder=responder,
        handle=handler(responder, authority.clock),
        knows=knows,
    )


async def serial_of(authority: Authority) -> str:
    return str((await authority.issued())["serial"])


# --- shared -----------------------------------------------------------------------------------------------------------


async def test_responders_of_one_machine_give_one_answer(authority: Authority) -> None:
    shared = MemoryStore()
    one, two = await desk_of(authority, shared), await desk_of(authority, shared)
    serial = await serial_of(authority)
    first = one.ask(serial)
    assert (two.ask(serial).body, two.ask(serial).headers) == (first.body, first.headers)
    await one.revoke(serial)
    revoked = two.ask(serial)
    assert told(revoked) == "revoked"
    assert one.ask(serial).body == revoked.body
    authority.clock.advance(VALIDITY_SECONDS // 2 + 60)
    renewed = one.ask(serial)
    assert renewed.body != revoked.body
    assert two.ask(serial).body == renewed.body


async def test_a_responder_that_starts_gives_what_was_signed_before_without_a_key(
    authority: Authority,
) -> None:
    shared = MemoryStore()
    before = await desk_of(authority, shared)
    serial, other = await serial_of(authority), await serial_of(authority)
    first = before.ask(serial)
    after = await desk_of(authority, shared, certify=False)
    assert after.ask(serial).body == first.body
    assert refused(after.ask(other)) == "try_later"
    authority.clock.advance(VALIDITY_SECONDS - 1)
    assert after.ask(serial).body == first.body
    authority.clock.advance(1)
    assert refused(after.ask(serial)) == "try_later"


async def test_what_was_put_aside_before_a_revocation_is_not_given_after_it(authority: Authority) -> None:
    shared = MemoryStore()
    before = await desk_of(authority, shared)
    serial = await serial_of(authority)
    assert told(before.ask(serial)) == "good"
    await before.revoke(serial)
    keyless = await desk_of(authority, shared, certify=False)
    assert refused(keyless.ask(serial)) == "try_later"
    assert told((await desk_of(authority, shared)).ask(serial)) == "revoked"


async def test_what_lies_there_and_can_not_be_read_is_signed_anew(authority: Authority) -> None:
    shared = MemoryStore()
    serial = await serial_of(authority)
    (await desk_of(authority, shared)).ask(serial)
    with shared.write() as batch:
        for key, _ in shared.scan(SHELF):
            batch.put(SHELF, key, b"\xc1")
    assert told((await desk_of(authority, shared)).ask(serial)) == "good"


async def test_a_store_that_is_gone_keeps_nobody_from_answering(authority: Authority) -> None:
    shared = MemoryStore()
    desk = await desk_of(authority, shared)
    shared.close()
    assert told(desk.ask(await serial_of(authority))) == "good"


async def test_what_has_ended_is_thrown_away(authority: Authority) -> None:
    shared = MemoryStore()
    desk = await desk_of(authority, shared)
    first, second = await serial_of(authority), await serial_of(authority)
    desk.ask(first)
    authority.clock.advance(VALIDITY_SECONDS - 10)
    desk.ask(second)
    assert desk.responder.clear_shelf() == 0
    authority.clock.advance(10)
    assert desk.responder.clear_shelf() == 1
    assert len(shared.scan(SHELF)) == 1


# --- ahead ------------------------------------------------------------------------------------------------------------


async def test_what_is_asked_for_is_renewed_before_its_end_and_nothing_else(authority: Authority) -> None:
    desk = await desk_of(authority)
    wanted, once = await serial_of(authority), await serial_of(authority)
    first = desk.ask(wanted)
    desk.ask(once)
    assert desk.ask(wanted).body == first.body
    assert desk.responder.renew_kept(10) == 0
    authority.clock.advance(VALIDITY_SECONDS // 2 + 60)
    assert desk.responder.renew_kept(10) == 2
    assert len(desk.responder._cache) == 1
    produced = read(desk.ask(wanted)).produced_at_utc
    assert int(produced.timestamp()) == authority.clock.now
    authority.clock.advance(60)
    # it was signed ahead, not when it was asked for
    assert read(desk.ask(wanted)).produced_at_utc == produced


async def test_the_work_ahead_is_spread(authority: Authority) -> None:
    desk = await desk_of(authority)
    serials = [await serial_of(authority) for _ in range(5)]
    for serial in serials + serials:
        desk.ask(serial)
    authority.clock.advance(VALIDITY_SECONDS // 2 + 60)
    assert [desk.responder.renew_kept(2) for _ in range(4)] == [2, 2, 1, 0]
    assert {int(read(desk.ask(one)).produced_at_utc.timestamp()) for one in serials} == {authority.clock.now}


async def test_nothing_is_renewed_ahead_away_from_the_log(authority: Authority) -> None:
    desk = await desk_of(authority)
    serial = await serial_of(authority)
    first = desk.ask(serial)
    desk.ask(serial)
    authority.clock.advance(VALIDITY_SECONDS // 2 + 60)
    with desk.away_from_the_log():
        desk.responder.renew_kept(10)
        assert desk.ask(serial).body == first.body
    assert desk.ask(serial).body != first.body


async def test_a_revocation_renews_one_answer_and_no_other(authority: Authority) -> None:
    desk = await desk_of(authority)
    revoked, other = await serial_of(authority), await serial_of(authority)
    first = desk.ask(other)
    desk.ask(revoked)
    await desk.revoke(revoked)
    assert told(desk.ask(revoked)) == "revoked"
    assert desk.ask(other).body == first.body


# --- what strangers can't make us sign ----------------------------------------------------------------------------------


async def test_beyond_the_budget_a_nonce_is_passed_over(authority: Authority) -> None:
    desk = await desk_of(authority, may_sign=lambda _: False)
    serial = await serial_of(authority)
    kept = desk.ask(serial)
    answer = desk.ask(serial, nonce=b"n" * 32)
    assert answer.body == kept.body
    assert not list(read(answer).extensions)
    assert dict(answer.headers)["etag"] == dict(kept.headers)["etag"]


async def test_beyond_the_budget_an_unknown_serial_costs_no_signature(authority: Authority) -> None:
    asked: list[str] = []

    def may_sign(address: str) -> bool:
        asked.append(address)
        return len(asked) <= 3

    desk = await desk_of(authority, may_sign=may_sign)
    answers = [desk.ask(UNKNOWN_SERIAL + number) for number in range(5)]
    assert [told(one) for one in answers[:3]] == ["unknown"] * 3
    assert [refused(one) for one in answers[3:]] == ["unauthorized"] * 2
    # what was issued is answered for all the same
    assert told(desk.ask(await serial_of(authority))) == "good"
    assert asked == [""] * 5


async def test_several_certificates_in_one_request_are_of_the_budget(authority: Authority) -> None:
    desk = await desk_of(authority, may_sign=lambda _: False)
    both = _joined(request(1), request(2))
    assert refused(desk.post(both)) == "try_later"


def _joined(first: bytes, second: bytes) -> bytes:
    """One request about both certificates: what stands in the requestLists of two of the commonest form, in one."""
    return der.sequence(der.sequence(der.sequence(first[6:] + second[6:])))


# --- over HTTP --------------------------------------------------------------------------------------------------------


def path_of(serial: str) -> str:
    return "/ocsp/" + quote(b64encode(request(serial)).decode(), safe="")


async def test_the_whole_answer_is_the_answer_and_ends_with_it(authority: Authority) -> None:
    desk = await desk_of(authority)
    serial = await serial_of(authority)
    response = desk.get(path_of(serial))
    whole = response.whole
    assert whole is not None
    assert whole.octets() == encoded(
        Response(media_type=response.media_type, body=response.body, headers=response.headers)
    )
    authority.clock.advance(7)
    later = desk.get(path_of(serial))
    assert later.whole is whole
    assert whole.octets() == encoded(
        Response(media_type=later.media_type, body=later.body, headers=later.headers)
    )
    assert b"max-age=%d," % (VALIDITY_SECONDS - 7) in (whole.octets() or b"")
    await desk.revoke(serial)
    assert whole.octets() is None
    assert told(desk.get(path_of(serial))) == "revoked"
    assert _ends_in(whole, desk.get(path_of(serial)))
    authority.clock.advance(VALIDITY_SECONDS)
    assert whole.octets() is None


async def test_what_is_for_one_request_alone_is_not_kept_whole(authority: Authority) -> None:
    desk = await desk_of(authority)
    serial = await serial_of(authority)
    etag = dict(desk.get(path_of(serial)).headers)["etag"].encode()
    for response in (
        desk.ask(serial, nonce=b"n"),
        desk.ask(UNKNOWN_SERIAL),
        desk.post(b"\x30\x00"),
        desk.get(path_of(serial), {b"if-none-match": etag}),
        desk.get(path_of(serial), {b"if-none-match": b'"other"'}),
    ):
        assert response.whole is None


async def test_who_asks_by_date_is_told_that_it_is_the_same_while_it_is_good(authority: Authority) -> None:
    """RFC 9110, Section 13.1.3."""
    desk = await desk_of(authority)
    serial = await serial_of(authority)
    since = dict(desk.get(path_of(serial)).headers)["last-modified"].encode()
    assert desk.get(path_of(serial), {b"if-modified-since": since}).status == 304
    assert desk.get(path_of(serial), {b"if-modified-since": b"Thu, 01 Jan 1970 00:00:00 GMT"}).status == 200
    assert desk.get(path_of(serial), {b"if-modified-since": b"whenever"}).status == 200
    # of both the tag decides
    both = {b"if-modified-since": since, b"if-none-match": b'"other"'}
    assert desk.get(path_of(serial), both).status == 200
    await desk.revoke(serial)
    # within the same second the date is the same
    response = desk.get(path_of(serial), {b"if-modified-since": since})
    assert (response.status, told(response)) == (200, "revoked")


async def test_a_head_request_has_the_headers_of_the_answer(authority: Authority) -> None:
    desk = await desk_of(authority)
    serial = await serial_of(authority)
    get = desk.get(path_of(serial))
    head = desk.handle(Request(method="HEAD", target=path_of(serial).encode(), headers={}, body=b""))
    assert (head.status, head.headers) == (get.status, get.headers)


async def test_answers_are_counted_by_kind(authority: Authority) -> None:
    desk = await desk_of(authority)
    serial = await serial_of(authority)
    whole = desk.get(path_of(serial)).whole
    assert whole is not None
    whole.octets()
    desk.post(b"")
    desk.responder.tell_figures()
    found = {
        sample.labels["kind"]: sample.value
        for metric in authority.metrics.ocsp_answers.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert found == {"good": 2, "malformed": 1}


@pytest.mark.parametrize("octets", [16, 32])
async def test_a_nonce_is_answered_alike_when_the_certificate_is_known(
    authority: Authority, octets: int
) -> None:
    """The second request of the commonest form is not parsed again: what is said must be the same."""
    desk = await desk_of(authority)
    serial = await serial_of(authority)
    for number in range(3):
        nonce = bytes([number]) * octets
        found = read(desk.ask(serial, nonce=nonce))
        assert found.serial_number == int(serial, 16)
        assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce
    await desk.revoke(serial)
    assert told(desk.ask(serial, nonce=b"n" * octets)) == "revoked"


def _ends_in(whole: Whole, answer: Response) -> bool:
    assert isinstance(answer.body, bytes)
    return (whole.octets() or b"").endswith(b"\r\n\r\n" + answer.body)
