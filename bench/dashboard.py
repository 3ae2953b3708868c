"""The first page of every list of the dashboard, over a million certificates: milliseconds at the server, JSON included.

The view is seeded: rows come from the view's own functions, from certificates that no key signed. What is asked goes through the
application, as a browser's request does, without TLS.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path
from urllib.parse import urlencode

import httpx

from bench.table import show
from quicklime.adapters.file_signer import generate
from quicklime.adapters.sqlite_store import SQLiteStore
from quicklime.events import CertificateIssued, CertificateRevoked, Requester, RequestRefused
from quicklime.lifecycle import Changes
from quicklime.lifecycle.certificate import Certificate, Revocation
from quicklime.lifecycle.token import Token
from quicklime.projection.tabular import offset_key
from quicklime.services.monitor.api import dashboard
from quicklime.services.monitor.view import rows
from quicklime.telemetry import Lines, Metrics
from quicklime.web.application import Application
from quicklime.web.auth import Guard
from quicklime.web.limits import Rate
from quicklime.web.session import Sessions
from quicklime.wiring.monitor import LAYOUT

CERTIFICATES = 1_000_000
BATCH = 5_000
DAY = 86_400
LIFETIME = 30 * DAY
RENEWALS = 25
NODES = 3
NOW = 1_800_000_000
ASKED_EACH = 12
ISSUERS = tuple(f"{number:040x}" for number in (1, 2, 3))
TEAMS = ("shop", "media", "data", "ops", "home", "lab", "office", "edge", "mail", "build")


def run(rounds: int, certificates: int) -> None:
    del certificates  # it is about many
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "view.sqlite"
        store = SQLiteStore(path, LAYOUT, writing=True)
        began = time.perf_counter()
        octets = seed(store, CERTIFICATES)
        seconds = time.perf_counter() - began
        size = sum(one.stat().st_size for one in path.parent.iterdir())
        print(
            f"{CERTIFICATES} certificates in {octets} records, {size / CERTIFICATES:.0f} octets of view each "
            f"(rows and indexes alone), made in {seconds:.0f} s; {rounds} rounds of {ASKED_EACH} requests\n"
        )
        table = asyncio.run(_ask(store, rounds))
        store.close()
    show(["what is asked", "median ms", "slowest ms"], table)


def seed(store: SQLiteStore, certificates: int) -> int:
    """Rows of a fleet: services of three nodes that renewed for two years; the number of records."""
    spkis = [_spki(kind) for kind in ("ecdsa-p256", "ed25519")]
    offset = 0
    with_revocations: list[tuple[int, Certificate]] = []
    lives = _lives(certificates, spkis)
    while True:
        with store.write() as batch:
            for _, one in zip(range(BATCH), lives, strict=False):
                offset += 2
                issued = Certificate(**one, plan_offset=offset - 1, issued_offset=offset)  # type: ignore[arg-type]
                event = CertificateIssued(issued.serial, os.urandom(16), issued.issued_at or 0)
                _put(batch, offset, event, issued)
                if offset % 1009 == 0:
                    with_revocations.append((offset, issued))
            if offset >= 2 * certificates:
                break
    with store.write() as batch:
        for place, (_, issued) in enumerate(with_revocations):
            offset += 1
            at = (issued.issued_at or 0) + DAY
            revoked = _replaced(issued, Revocation(at, place % 2, None, offset))
            requester = Requester(kind="token", id="operator")
            _put(batch, offset, CertificateRevoked(issued.serial, place % 2, at, requester), revoked)
            offset += 1
            refusal = RequestRefused(
                "renew", requester, ("certificate-revoked",), "it is revoked", at, issued.serial
            )
            _put(batch, offset, refusal, None)
    return offset


def _lives(certificates: int, spkis: list[bytes]) -> Iterator[dict[str, object]]:
    lineages = certificates // RENEWALS
    for number in range(certificates):
        renewal, lineage = divmod(number, lineages)
        service, node = divmod(lineage, NODES)
        name = f"svc{service}.{TEAMS[service % len(TEAMS)]}.internal"
        at = NOW - (RENEWALS - renewal) * 20 * DAY + lineage % (20 * DAY)
        yield {
            "serial": _serial(renewal, lineage),
            "status": "issued",
            "issuer": ISSUERS[renewal * 3 // RENEWALS],
            "profile": "client" if service % 5000 == 7 else "server",
            "names": (f"dns:n{node}.{name}", f"dns:{name}"),
            "public_key": spkis[lineage % 50 == 0],
            "not_before": at,
            "not_after": at + LIFETIME,
            "renewable_until": at + LIFETIME,
            "requester": Requester(kind="possession" if renewal else "token", id=f"{lineage % 1000:016x}"),
            "lineage": _serial(0, lineage),
            "node": f"n{node}",
            "predecessor": _serial(renewal - 1, lineage) if renewal else None,
            "successor": None,
            "challenge": b"",
            "revocation_secrets_sha256": (),
            "tbs_sha256": b"",
            "planned_at": at,
            "deadline": at,
            "issued_at": at,
        }


def _serial(renewal: int, lineage: int) -> str:
    return "4" + sha1(f"{renewal} {lineage}".encode()).hexdigest()[1:]


def _replaced(one: Certificate, revocation: Revocation) -> Certificate:
    from msgspec.structs import replace

    return replace(one, status="revoked", revocation=revocation)


def _put(batch: object, offset: int, event: object, certificate: Certificate | None) -> None:
    changes = Changes(
        refusal=None,
        certificates={} if certificate is None else {certificate.serial: certificate},
        claims={},
        compromised=set(),
        tokens={},
        authority=None,
    )
    for name, project in (
        (rows.CERTIFICATES, rows.certificates),
        (rows.RECORDS, rows.records),
        (rows.REFUSALS, rows.refusals),
    ):
        for key, value in project(offset, event, changes):  # type: ignore[arg-type]
            batch.put(name, key, value)  # type: ignore[attr-defined]
    assert offset_key(offset)


def _spki(kind: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return generate(kind).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def questions() -> dict[str, tuple[str, dict[str, object]]]:
    """Every list and search of the page: what a person would call it, the path, the query."""
    found: dict[str, tuple[str, dict[str, object]]] = {"overview": ("overview", {})}
    for sort in ("-issued", "issued", "expires", "-expires", "name", "-name"):
        found[f"certificates, {sort}"] = ("certificates", {"sort": sort})
    for status in ("valid", "current", "replaced", "expiring", "expired", "revoked", "overdue"):
        for sort in ("-issued", "expires", "name"):
            found[f"{status}, {sort}"] = ("certificates", {"status": status, "sort": sort})
    for name, query in {
        "a rare profile": {"profile": "client"},
        "a rare profile, valid": {"profile": "client", "status": "valid"},
        "a retired issuer": {"issuer": ISSUERS[0]},
        "a retired issuer, valid (none)": {"issuer": ISSUERS[0], "status": "valid"},
        "a key type": {"key_type": "ed25519"},
        "a requester": {"requester": f"{77:016x}"},
        "a name": {"name": "dns:svc77.edge.internal"},
        "search: what all have": {"q": "internal"},
        "search: a tenth": {"q": "shop.internal"},
        "search: one service": {"q": "svc4711."},
        "search: a tenth, revoked": {"q": "shop.internal", "status": "revoked"},
        "search: a serial": {"q": _serial(3, 4711)},
        "search: nothing": {"q": "nosuchthing"},
    }.items():
        for sort in ("-issued", "expires"):
            found[f"{name}, {sort}"] = ("certificates", {"sort": sort, **query})
    found["services"] = ("services", {})
    found["services with a part of the name"] = ("services", {"q": "svc4711"})
    found["lanes of a service"] = ("lineages", {"name": "dns:svc77.edge.internal"})
    found["records"] = ("records", {})
    found["records of one type"] = ("records", {"type": "quicklime.certificate.revoked.v1"})
    found["as of a year ago: certificates"] = ("certificates", {"as_of": 700_000})
    found["as of a year ago: expiring"] = (
        "certificates",
        {"as_of": 700_000, "status": "expiring", "sort": "expires"},
    )
    found["as of a year ago: overview"] = ("overview", {"as_of": 700_000})
    return found


async def _ask(store: SQLiteStore, rounds: int) -> list[list[str]]:
    token = Token(
        "t", b"", "auditor", "", (), (), None, 0, NOW - DAY, NOW + DAY, Requester(kind="local", id="x")
    )
    guard = Guard(
        token_by_hash=lambda _: token,
        token=lambda _: token,
        sessions=Sessions(b"k" * 32),
        certificate=lambda _: None,
        rules=(),
        clock=lambda: NOW,
        failures=Rate(60),
    )
    sources = dashboard.Sources(
        index=store,
        read=lambda _: None,  # type: ignore[arg-type, return-value]
        raw=lambda _: b"",
        issuers=tuple,
        chain=lambda _: (),
        here=frozenset,
        authority=lambda: ("", ""),
        log_head=lambda: 0,
        views=list,
        not_ready=list,
        roles=(),
        clock=lambda: NOW,
        started_at=NOW,
    )
    application = Application(
        dashboard.routes(sources, guard), metrics=Metrics(), lines=Lines(), rate=Rate(6_000_000)
    )
    taken: dict[str, list[float]] = {}
    transport = httpx.ASGITransport(app=application, client=("192.0.2.1", 1))
    async with httpx.AsyncClient(
        transport=transport, base_url="https://localhost", headers={"authorization": "Bearer x"}, timeout=60
    ) as client:
        for _ in range(rounds):
            for name, (path, query) in questions().items():
                for _ in range(ASKED_EACH):
                    began = time.perf_counter()
                    answer = await client.get(f"/v1/monitor/{path}?{urlencode(query)}")
                    taken.setdefault(name, []).append((time.perf_counter() - began) * 1000)
                    assert answer.status_code == 200, answer.text
    return [[name, f"{statistics.median(found):.1f}", f"{max(found):.1f}"] for name, found in taken.items()]
