"""A process of its own over the log and views of a data directory: renews what each line of standard input asks for.

    python -m tests.support.writer quicklime.toml

Put together by ``wiring.local`` as the server and the local commands are.
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64decode
from pathlib import Path

from quicklime.authority.commands import RenewCommand
from quicklime.config import load
from quicklime.errors import Fault, Refused
from quicklime.pki import csr
from quicklime.wiring.local import Local, open_local


async def renew(local: Local, asked: dict[str, str]) -> dict[str, object]:
    try:
        granted = await local.issuance.renew(
            RenewCommand(
                serial=asked["serial"],
                csr=csr.parse(b64decode(asked["csr"])),
                signature=b64decode(asked["signature"]),
            )
        )
    except Refused as refused:
        return {"codes": [str(reason.code) for reason in refused.reasons]}
    except Fault as fault:
        return {"fault": str(fault)}
    return {"serial": granted.certificate.serial, "offset": granted.offset}


async def main(config: Path) -> None:
    async with open_local(load(config).config) as local:
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await renew(local, json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
