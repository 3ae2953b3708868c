"""Make a large log honestly: a real authority, then events by the codec as the desks would have appended them.

`python -m bench.seed FOLDER --certificates N [--revoked N] [--renewals N] [--refused N] [--shards N]` makes one to look at. The
benches keep theirs under the temporary directory (`quicklime-bench-seed`) and take it again for a week.

What is real: every record (envelope, members, order, links of renewals), every certificate's bytes, its signature by the
issuing key, serials, challenges and hashes of secrets. What repeats: subscribers' keys (64 of them), the requester (one person on
the machine), names (one per lineage), times (one second per 1000 certificates). Nobody was asked over HTTP, and the log is
flushed once per 10 000 records.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quicklime import codec, wiring
from quicklime.adapters.file_signer import generate
from quicklime.adapters.sqlite_log import SQLiteLog
from quicklime.authority.issuers import IssuingKey
from quicklime.config import Config, load
from quicklime.events import (
    CertificateIssued,
    CertificatePlanned,
    CertificateRevoked,
    Event,
    Requester,
    RequestRefused,
    RevocationSecretAdded,
)
from quicklime.log import Entry
from quicklime.pki.certificate import Template, assemble_certificate, serial_from_entropy
from quicklime.pki.certificate import URLs as StatusURLs
from quicklime.wiring.directory import DataDirectory

KEYS = 64
APPENDED_AT_ONCE = 10_000
DAY_SECONDS = 86_400
LIFE_SECONDS = 90 * DAY_SECONDS
KEPT_SECONDS = 7 * DAY_SECONDS
LOCAL = Requester(kind="local", id="bench", role="admin")
CACHE = Path(tempfile.gettempdir()) / "quicklime-bench-seed"
# raised when what this module makes changes
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the log is made of. ``renewals`` replace each first certificate so often, ``revoked`` lineages end with a revocation.

    ``refused`` requests and ``secrets`` are per certificate.
    """

    certificates: int
    revoked: int = 0
    renewals: int = 0
    refused: int = 0
    secrets: int = 0
    shards: int = 1

    @property
    def name(self) -> str:
        return f"v{VERSION}-{self.certificates}-{self.revoked}-{self.renewals}-{self.refused}-{self.secrets}-{self.shards}"


def seeded(shape: Shape, folder: Path = CACHE) -> Path:
    """A data directory of this shape, made or taken from before. Not to be changed: ``copied`` gives one that may be."""
    home = folder / shape.name
    done = home / "done"
    if done.exists() and time.time() - done.stat().st_mtime < KEPT_SECONDS:
        return home / "data"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    config = settings(home / "data", shape.shards)
    wiring.initialise(config, wiring.InitRequest(), lambda _: None)
    began = time.monotonic()
    records = asyncio.run(_fill(config, shape))
    print(f"seeded {records} records in {time.monotonic() - began:.0f} s: {shape}", file=sys.stderr)
    shutil.rmtree(home / "data" / "views", ignore_errors=True)
    done.touch()
    return home / "data"


def copied(shape: Shape, to: Path, folder: Path = CACHE) -> Path:
    """A copy of the seeded data directory, which a server may change."""
    shutil.copytree(seeded(shape, folder), to)
    return to


def settings(data: Path, shards: int = 1, **flags: object) -> Config:
    return load(flags={"data_dir": data, "crl.shards": shards, **flags}).config


async def _fill(config: Config, shape: Shape) -> int:
    async with wiring.open_local(config) as local:
        key = local.issuers.active()
        template = Template(
            key.facts, local.profiles["server"], StatusURLs(str(config.status.url), shape.shards)
        )
        source = local.ledger.source
    log = SQLiteLog(DataDirectory(config.data_dir).log)
    try:
        pending: list[Entry] = []
        last: asyncio.Future[int] | None = None
        now = int(time.time())
        for event in _history(shape, key, template, now):
            pending.append(
                Entry(
                    event.TYPE,
                    codec.encode(event, event_id=os.urandom(16).hex(), source=source, time_seconds=now),
                )
            )
            if len(pending) >= APPENDED_AT_ONCE:
                if last is not None:
                    await last
                last = asyncio.ensure_future(log.append(pending))
                await asyncio.sleep(0)
                pending = []
        if last is not None:
            await last
        if pending:
            await log.append(pending)
        return log.head()
    finally:
        log.close()


def _history(shape: Shape, key: IssuingKey, template: Template, now: int) -> Iterator[Event]:
    keys = [
        generate("ecdsa-p256").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for _ in range(KEYS)
    ]
    parent: CertificatePlanned | None = None
    for number in range(shape.certificates):
        lineage, place = divmod(number, shape.renewals + 1)
        at = now - LIFE_SECONDS // 2 + number // 1000
        plan = _plan(key, template, keys[number % KEYS], lineage, at, parent if place else None)
        parent = plan
        yield plan
        certificate = assemble_certificate(plan.tbs, key.signer.algorithm, key.signer.sign(plan.tbs))
        yield CertificateIssued(serial=plan.serial, certificate=certificate, issued_at=at)
        for _ in range(shape.secrets):
            yield RevocationSecretAdded(
                serial=plan.serial, revocation_secret_sha256=os.urandom(32), added_at=at
            )
        for _ in range(shape.refused):
            yield RequestRefused(
                operation="renew",
                requester=LOCAL,
                codes=("already-renewed",),
                detail=f"certificate {plan.serial} was renewed already",
                refused_at=at,
                serial=plan.serial,
            )
        # the last of a lineage: a revoked one would not be renewed
        if place == shape.renewals and lineage < shape.revoked:
            yield CertificateRevoked(serial=plan.serial, reason=4, revoked_at=at + 1, requester=LOCAL)


def _plan(
    key: IssuingKey,
    template: Template,
    spki: bytes,
    lineage: int,
    at: int,
    parent: CertificatePlanned | None,
) -> CertificatePlanned:
    lots = os.urandom(84)
    serial = serial_from_entropy(lots[:20])
    names = (f"dns:node-{lineage}.internal",)
    not_before, not_after = at - 60, at + LIFE_SECONDS - 1
    return CertificatePlanned(
        serial=serial,
        issuer=key.issuer,
        profile="server",
        names=names,
        public_key=spki,
        not_before=not_before,
        not_after=not_after,
        tbs=template.tbs(serial=serial, not_before=not_before, not_after=not_after, spki=spki, names=names),
        challenge=lots[20:52],
        revocation_secret_sha256=sha256(lots[52:]).digest(),
        requester=LOCAL,
        evidence=("dns:node granted by **.internal",),
        lineage=serial if parent is None else parent.lineage,
        planned_at=at,
        deadline=at + 60,
        predecessor=None if parent is None else parent.serial,
        renewable_until=not_after,
        node=f"node-{lineage}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.seed", description=__doc__)
    parser.add_argument("folder", type=Path)
    for name, default in (
        ("certificates", 1000),
        ("revoked", 0),
        ("renewals", 0),
        ("refused", 0),
        ("secrets", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shards", type=int, default=1)
    options = vars(parser.parse_args())
    folder = options.pop("folder")
    print(seeded(Shape(**options), folder))


if __name__ == "__main__":
    main()
