"""The log or the key is away, or computes wrongly: nothing is signed that the log does not hold, nothing leaves, and what was
promised to others is free again. And what is secret in a request stands nowhere after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.events import CertificateAbandoned, CertificateIssued, CertificatePlanned
from quicklime.log import AppendFailed, AppendUnknown, Entry, MemoryLog
from quicklime.pki.signer import Signer, SignerUnavailable
from tests.support.authority import Authority, base64, codes_of, running, subscriber

PATH = "/v1/certificates"
NAME = "dns:web.lab.internal"


class LogThatFails(MemoryLog):
    """Keeps or loses the next append of ``kind``, and fails in either case."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = ""
        self.keeps = False

    async def append(self, entries: Sequence[Entry]) -> int:
        if self.kind and any(self.kind in entry.type for entry in entries):
            self.kind = ""
            if not self.keeps:
                raise AppendFailed("the disk is full")
            await super().append(entries)
            raise AppendUnknown("the answer was lost")
        return await super().append(entries)


class Watched:
    """A signer that counts, and fails or computes wrongly where it is told to."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.signed = 0
        self.mode = "right"

    @property
    def uri(self) -> str:
        return self._signer.uri

    @property
    def public_key(self) -> bytes:
        return self._signer.public_key

    @property
    def algorithm(self) -> bytes:
        return self._signer.algorithm

    @property
    def blocking(self) -> bool:
        return False

    def sign(self, data: bytes) -> bytes:
        if self.mode == "away":
            raise SignerUnavailable("the token is gone, slot 7")
        self.signed += 1
        return self._signer.sign(data if self.mode == "right" else data + b"!")


@cache
def request() -> str:
    """One request, to the octet, so that a second of it is a retry."""
    return base64(subscriber().csr(NAME))


async def ask(authority: Authority, key: str = "once") -> tuple[int, list[str]]:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        json={"csr": request()},
        headers={"idempotency-key": key},
    )
    return answer.status_code, [] if answer.status_code < 300 else codes_of(answer)


def count(authority: Authority, kind: type) -> int:
    return sum(isinstance(event, kind) for event in authority.events())


@pytest.mark.parametrize("keeps", [False, True], ids=("lost", "kept"))
async def test_where_the_plan_is_not_known_to_stand_nothing_is_signed(*, keeps: bool) -> None:
    log, watched = LogThatFails(), list[Watched]()

    def watch(signer: Signer) -> Signer:
        watched.append(Watched(signer))
        return watched[-1]

    async with running(log=log, signer=watch) as authority:
        before = watched[0].signed
        log.kind, log.keeps = "certificate.planned", keeps
        assert await ask(authority) == (503, ["log-unavailable"])
        assert watched[0].signed == before
        assert count(authority, CertificateIssued) == 0
        # a plan that was kept holds its place until its deadline; then a retry gets a certificate, one alone
        authority.clock.advance(61)
        assert (await ask(authority))[0] == 201
        assert count(authority, CertificateIssued) == 1
        assert count(authority, CertificateAbandoned) == keeps


@pytest.mark.parametrize("keeps", [False, True], ids=("lost", "kept"))
async def test_where_the_issuance_is_not_known_to_stand_the_certificate_does_not_leave(
    *, keeps: bool
) -> None:
    log = LogThatFails()
    async with running(log=log) as authority:
        log.kind, log.keeps = "certificate.issued", keeps
        assert await ask(authority) == (503, ["log-unavailable"])
        authority.clock.advance(61)
        # repeated, or issued now
        assert (await ask(authority))[0] == (200 if keeps else 201)
        # the one that was kept is what the retry got; the one that was lost was never issued
        assert count(authority, CertificateIssued) == 1
        assert count(authority, CertificatePlanned) == (1 if keeps else 2)


async def test_a_revocation_that_is_not_known_to_stand_is_not_confirmed() -> None:
    log = LogThatFails()
    async with running(log=log) as authority:
        serial = (await authority.issued())["serial"]
        path = f"{PATH}/{serial}/revocation"
        log.kind = "certificate.revoked"
        answer = await authority.ask("POST", path, token=authority.admin, json={"reason": "superseded"})
        assert (answer.status_code, codes_of(answer)) == (503, ["log-unavailable"])
        found = authority.state.certificate(serial)
        assert found is not None
        assert found.revocation is None
        again = await authority.ask("POST", path, token=authority.admin, json={"reason": "superseded"})
        assert again.status_code == 200


@pytest.mark.parametrize("mode", ["away", "wrong"])
async def test_a_key_that_fails_leaves_no_certificate_and_no_place_taken(mode: str) -> None:
    watched = list[Watched]()

    def watch(signer: Signer) -> Signer:
        watched.append(Watched(signer))
        return watched[-1]

    async with running(signer=watch) as authority:
        watched[0].mode = mode
        answer = await authority.ask(
            "POST",
            PATH,
            token=authority.admin,
            json={"csr": request()},
            headers={"idempotency-key": "once"},
        )
        assert answer.status_code == (503 if mode == "away" else 500)
        assert "slot 7" not in answer.text
        assert "CERTIFICATE" not in answer.text
        assert count(authority, CertificateIssued) == 0
        assert count(authority, CertificateAbandoned) == 1
        watched[0].mode = "right"
        # at once, under the same key: the plan that came to nothing holds nothing
        assert (await ask(authority))[0] == 201
        # a key that computes wrongly is a broken invariant: the process does not go on with it
        if mode == "wrong":
            await asyncio.wait_for(authority.ended.wait(), 10)
        assert authority.ended.is_set() is (mode == "wrong")


async def test_a_challenge_password_stands_nowhere(
    authority: Authority, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = b"correct horse battery staple"
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, secret)
    )

    def secretive(name: str) -> str:
        with_name = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return base64(with_name.sign(subscriber().key, hashes.SHA256()).public_bytes(Encoding.DER))

    token = await authority.token(names=("web.lab.internal",))
    for name, status in (
        ("web.lab.internal", 201),
        ("elsewhere.lab.internal", 403),
        ("bad_.lab.internal", 400),
    ):
        answer = await authority.ask("POST", PATH, token=token, json={"csr": secretive(name)})
        assert answer.status_code == status, answer.text
        assert secret.decode() not in answer.text
    records = authority.log.read(0)
    assert len(records) > 8
    needles = (secret, base64(secret).encode().rstrip(b"=")[:-1], secret.hex().encode())
    assert not [one for record in records for one in needles if one in record.value]
    printed = capfd.readouterr()
    assert secret.decode() not in caplog.text + printed.out + printed.err
