"""A plan whose request ended without finishing it holds its place (a parent, an idempotency key, a token's use) to its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from quicklime.authority.issuance import PLAN_SECONDS
from quicklime.events import CertificatePlanned, RevocationSecretAdded
from quicklime.lifecycle.certificate import REVOCATION_SECRETS_MAX
from quicklime.log import AppendUnknown, Entry, MemoryLog
from quicklime.projection import open_plans
from tests.support.authority import Authority, base64, codes_of, octets, running, subscriber


class Forgetful(MemoryLog):
    """Loses the answer to the next append of one type; the records stand."""

    loses: str | None = None

    async def append(self, entries: Sequence[Entry]) -> int:
        first = await super().append(entries)
        if any(entry.type == self.loses for entry in entries):
            self.loses = None
            raise AppendUnknown("the answer was lost")
        return first


REQUEST = subscriber().csr("dns:web.lab.internal")


async def left_open(authority: Authority, log: Forgetful, **more: Any) -> None:
    log.loses = CertificatePlanned.TYPE
    body = {"csr": base64(REQUEST)}
    answer = await authority.ask("POST", "/v1/certificates", json=body, **more)
    assert answer.status_code == 503, answer.text
    assert len(open_plans(authority.store)) == 1


async def test_an_overdue_plan_gives_the_use_of_its_token_back_and_not_a_second_earlier() -> None:
    log = Forgetful()
    async with running(log=log) as authority:
        token = await authority.token(uses_max=1)
        await left_open(authority, log, token=token)
        (serial,) = open_plans(authority.store)
        authority.clock.advance(PLAN_SECONDS - 1)
        assert not await authority.issuance.abandon_overdue(serial)
        body = {"csr": base64(REQUEST)}
        answer = await authority.ask("POST", "/v1/certificates", token=token, json=body)
        assert codes_of(answer) == ["token-exhausted"]
        authority.clock.advance(1)
        assert await authority.issuance.abandon_overdue(serial)
        assert not await authority.issuance.abandon_overdue(serial)
        await authority.issued(token=token)


async def test_a_retry_after_the_deadline_gets_a_certificate_of_its_own_and_before_it_a_word() -> None:
    log = Forgetful()
    async with running(log=log) as authority:
        headers = {"idempotency-key": "again"}
        await left_open(authority, log, token=authority.admin, headers=headers)
        body = {"csr": base64(REQUEST)}
        ask: dict[str, Any] = {"token": authority.admin, "json": body, "headers": headers}
        answer = await authority.ask("POST", "/v1/certificates", **ask)
        assert codes_of(answer) == ["idempotency-conflict"]
        assert answer.headers["retry-after"] == "1"
        authority.clock.advance(PLAN_SECONDS)
        answer = await authority.ask("POST", "/v1/certificates", **ask)
        assert answer.status_code == 201, answer.text
        assert open_plans(authority.store) == []


async def test_of_many_retries_at_once_only_secrets_that_the_log_took_are_told() -> None:
    async with running() as authority:
        body = {"csr": base64(REQUEST)}
        ask: dict[str, Any] = {
            "token": authority.admin,
            "json": body,
            "headers": {"idempotency-key": "many"},
        }
        first = await authority.ask("POST", "/v1/certificates", **ask)
        answers = await asyncio.gather(
            *(authority.ask("POST", "/v1/certificates", **ask) for _ in range(2 * REVOCATION_SECRETS_MAX))
        )
        told = [answer.json() for answer in answers if answer.status_code < 300]
        found = authority.state.certificate(first.json()["serial"])
        assert found is not None
        assert len(told) == REVOCATION_SECRETS_MAX - 1
        for one in told:
            assert sha256(octets(one["revocation_secret"])).digest() in found.revocation_secrets_sha256
        for answer in answers:
            if answer.status_code >= 300:
                assert codes_of(answer) == ["idempotency-conflict"]
        added = [event for event in authority.events() if isinstance(event, RevocationSecretAdded)]
        assert len(added) >= REVOCATION_SECRETS_MAX - 1


async def test_secret_and_challenge_are_drawn_anew_for_each_certificate() -> None:
    async with running() as authority:
        one, two = [await authority.issued(f"dns:{name}.lab.internal") for name in ("a", "b")]
        for field in ("revocation_secret", "renewal_challenge"):
            assert one[field] != two[field]
            assert len(octets(one[field])) == 32
