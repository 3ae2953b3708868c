"""The validator as an attacker meets it: where it lets itself be sent, and where not."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from quicklime.services.acme.validator import Outcome, Perspective, Rules, Task, Validator
from quicklime.validation import CAARecord, Fetched, dns_value, key_authorization
from tests.support.acme import SERVED, World

THUMBPRINT = bytes(range(32))
TOKEN = "t" * 43
PATH = f"/.well-known/acme-challenge/{TOKEN}"
GOOD = Fetched(status=200, location=None, body=key_authorization(TOKEN, THUMBPRINT).encode())


def _rules(**more: Any) -> Rules:
    given: dict[str, Any] = {"networks": (SERVED,), "caa_identities": ("ca.internal",), "attempts": 1}
    return Rules(**(given | more))


async def _validate(
    *worlds: World, method: str = "http-01", name: str = "dns:web.internal", **more: Any
) -> Outcome:
    perspectives = [
        Perspective(name=f"p{number}", resolver=world, prober=world) for number, world in enumerate(worlds)
    ]
    task = Task(name=name, wildcard=False, method=method, token=TOKEN, thumbprint=THUMBPRINT, account_url="u")
    return await Validator(perspectives, _rules(**more), lambda: 7).validate(task)


def _moved(location: str, status: int = 302) -> Fetched:
    return Fetched(status=status, location=location, body=b"")


async def test_a_proof_with_what_was_asked() -> None:
    world = World(pages={PATH: GOOD})
    outcome = await _validate(world)
    assert outcome.failure is None
    assert [(one.of, one.at) for one in outcome.evidence] == [("192.0.2.53:53", 7), ("10.0.0.7", 7)]
    assert world.dialled == [("10.0.0.7", 80, f"http://web.internal{PATH}")]


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["169.254.169.254"],
        ["192.168.0.1"],
        ["::ffff:10.0.0.7"],
        ["0.0.0.0"],
        ["fe80::1"],
    ],
)
@pytest.mark.parametrize("method", ["http-01", "tls-alpn-01"])
async def test_a_name_that_points_inside_is_not_dialled(addresses: list[str], method: str) -> None:
    world = World(hosts={"web.internal": addresses}, pages={PATH: GOOD})
    outcome = await _validate(world, method=method)
    assert outcome.failure is not None
    assert outcome.failure[0] == "connection"
    assert not world.dialled


async def test_of_several_addresses_only_those_that_may_be_dialled() -> None:
    world = World(hosts={"web.internal": ["127.0.0.1", "10.0.0.9"]}, pages={PATH: GOOD})
    assert (await _validate(world)).failure is None
    assert [address for address, _, _ in world.dialled] == ["10.0.0.9"]


async def test_one_address_of_each_family_is_tried_at_most_ipv6_first() -> None:
    many = [f"10.0.0.{number}" for number in range(1, 100)] + [
        f"2606:4700::{number}" for number in range(1, 100)
    ]
    world = World(hosts={"web.internal": many})
    assert (await _validate(world)).failure is not None
    assert [address for address, _, _ in world.dialled] == ["2606:4700::1", "10.0.0.1"]


async def test_our_own_services_are_not_dialled() -> None:
    world = World(hosts={"web.internal": ["127.0.0.1"]}, pages={PATH: GOOD})
    served: dict[str, Any] = {"networks": (ip_network("127.0.0.0/8"),), "http_port": 8080}
    outcome = await _validate(world, own=frozenset({("127.0.0.1", 8080)}), **served)
    assert outcome.failure is not None
    assert "a service of this authority" in outcome.failure[1]
    assert not world.dialled


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "gopher://10.0.0.7/",
        "ftp://10.0.0.7/x",
        "unix:/var/run/x",
        "javascript:1",
        "http://10.0.0.7:22/",
        "http://10.0.0.7:6379/",
        "http://10.0.0.7:9092/",
        "https://10.0.0.7:8443/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://inside.internal/",
        "http://user:password@10.0.0.7/",
        "http://10.0.0.7/\r\nX-Injected: 1",
        "http://10.0.0.7/ x",
        "http://[bad/",
        "http://10.0.0.7:99999/",
        "//127.0.0.1/",
    ],
)
async def test_redirects_that_are_not_followed(location: str) -> None:
    world = World(hosts={"inside.internal": ["192.168.0.1"]}, pages={PATH: _moved(location)})
    outcome = await _validate(world)
    assert outcome.failure is not None
    assert outcome.failure[0] == "connection"
    assert len(world.dialled) == 1


@pytest.mark.parametrize(
    ("host", "number"), [("2130706433", "A"), ("0x7f000001", "A"), ("0177.0.0.1", "A"), ("127.1", "A")]
)
async def test_numbers_that_other_programs_take_for_addresses_are_names(host: str, number: str) -> None:
    world = World(hosts={host: []}, pages={PATH: _moved(f"http://{host}/")})
    assert (await _validate(world)).failure is not None
    assert f"{number} {host}" in world.asked
    assert len(world.dialled) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_resolved_and_checked_anew(status: int) -> None:
    world = World(
        hosts={"other.internal": ["10.0.0.8"]},
        pages={PATH: _moved("https://other.internal/x?y=1", status), "https://other.internal/x?y=1": GOOD},
    )
    assert (await _validate(world)).failure is None
    assert world.dialled[1] == ("10.0.0.8", 443, "https://other.internal/x?y=1")


async def test_a_relative_redirect_stays_at_the_host() -> None:
    world = World(pages={PATH: _moved("/elsewhere"), "http://web.internal/elsewhere": GOOD})
    assert (await _validate(world)).failure is None


async def test_redirects_in_a_loop_end() -> None:
    world = World(pages={PATH: _moved(f"http://web.internal{PATH}")})
    outcome = await _validate(world)
    assert outcome.failure == ("connection", "more than 5 redirects")
    assert len(world.dialled) == 6


async def test_a_name_that_changes_its_address_gains_nothing() -> None:
    """DNS rebinding: the first answer is public, every later one is loopback. What was checked is what is dialled."""

    class Rebinding(World):
        async def addresses(self, name: str) -> list[str]:
            await World.addresses(self, name)
            return ["10.0.0.7"] if len(self.asked) == 1 else ["127.0.0.1"]

    world = Rebinding(pages={PATH: GOOD})
    assert (await _validate(world)).failure is None
    assert [address for address, _, _ in world.dialled] == ["10.0.0.7"]
    again = Rebinding(pages={PATH: _moved("http://web.internal/next")})
    assert (await _validate(again)).failure is not None
    assert [address for address, _, _ in again.dialled] == ["10.0.0.7"]


async def test_an_address_as_a_name_is_checked_like_any() -> None:
    world = World(pages={PATH: GOOD})
    assert (await _validate(world, name="ip:10.0.0.7")).failure is None
    assert (await _validate(world, name="ip:127.0.0.1")).failure is not None
    assert not [one for one in world.asked if one.startswith("A ")]


async def test_dns_failures_are_told_from_names_that_are_not_there() -> None:
    failed = await _validate(World(broken={"web.internal"}))
    assert failed.failure is not None
    assert failed.failure[0] == "dns"
    assert "SERVFAIL" in failed.failure[1]
    absent = await _validate(World(hosts={"web.internal": []}))
    assert absent.failure == ("dns", "web.internal: no A or AAAA record")


async def test_dns_01_by_any_of_several_records() -> None:
    value = dns_value(TOKEN, THUMBPRINT)
    world = World(texts_at={"_acme-challenge.web.internal": ["other", value]})
    assert (await _validate(world, method="dns-01")).failure is None
    assert not world.dialled
    wrong = await _validate(World(texts_at={"_acme-challenge.web.internal": ["other"]}), method="dns-01")
    assert wrong.failure is not None
    assert wrong.failure[0] == "unauthorized"
    none = await _validate(World(), method="dns-01")
    assert none.failure is not None
    assert none.failure[0] == "dns"


async def test_who_does_not_answer_is_asked_again_who_answers_wrongly_is_not() -> None:
    silent = World()
    assert (await _validate(silent, attempts=2)).failure is not None
    assert len(silent.dialled) == 2
    wrong = World(pages={PATH: Fetched(status=200, location=None, body=b"no")})
    assert (await _validate(wrong, attempts=2)).failure is not None
    assert len(wrong.dialled) == 1


@pytest.mark.parametrize(
    ("good", "quorum", "proved"),
    [
        ((True, True, True), 3, True),
        ((True, True, False), 3, False),
        ((True, True, False), 2, True),
        # the first vantage point is always among those that must agree
        ((False, True, True), 2, False),
        ((True, False, False), 2, False),
    ],
)
async def test_vantage_points_must_agree(good: tuple[bool, ...], quorum: int, *, proved: bool) -> None:
    worlds = [World(pages={PATH: GOOD} if one else {}) for one in good]
    outcome = await _validate(*worlds, quorum=quorum)
    assert (outcome.failure is None) is proved
    assert {one.perspective for one in outcome.evidence} == {"p0", "p1", "p2"}


async def test_caa_is_looked_for_at_the_name_and_above_and_the_nearest_counts() -> None:
    world = World(caa_at={"internal": [CAARecord(flags=0, tag="issue", value=";")]})
    validator = Validator([Perspective(name="p", resolver=world, prober=world)], _rules(), lambda: 7)
    asked = {"wildcard": False, "method": "http-01", "account_url": "u"}
    assert (await validator.check_caa("dns:a.web.internal", **asked)).failure is not None  # type: ignore[arg-type]
    assert world.asked == ["CAA a.web.internal", "CAA web.internal", "CAA internal"]
    world.caa_at["web.internal"] = [CAARecord(flags=0, tag="issue", value="ca.internal")]
    assert (await validator.check_caa("dns:a.web.internal", **asked)).failure is None  # type: ignore[arg-type]
    assert (await validator.check_caa("ip:10.0.0.1", **asked)).failure is None  # type: ignore[arg-type]
