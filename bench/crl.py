"""A complete CRL from the view's entries: CPU of the first one after a start, of each one after it, and of a shard's.

The parts are those that the publisher runs: the entries of the view joined (once), then for each list the TBSCertList, its
signature (P-256), the hash of the whole and the file.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from cryptography import x509

from bench.table import show
from quicklime import wiring
from quicklime.adapters.file_shelf import FileShelf
from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.authority.issuers import IssuingKey
from quicklime.config import Config, load
from quicklime.pki.certificate import serial_from_entropy
from quicklime.pki.crl import Head, around, entry_der, tbs_crl
from quicklime.pki.shards import Scope
from quicklime.services.crl import view
from quicklime.services.crl.pile import Pile

SIZES = (10_000, 100_000, 1_000_000)
SHARDS = 64
PUT_AT_ONCE = 50_000
DAY_SECONDS = 86_400


def run(rounds: int, certificates: int) -> None:
    """``certificates`` bounds the longest list."""
    sizes = sorted({min(size, max(certificates, SIZES[0])) for size in SIZES})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        config = load(flags={"data_dir": Path(folder) / "data"}).config
        wiring.initialise(config, wiring.InitRequest(), lambda _: None)
        key = asyncio.run(_key(config))
        store, shelf = LMDBStore(Path(folder) / "views"), FileShelf(Path(folder) / "lists")
        rows = []
        for size in sizes:
            for shards in (1, SHARDS):
                scope = Scope(issuer=key.issuer, shards=shards)
                _fill(store, scope, size // shards)
                rows.append([f"{size:,} in {shards}", *_lists(key, store, shelf, scope, rounds)])
        store.close()
    print(f"{rounds} rounds\n")
    columns = ["entries, in lists", "list MB", "entries read after a start, CPU s", "then each list, CPU s"]
    show([*columns, "of it until signed", "signed, hashed, written"], rows)


async def _key(config: Config) -> IssuingKey:
    async with wiring.open_local(config) as local:
        return local.issuers.active()


def _fill(store: LMDBStore, scope: Scope, count: int) -> None:
    now = int(time.time())
    for start in range(0, count, PUT_AT_ONCE):
        with store.write() as batch:
            for offset in range(start, min(start + PUT_AT_ONCE, count)):
                entry = entry_der(serial_from_entropy(os.urandom(20)), now, 4, None)
                end = (now + 30 * DAY_SECONDS).to_bytes(view.END_OCTETS, "big", signed=True)
                batch.put(view.NAME, view.entry_key(scope, offset), end + entry)


def _lists(key: IssuingKey, store: LMDBStore, shelf: FileShelf, scope: Scope, rounds: int) -> list[str]:
    pile = Pile(store, scope)
    began = time.process_time()
    pile.bring(1 << 40, 0, 0)
    read = time.process_time() - began
    composed, finished = [], []
    octets = b""
    for number in range(rounds):
        began = time.process_time()
        now = int(time.time())
        head = Head(number=number + 1, this_update=now, next_update=now + 7 * DAY_SECONDS)
        with pile.since(0) as entries:
            tbs = tbs_crl(key.facts, head, (entries,))
        made = time.process_time()
        signature = key.signer.sign(tbs)
        before, after = around(tbs, key.signer.algorithm, signature)
        shelf.put((before, tbs, after))
        composed.append(made - began)
        finished.append(time.process_time() - made)
        octets = before + tbs + after
    assert len(x509.load_der_x509_crl(octets)) == len(pile)
    first, second = statistics.median(composed), statistics.median(finished)
    return [
        f"{len(octets) / 1e6:.2f}",
        f"{read:.3f}",
        f"{first + second:.4f}",
        f"{first:.4f}",
        f"{second:.4f}",
    ]
