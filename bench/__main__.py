"""`python -m bench [NAME ...]`: run the measurements and print a table each.

`--rounds`, `--certificates` say how much; `--write` puts what was printed, with pictures, into docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import TextIO

from bench import (
    acme,
    crl,
    dashboard,
    issuance,
    kafka,
    log_append,
    ocsp,
    plot,
    replay,
    revoke,
    scale,
    workers,
)

BENCHES = {
    "issuance": issuance.run,
    "workers": workers.run,
    "acme": acme.run,
    "ocsp": ocsp.run,
    "crl": crl.run,
    "revoke": revoke.run,
    "log": log_append.run,
    "kafka": kafka.run,
    "replay": replay.run,
    "scale": scale.run,
    "dashboard": dashboard.run,
}
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHES)}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median is told")
    parser.add_argument("--certificates", type=int, default=1500, help="certificates per round")
    parser.add_argument("--write", action="store_true", help="write what is found into docs/performance.md")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench {unknown[0]!r}, expected some of {', '.join(BENCHES)}")
    if options.write:
        plot.FOLDER = PAGE.parent / "images"
    for name in options.names or BENCHES:
        print(f"## {name}\n")
        said = io.StringIO()
        with contextlib.redirect_stdout(_Both(sys.stdout, said)):
            BENCHES[name](options.rounds, options.certificates)
        print()
        if options.write:
            _write(name, said.getvalue())


class _Both(io.TextIOBase):
    """What is printed, on the terminal and kept."""

    def __init__(self, terminal: TextIO, kept: io.StringIO) -> None:
        self._terminal = terminal
        self._kept = kept

    def write(self, text: str) -> int:
        self._kept.write(text)
        return self._terminal.write(text)

    def flush(self) -> None:
        self._terminal.flush()


def _write(name: str, said: str) -> None:
    """Put ``said`` where the page keeps the figures of ``name``, with the day, the machine and the command."""
    page = PAGE.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- bench {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not place.search(page):
        raise SystemExit(f"{PAGE} has no place for {name!r}: <!-- bench {name} --> ... <!-- end -->")
    command = " ".join(["make bench ARGS='", *sys.argv[1:]]).replace("' ", "'") + "'"
    head = (
        f"`{command}`, {time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores of {_processor()}, "
    )
    head += f"Python {platform.python_version()}\n\n"
    PAGE.write_text(place.sub(lambda found: f"{found[1]}{head}{said}\n{found[2]}", page), encoding="utf-8")


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
