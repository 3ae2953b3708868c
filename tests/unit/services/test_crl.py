"""CRLs as clients get them: complete, of shards, delta lists; their numbers, their entries' coming and going, restarts and clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from quicklime.adapters.file_signer import FileSigner
from quicklime.adapters.memory_store import MemoryStore
from quicklime.events import CertificateRevoked, CRLPublished, CRLPublishedV2
from quicklime.log import AppendFailed, Entry, MemoryLog
from quicklime.pki.certificate import URLs
from quicklime.pki.signer import SignerUnavailable
from quicklime.projection import Projector, digest
from quicklime.services.crl import publisher as publisher_module
from quicklime.services.crl import view
from quicklime.services.crl.publisher import Rules
from quicklime.services.ocsp import view as ocsp_view
from quicklime.web.status_message import Part
from quicklime.wiring.local import VIEWS
from quicklime.wiring.verification import verify
from tests.support.authority import Authority, running
from tests.support.lab import URLS
from tests.support.lists import (
    ADA,
    DAY,
    RULES,
    WITH_DELTAS,
    Press,
    base_of,
    number_of,
    octets,
    point_of,
    points_of,
    serials_of,
)
from tests.support.lives import planned

DIVIDED = URLs(URLS.base_url, 4)


@pytest.fixture
def press(authority: Authority, tmp_path: Path) -> Press:
    return Press(authority, tmp_path / "lists")


# --- the plain list -------------------------------------------------------------------------------------------------


async def test_without_a_setting_there_is_one_plain_complete_list(press: Press) -> None:
    assert await press.publish() == 1
    first = press.plain()
    assert (points_of(first), base_of(first), serials_of(first)) == ([], None, set())
    kept, gone = await press.certificate(), await press.certificate()
    assert point_of(kept) == URLS.crl(press.issuer)
    await press.revoke(gone)
    assert await press.publish() == 1
    second = press.plain()
    assert serials_of(second) == {gone.serial_number}
    assert number_of(second) > number_of(first)
    assert await press.publish() == 0


async def test_a_list_is_made_before_the_last_one_ends_although_nothing_happens(press: Press) -> None:
    await press.publish()
    last = press.plain()
    for _ in range(20):
        press.authority.clock.advance(DAY // 2)
        await press.publish()
        found = press.plain()
        assert found.next_update_utc is not None
        assert (
            found.last_update_utc.timestamp() <= press.authority.clock() < found.next_update_utc.timestamp()
        )
        assert number_of(found) >= number_of(last)
        last = found


async def test_a_refresh_later_than_the_end_is_still_in_time(authority: Authority, tmp_path: Path) -> None:
    press = Press(authority, tmp_path, rules=Rules(validity_seconds=3600, refresh_seconds=30 * DAY))
    await press.publish()
    authority.clock.advance(1801)
    assert await press.publish() == 1


async def test_no_reason_is_told_where_none_was_given(press: Press) -> None:
    one, other = await press.certificate(), await press.certificate()
    await press.revoke(one, reason=0)
    await press.revoke(other, reason=1)
    await press.publish()
    found = {entry.serial_number: entry for entry in press.plain()}
    assert not list(found[one.serial_number].extensions)
    reason = found[other.serial_number].extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.key_compromise


# --- shards ---------------------------------------------------------------------------------------------------------


async def test_a_revocation_touches_the_list_that_its_certificate_names_and_no_other(tmp_path: Path) -> None:
    async with running(urls=DIVIDED) as authority:
        press = Press(authority, tmp_path, urls=DIVIDED)
        assert await press.publish() == 5  # four, and the plain one
        certificates = [await press.certificate() for _ in range(12)]
        assert len({point_of(one) for one in certificates}) > 1
        for one in certificates:
            before = {shard: press.published(shard, 4) for shard in range(4)}
            await press.revoke(one)
            assert await press.publish() == 1
            changed = [shard for shard in range(4) if press.published(shard, 4) != before[shard]]
            assert [URLS.crl(press.issuer, shard, 4) for shard in changed] == [point_of(one)]
            found = press.fetch(point_of(one))
            # RFC 5280, Section 6.3.3: the list is for certificates that name it
            assert points_of(found) == [point_of(one)]
            assert one.serial_number in serials_of(found)
        assert serials_of(press.plain()) == set()
        listed = [serials_of(press.fetch(URLS.crl(press.issuer, shard, 4))) for shard in range(4)]
        assert sorted(serial for serials in listed for serial in serials) == sorted(
            one.serial_number for one in certificates
        )


async def test_certificates_stay_on_their_list_whatever_the_operator_changes(tmp_path: Path) -> None:
    log = MemoryLog()
    by_setting: list[tuple[URLs, list[x509.Certificate]]] = []
    settings = [URLS, DIVIDED, URLs("http://other.lab.internal", 4), URLs(URLS.base_url, 2), URLS]
    for urls in settings:
        async with _again(log, urls) as authority:
            press = Press(authority, tmp_path, urls=urls)
            by_setting.append((urls, [await press.certificate() for _ in range(4)]))
    async with _again(log, URLS) as authority:
        press = Press(authority, tmp_path)
        await press.publish()
        # no list without an issuing distribution point while it does not cover all of the issuer
        assert points_of(press.plain()) == [URLS.crl(press.issuer)]
        for urls, certificates in by_setting:
            for one in certificates:
                assert point_of(one).startswith(urls.base_url)
                assert one.serial_number not in serials_of(press.fetch(point_of(one)))
                await press.revoke(one)
                assert await press.publish() == 1
                found = press.fetch(point_of(one))
                assert point_of(one) in points_of(found)
                assert one.serial_number in serials_of(found)
        # the plain list, four of the first and of the second base URL, and two
        assert {len(points_of(press.fetch(URLS.crl(press.issuer, shard, 4)))) for shard in range(4)} == {2}
        assert verify(log, lambda _: None).faults == []


async def test_a_plain_list_has_no_issuing_distribution_point_before_anything_is_divided(
    press: Press,
) -> None:
    await press.publish()
    assert points_of(press.plain()) == []
    divided = Press(press.authority, press.folder, urls=DIVIDED)
    await divided.publish()
    assert points_of(divided.plain()) == [URLS.crl(press.issuer)]


# --- delta lists ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("urls", [URLS, DIVIDED], ids=["plain", "divided"])
async def test_with_delta_lists_a_revocation_makes_a_delta_list(tmp_path: Path, urls: URLs) -> None:
    async with running(urls=urls) as authority:
        press = Press(authority, tmp_path, urls=urls, rules=WITH_DELTAS)
        await press.publish()
        early, late = await press.certificate(), await press.certificate()
        shards = urls.crl_shards
        shard = early.serial_number % (1 << 32) % shards
        delta_url = urls.crl(press.issuer, shard, shards, delta=True)
        base = press.fetch(point_of(early))
        (fresh,) = base.extensions.get_extension_for_class(x509.FreshestCRL).value
        assert fresh.full_name == [x509.UniformResourceIdentifier(delta_url)]
        # in the second after the complete list: never both at once
        assert press.ask(delta_url[delta_url.index("/crl/") :]).status == 404
        authority.clock.advance(1)
        await press.publish()
        empty = press.fetch(delta_url)
        assert (base_of(empty), serials_of(empty)) == (number_of(base), set())
        await press.revoke(early)
        assert await press.publish() == 1
        delta = press.fetch(delta_url)
        assert (base_of(delta), serials_of(delta)) == (number_of(base), {early.serial_number})
        # the same scope, or the two could not be put together: RFC 5280, Section 5.2.4
        assert points_of(delta) == points_of(base)
        assert number_of(base) < number_of(empty) < number_of(delta)
        assert delta.last_update_utc > base.last_update_utc
        with pytest.raises(x509.ExtensionNotFound):
            delta.extensions.get_extension_for_class(x509.FreshestCRL)
        assert press.published(shard, shards).number == number_of(base)
        # the next complete list has what the delta lists told, and the next delta goes on from it
        authority.clock.advance(DAY)
        await press.publish()
        later = press.fetch(point_of(early))
        assert early.serial_number in serials_of(later)
        authority.clock.advance(1)
        await press.revoke(late)
        await press.publish()
        found = press.fetch(
            urls.crl(press.issuer, late.serial_number % (1 << 32) % shards, shards, delta=True)
        )
        assert serials_of(found) == {late.serial_number}
        assert base_of(found) in {event.number for event in _published(authority) if event.base is None}
        assert verify(authority.log, lambda _: None).faults == []


async def test_delta_lists_are_renewed_before_they_end(authority: Authority, tmp_path: Path) -> None:
    press = Press(authority, tmp_path, rules=WITH_DELTAS)
    await press.publish()
    for _ in range(100):
        authority.clock.advance(1700)
        await press.publish()
        found = press.fetch(URLS.crl(press.issuer, delta=True))
        assert found.next_update_utc is not None
        assert found.next_update_utc.timestamp() > authority.clock()
    lists = _published(authority)
    assert (
        len(
            {event.this_update for event in lists if event.base is None}
            & {event.this_update for event in lists if event.base is not None}
        )
        == 0
    )


async def test_a_delta_list_that_has_grown_is_followed_by_a_new_base(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "DELTA_ENTRIES_MAX", 3)
    press = Press(authority, tmp_path, rules=WITH_DELTAS)
    await press.publish()
    base = number_of(press.plain())
    for _ in range(4):
        authority.clock.advance(1)
        await press.revoke(await press.certificate())
        await press.publish()
    assert number_of(press.plain()) > base
    assert len(press.plain()) == 4
    authority.clock.advance(1)
    await press.publish()
    assert len(press.fetch(URLS.crl(press.issuer, delta=True))) == 0


async def test_what_ends_while_only_delta_lists_have_told_it_is_on_a_complete_list_once(
    authority: Authority, tmp_path: Path
) -> None:
    """RFC 5280, Section 5.2.4."""
    press = Press(
        authority,
        tmp_path,
        rules=Rules(validity_seconds=62 * DAY, refresh_seconds=31 * DAY, delta_validity_seconds=3600),
    )
    await press.publish()
    one = await press.certificate()
    authority.clock.now = int(one.not_valid_after_utc.timestamp()) - 60
    base = number_of(press.plain())
    await press.revoke(one)
    for _ in range(3):
        await press.publish()
        assert number_of(press.plain()) == base
        assert one.serial_number in serials_of(press.fetch(URLS.crl(press.issuer, delta=True)))
        authority.clock.advance(50)  # beyond its end
    authority.clock.advance(30 * DAY)
    await press.publish()
    assert one.serial_number in serials_of(press.plain())
    authority.clock.advance(31 * DAY)
    await press.publish()
    assert one.serial_number not in serials_of(press.plain())


async def test_delta_lists_that_are_no_longer_wanted_are_no_longer_pointed_to(
    authority: Authority, tmp_path: Path
) -> None:
    await Press(authority, tmp_path, rules=WITH_DELTAS).publish()
    press = Press(authority, tmp_path)
    assert await press.publish() == 1
    with pytest.raises(x509.ExtensionNotFound):
        press.plain().extensions.get_extension_for_class(x509.FreshestCRL)


# --- what has expired -----------------------------------------------------------------------------------------------


async def test_an_entry_leaves_after_a_list_by_schedule_has_shown_it_beyond_its_end(press: Press) -> None:
    """RFC 5280, Section 3.3."""
    gone = await press.certificate()
    await press.revoke(gone)
    await press.publish()
    end = int(gone.not_valid_after_utc.timestamp())
    press.authority.clock.now = end + 1
    other = await press.certificate()
    await press.publish()
    assert gone.serial_number in serials_of(press.plain())  # by schedule, beyond the end
    await press.revoke(other)
    await press.publish()
    assert serials_of(press.plain()) == {other.serial_number}


async def test_a_list_for_a_revocation_does_not_count_as_one_by_schedule(press: Press) -> None:
    gone, other, third = [await press.certificate() for _ in range(3)]
    await press.revoke(gone)
    press.authority.clock.now = int(gone.not_valid_after_utc.timestamp()) - 10
    await press.publish()  # by schedule, before the end
    press.authority.clock.advance(20)
    for one in (other, third):
        await press.revoke(one)
        await press.publish()
        assert gone.serial_number in serials_of(press.plain())


async def test_an_authority_that_was_away_over_the_end_shows_the_entry_once_more(press: Press) -> None:
    gone = await press.certificate()
    await press.revoke(gone)
    await press.publish()
    press.authority.clock.now = int(gone.not_valid_after_utc.timestamp()) + 400 * DAY
    await press.publish()
    assert gone.serial_number in serials_of(press.plain())
    press.authority.clock.advance(DAY)
    await press.publish()
    assert gone.serial_number not in serials_of(press.plain())


async def test_what_is_revoked_after_its_end_is_shown_once(press: Press) -> None:
    gone = await press.certificate()
    press.authority.clock.now = int(gone.not_valid_after_utc.timestamp()) + 2 * DAY
    await press.publish()
    await press.revoke(gone)
    await press.publish()
    assert gone.serial_number in serials_of(press.plain())


# --- clocks, restarts, other processes ------------------------------------------------------------------------------


async def test_numbers_rise_and_no_entry_is_lost_when_the_clock_goes_back(press: Press) -> None:
    valid = await press.certificate()
    await press.revoke(valid)
    numbers = []
    start = press.authority.clock.now
    for step in (0, 400 * DAY, DAY + 1, DAY + 1, -401 * DAY, 5, -3600, DAY):
        press.authority.clock.advance(step)
        await press.publish()
        found = press.plain()
        numbers.append(number_of(found))
        if press.authority.clock.now < start + 30 * DAY:
            # a clock that was a year ahead left it out; it is back, for it has not ended yet
            assert valid.serial_number in serials_of(found)
            assert found.last_update_utc.timestamp() <= press.authority.clock()
    assert numbers == sorted(numbers)
    events = [event.number for event in _published(press.authority)]
    assert events == sorted(set(events))


async def test_a_restart_serves_the_same_bytes(press: Press) -> None:
    await press.revoke(await press.certificate())
    await press.publish()
    before = octets(press.ask(f"/crl/{press.issuer}.crl"))
    again = Press(press.authority, press.folder)
    assert octets(again.ask(f"/crl/{press.issuer}.crl")) == before
    assert await again.publish() == 0


@pytest.mark.parametrize("rules", [RULES, WITH_DELTAS], ids=["complete", "delta"])
@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.write_bytes(b"")],
    ids=["gone", "cut off", "empty"],
)
async def test_a_list_that_was_lost_is_made_again_to_the_byte(
    authority: Authority, tmp_path: Path, spoil: Callable[[Path], object], rules: Rules
) -> None:
    press = Press(authority, tmp_path, rules=rules)
    for _ in range(3):
        await press.revoke(await press.certificate())
        await press.publish()
        authority.clock.advance(1)
    await press.publish()
    target = f"/crl/{press.issuer}{'-delta' if rules.has_deltas else ''}.crl"
    before = octets(press.ask(target))
    for path in tmp_path.iterdir():
        spoil(path)
    again = Press(authority, tmp_path, rules=rules)
    if spoil is Path.unlink:
        assert again.ask(target).status == 503
    assert await again.publish() == 0
    assert octets(again.ask(target)) == before


async def test_a_list_is_made_again_while_the_server_runs(press: Press) -> None:
    await press.publish()
    for path in press.folder.iterdir():
        path.unlink()
    assert await press.publish() == 0
    assert len(press.plain()) == 0
    assert list(press.folder.iterdir())


async def test_a_rebuilt_view_is_the_same_and_serves_the_same_list(press: Press) -> None:
    for _ in range(3):
        await press.revoke(await press.certificate())
        await press.publish()
    store = MemoryStore()
    Projector(press.authority.log, store, VIEWS).catch_up()
    assert digest(store, view.NAME) == digest(press.authority.store, view.NAME)


async def test_a_log_from_a_backup_that_forgot_lists_goes_on_with_greater_numbers(tmp_path: Path) -> None:
    log = MemoryLog()
    async with _again(log, URLS) as authority:
        press = Press(authority, tmp_path)
        await press.publish()
        backup = list(log.read(0))
        for _ in range(30):
            await press.revoke(await press.certificate())
            await press.publish()
        forgotten = number_of(press.plain())
        now = authority.clock() + 1
    restored = MemoryLog()
    await restored.append([Entry(record.type, record.value) for record in backup])
    async with _again(restored, URLS) as authority:
        authority.clock.now = now
        press = Press(authority, tmp_path / "new")
        await press.revoke(await press.certificate())
        await press.publish()
        assert number_of(press.plain()) > forgotten


async def test_lists_of_the_first_version_of_the_event_are_followed(press: Press) -> None:
    old = CRLPublished(
        issuer=press.issuer,
        number=press.authority.clock() * 1000 + 500,
        covers=1,
        this_update=press.authority.clock(),
        next_update=press.authority.clock() + DAY,
        signature=b"0",
        crl_sha256=bytes(32),
    )
    await press.authority.ledger.record(old)
    assert press.ask(f"/crl/{press.issuer}.crl").status == 404
    await press.publish()
    assert number_of(press.plain()) == old.number + 1


async def test_of_two_publishers_at_once_the_log_decides(press: Press) -> None:
    other = Press(press.authority, press.folder)
    gone = await press.certificate()
    await press.revoke(gone)
    await asyncio.gather(press.publish(), other.publish())
    assert octets(press.ask(f"/crl/{press.issuer}.crl")) == octets(other.ask(f"/crl/{press.issuer}.crl"))
    assert gone.serial_number in serials_of(press.plain())
    standing = [event.number for event in _published(press.authority)]
    assert press.published().number in standing


async def test_while_the_log_is_away_the_last_list_is_served(
    press: Press, monkeypatch: pytest.MonkeyPatch
) -> None:
    await press.publish()
    before = octets(press.ask(f"/crl/{press.issuer}.crl"))

    async def refuse(_: object) -> int:
        raise AppendFailed("the log is away")

    append = press.authority.log.append
    monkeypatch.setattr(press.authority.log, "append", refuse)
    press.authority.clock.advance(8 * DAY)
    with pytest.raises(AppendFailed):
        await press.publish()
    answer = press.ask(f"/crl/{press.issuer}.crl")
    # past its end nobody may keep it, but a client that wants to see it may
    assert (octets(answer), dict(answer.headers)["cache-control"]) == (
        before,
        "max-age=0, public, no-transform",
    )
    monkeypatch.setattr(press.authority.log, "append", append)
    assert await press.publish() == 1
    found = press.plain()
    assert found.next_update_utc is not None
    assert found.next_update_utc.timestamp() > press.authority.clock()


async def test_a_list_that_can_not_be_signed_does_not_hold_up_the_others(tmp_path: Path) -> None:
    refused: list[bytes] = []

    class Away:
        """The issuing key, away at the first call for a list."""

        def __init__(self, signer: FileSigner) -> None:
            self._signer = signer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._signer, name)

        def sign(self, data: bytes) -> bytes:
            if not refused:
                refused.append(data)
                raise SignerUnavailable("the token is gone")
            return self._signer.sign(data)

    async with running(urls=DIVIDED, signer=Away) as authority:
        press = Press(authority, tmp_path, urls=DIVIDED)
        with pytest.raises(SignerUnavailable):
            await press.publish()
        assert len(_published(authority)) == 4
        assert await press.publish() == 1


async def test_a_key_that_is_not_here_publishes_nothing_and_what_it_published_is_served(
    press: Press, monkeypatch: pytest.MonkeyPatch
) -> None:
    await press.publish()
    monkeypatch.setattr(press.authority.issuers, "here", lambda: ())
    for path in press.folder.iterdir():
        path.unlink()
    await press.revoke(await press.certificate())
    assert await press.publish() == 0
    assert serials_of(press.plain()) == set()


async def test_what_is_no_longer_current_is_let_go_of(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "TIDY_SECONDS", -1.0)
    monkeypatch.setattr("quicklime.adapters.file_shelf.GRACE_SECONDS", -1.0)
    for _ in range(5):
        await press.revoke(await press.certificate())
        await press.publish()
    await press.publish()
    assert [path.name for path in press.folder.iterdir()] == [press.published().crl_sha256.hex()]


async def test_warm_has_the_entries_at_hand(press: Press) -> None:
    gone = await press.certificate()
    await press.revoke(gone)
    await press.publish()
    again = Press(press.authority, press.folder)
    await again.publisher.warm()
    press.authority.clock.advance(1)
    other = await press.certificate()
    await press.revoke(other)
    await again.publish()
    assert serials_of(again.plain()) == {gone.serial_number, other.serial_number}


# --- a log that somebody else wrote to ------------------------------------------------------------------------------


@pytest.mark.parametrize(("shards", "shard"), [(4, 4), (4, -1), (0, 0), (70_000, 1)])
async def test_a_list_of_a_shard_that_can_not_be_does_not_stand(
    press: Press, shards: int, shard: int
) -> None:
    await press.publish()
    kept = press.published()
    await press.authority.ledger.record(
        CRLPublishedV2(
            issuer=press.issuer,
            number=kept.number + 1,
            covers=1,
            this_update=1,
            next_update=2,
            signature=b"0",
            crl_sha256=bytes(32),
            shards=shards,
            shard=shard,
        )
    )
    assert press.published() == kept
    assert await press.publish() == 0


@pytest.mark.parametrize(
    "forged",
    [
        {"number": 1 << 70},
        {"number": (1 << 63) - 1, "covers": 1 << 64},
        {"number": (1 << 63) - 1, "this_update": -1},
        {"number": (1 << 63) - 1, "base": 1 << 63},
    ],
)
async def test_a_list_with_figures_that_can_not_be_kept_does_not_stand(
    press: Press, forged: dict[str, int]
) -> None:
    await press.publish()
    kept = press.published()
    await press.authority.ledger.record(msgspec.structs.replace(kept, **forged))
    assert press.published() == kept
    assert await press.publish() == 0
    assert press.authority.follower.stalled is None


async def test_a_list_of_thousands_is_sent_by_slices_and_ranges(press: Press) -> None:
    plans = [planned(number, issuer=press.issuer) for number in range(7000)]
    revocations = [
        CertificateRevoked(serial=plan.serial, reason=4, revoked_at=press.authority.clock(), requester=ADA)
        for plan in plans
    ]
    await press.authority.ledger.record(*plans)
    await press.authority.ledger.record(*revocations)
    await press.publish()
    answer = press.ask(f"/crl/{press.issuer}.crl")
    assert isinstance(answer.body, Part)
    whole = octets(answer)
    assert len(x509.load_der_x509_crl(whole)) == 7000  # the linter would take a minute
    part = press.ask(f"/crl/{press.issuer}.crl", range="bytes=-100")
    assert isinstance(part.body, Part)
    assert octets(part) == whole[-100:]
    await press.revoke(await press.certificate())
    await press.publish()
    assert len(x509.load_der_x509_crl(octets(press.ask(f"/crl/{press.issuer}.crl")))) == 7001
    assert whole == octets(answer)  # who has begun to read it reads it to its end


async def test_a_delta_list_on_a_base_that_was_never_published_is_a_fault_of_the_log(press: Press) -> None:
    await press.publish()
    kept = press.published()
    await press.authority.ledger.record(
        CRLPublishedV2(
            issuer=press.issuer,
            number=kept.number + 2,
            covers=1,
            this_update=1,
            next_update=2,
            signature=b"0",
            crl_sha256=bytes(32),
            base=kept.number + 1,
        )
    )
    assert [what for _, what in verify(press.authority.log, lambda _: None).faults] == [
        f"a delta CRL whose base {kept.number + 1} is not the last complete one"
    ]


# --- one truth ------------------------------------------------------------------------------------------------------


async def test_crl_and_ocsp_never_contradict_each_other(tmp_path: Path) -> None:
    async with running(urls=DIVIDED) as authority:
        press = Press(authority, tmp_path, urls=DIVIDED)
        certificates = [await press.certificate() for _ in range(24)]
        for place, one in enumerate(certificates):
            if place % 2:
                await press.revoke(one, reason=(0, 1, 4, 5)[place % 4])
            if place % 3 == 0:
                # twice, and by another reason: the first counts, for both
                await press.revoke(one, reason=9)
        await authority.ledger.record(
            CertificateRevoked(serial="4f" * 20, reason=1, revoked_at=1, requester=ADA)  # never issued
        )
        await press.publish()
        for one in certificates:
            serial = f"{one.serial_number:040x}"
            data = authority.store.get(ocsp_view.NAME, ocsp_view.key(press.issuer, serial))
            assert data is not None
            status = ocsp_view.decode(data)
            entry = press.fetch(point_of(one)).get_revoked_certificate_by_serial_number(one.serial_number)
            assert (status.revoked_at is None) == (entry is None)
            if entry is not None and status.revoked_at is not None:
                assert entry.revocation_date_utc.timestamp() == status.revoked_at
                flags = [extension.value for extension in entry.extensions]
                told = [flag.reason.value for flag in flags if isinstance(flag, x509.CRLReason)]
                names = {
                    0: [],
                    1: ["keyCompromise"],
                    4: ["superseded"],
                    5: ["cessationOfOperation"],
                    9: ["privilegeWithdrawn"],
                }
                assert told == names[status.reason or 0]


# --- HTTP -----------------------------------------------------------------------------------------------------------


async def test_headers_ranges_and_conditions(press: Press) -> None:
    await press.publish()
    target = f"/crl/{press.issuer}.crl"
    whole = press.ask(target)
    headers = dict(whole.headers)
    assert whole.media_type == "application/pkix-crl"
    assert headers["cache-control"] == "max-age=3600, public, no-transform"
    assert headers["accept-ranges"] == "bytes"
    assert press.ask(target, if_none_match=headers["etag"]).status == 304
    assert press.ask(target, if_modified_since=headers["last-modified"]).status == 304
    part = press.ask(target, range="bytes=10-", if_range=headers["etag"])
    assert (part.status, octets(part)) == (206, octets(whole)[10:])
    assert press.ask(target, range="bytes=999999-").status == 416
    assert press.ask(target, method="HEAD").status == 200
    assert press.ask(target, method="POST").status == 405
    press.authority.clock.advance(1)
    await press.revoke(await press.certificate())
    await press.publish()
    # the rest of another version is of no use: the whole of the new one comes
    assert press.ask(target, range="bytes=10-", if_range=headers["etag"]).status == 200
    assert press.ask(target, if_none_match=headers["etag"]).status == 200
    assert press.ask(target, if_modified_since=headers["last-modified"]).status == 200


async def test_nobody_keeps_a_list_past_its_end(press: Press) -> None:
    await press.publish()
    press.authority.clock.advance(7 * DAY - 100)
    answer = press.ask(f"/crl/{press.issuer}.crl")
    assert dict(answer.headers)["cache-control"].startswith("max-age=100,")


@pytest.mark.parametrize(
    "path",
    [
        "/crl/{}/1/0.crl",
        "/crl/{}/4/4.crl",
        "/crl/{}/04/1.crl",
        "/crl/{}/4/01.crl",
        "/crl/{}/2000/1.crl",
        "/crl/{}/4.crl",
        "/crl/{}.crl/",
        "/crl/../crl/{}.crl",
        "/crl/{}-delta.crl",
        "/crl/{}/8/1.crl",
        "/crl/" + "0" * 40 + ".crl",
    ],
)
async def test_what_is_no_list_of_ours_is_not_found(press: Press, path: str) -> None:
    await press.publish()
    assert press.ask(path.format(press.issuer)).status == 404


async def test_the_issuers_certificate_is_not_sent_twice(press: Press) -> None:
    target = f"/issuers/{press.issuer}.cer"
    first = press.ask(target)
    assert octets(first) == press.authority.lab.intermediate
    assert press.ask(target, if_none_match=dict(first.headers)["etag"]).status == 304
    assert press.ask(f"/roots/{press.issuer}.cer").status == 404


def _published(authority: Authority) -> list[CRLPublishedV2]:
    return [event for event in authority.events() if isinstance(event, CRLPublishedV2)]


def _again(log: MemoryLog, urls: URLs) -> Any:
    """The same authority over the same log: founded once, and after that opened again."""
    return running(log=log, urls=urls)
