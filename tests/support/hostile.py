"""The corpus of hostile requests, expanded from its file."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).resolve().parents[2] / "vectors" / "hostile" / "csr.json"


@dataclass(frozen=True, slots=True)
class Case:
    """``data`` as it would arrive; ``codes`` of the refusal that it must meet, in their order."""

    name: str
    data: bytes
    codes: tuple[str, ...]


@cache
def load_cases() -> tuple[Case, ...]:
    cases = json.loads(CORPUS.read_text(encoding="utf-8"))
    return tuple(Case(case["name"], _data(case), tuple(case["codes"])) for case in cases)


def _data(case: dict[str, Any]) -> bytes:
    if "nested" in case:
        return nested(int(case["nested"]))
    if "repeat" in case:
        return b"".join(b64decode(octets) * int(times) for octets, times in case["repeat"])
    return b64decode(str(case["data"]))


def nested(depth: int) -> bytes:
    """``depth`` sequences, each inside the other, in DER. From inside out, so that no length is counted twice."""
    headers = []
    size = 0
    for _ in range(depth):
        if size < 0x80:
            header = bytes((0x30, size))
        else:
            octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
            header = bytes((0x30, 0x80 | len(octets))) + octets
        headers.append(header)
        size += len(header)
    return b"".join(reversed(headers))
