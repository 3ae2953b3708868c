"""`python -m bench [NAME ...]`: run the measurements and print a table each; `--rounds`, `--certificates`."""

from __future__ import annotations

import argparse

from bench import issuance, log_append, replay

BENCHES = {"issuance": issuance.run, "log": log_append.run, "replay": replay.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHES)}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median is told")
    parser.add_argument("--certificates", type=int, default=1500, help="certificates per round")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench {unknown[0]!r}, expected some of {', '.join(BENCHES)}")
    for name in options.names or BENCHES:
        print(f"## {name}\n")
        BENCHES[name](options.rounds, options.certificates)
        print()


if __name__ == "__main__":
    main()
