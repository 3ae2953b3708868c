"""Replay in events a second: every view from record 0, against the bare decode of the same records."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.table import show
from quicklime import codec, wiring
from quicklime.adapters.file_signer import generate
from quicklime.adapters.lmdb_store import LMDBStore
from quicklime.adapters.memory_store import MemoryStore
from quicklime.authority.commands import SystemCommand
from quicklime.config import load
from quicklime.log import Record
from quicklime.projection import Projector, Store
from quicklime.wiring.local import VIEWS

PAGE = 1000


def run(rounds: int, certificates: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        config = load(flags={"data_dir": Path(folder) / "data"}).config
        wiring.initialise(config, wiring.InitRequest(), lambda _: None)
        asyncio.run(_issue(config, certificates))
        figures: dict[str, list[float]] = {}
        with wiring.opened_log(config) as log:
            records: list[Record] = []
            while page := log.read(len(records)):
                records.extend(page)
            for number in range(rounds):
                figures.setdefault("decode alone", []).append(_decode(records))
                stores: dict[str, Store] = {
                    "all views, in memory": MemoryStore(),
                    "all views, LMDB": LMDBStore(Path(folder) / f"views-{number}"),
                }
                for name, store in stores.items():
                    began = time.perf_counter()
                    Projector(log, store, VIEWS).catch_up()
                    figures.setdefault(name, []).append(len(records) / (time.perf_counter() - began))
                    store.close()
    medians = {name: statistics.median(found) for name, found in figures.items()}
    bare = medians["decode alone"]
    print(f"{rounds} rounds over {len(records)} events\n")
    rows = [[name, f"{rate:.0f}", f"{rate / bare:.2f}"] for name, rate in medians.items()]
    show(["what", "events per second", "against the bare decode"], rows)


async def _issue(config: object, certificates: int) -> None:
    """Real events: certificates by the ordinary path, for one key."""
    async with wiring.open_local(config) as local:  # type: ignore[arg-type]
        spki = (
            generate("ecdsa-p256").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        command = SystemCommand(
            profile="server",
            names=("dns:web.internal",),
            public_key=spki,
            key_type="ecdsa-p256",
            node="bench",
        )
        for start in range(0, certificates, 100):
            await asyncio.gather(
                *(local.issuance.issue_to_system(command) for _ in range(min(100, certificates - start)))
            )


def _decode(records: list[Record]) -> float:
    began = time.perf_counter()
    for record in records:
        codec.decode(record.value)
    return len(records) / (time.perf_counter() - began)
