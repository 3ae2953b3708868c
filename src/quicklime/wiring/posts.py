"""Which processes a server is made of, and what each of them does.

Without workers of their own, one process does everything. Otherwise: one for the upkeep, which holds the issuing keys and works
in the background; those that serve the API, which hold the issuing keys too; those that serve status, which hold none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quicklime.config import WorkerSettings

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


class Part(StrEnum):
    """A kind of work. Exactly one process does the upkeep."""

    UPKEEP = "upkeep"
    API = "api"
    STATUS = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What one process does. ``number`` counts from 1 among those of its kind; whoever replaces it takes its post."""

    parts: tuple[Part, ...]
    number: int = 1

    @property
    def name(self) -> str:
        """``api 2``; no worker of the same server has the same."""
        return f"{'+'.join(self.parts)} {self.number}"

    @property
    def holds_issuing_keys(self) -> bool:
        return self.parts != (Part.STATUS,)


ALONE = Post(parts=(Part.UPKEEP, Part.API, Part.STATUS))


def posts_of(workers: WorkerSettings, cores: int | None = None) -> Sequence[Post]:
    """The processes that the settings ask for on a machine with ``cores``; the one for the upkeep first."""
    found = available_cores() if cores is None else cores
    api = found if workers.api == "auto" else workers.api
    status = int(found > 1) if workers.status == "auto" else workers.status
    if api == 1 and status == 0:
        return (ALONE,)
    serving = (Part.API,) if status else (Part.API, Part.STATUS)
    return (
        Post(parts=(Part.UPKEEP,)),
        *(Post(parts=serving, number=number) for number in range(1, api + 1)),
        *(Post(parts=(Part.STATUS,), number=number) for number in range(1, status + 1)),
    )


def available_cores() -> int:
    """The cores that this process may use: those it is bound to, or fewer where a container's quota says so."""
    bound = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_MAX.read_text(encoding="ascii").split()
        return min(bound, max(1, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        return bound  # no control group, or 'max': no quota
