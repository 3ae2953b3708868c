"""Histories by lot, over a log that fails: whatever happens, the log's promises hold (``reference.py`` has them).

A failure says its seed. To run that history alone::

    QUICKLIME_SIMULATION_SEED=123 make test ARGS=tests/simulation

For long runs: ``QUICKLIME_SIMULATION_SEEDS=1000`` histories by fresh lots, each of ``QUICKLIME_SIMULATION_STEPS=5000``.
"""

from __future__ import annotations

import os
import secrets

import pytest

from tests.simulation.world import run

FIXED = range(1, 11)
STEPS = int(os.environ.get("QUICKLIME_SIMULATION_STEPS", "800"))
ALONE = os.environ.get("QUICKLIME_SIMULATION_SEED")
FRESH = int(os.environ.get("QUICKLIME_SIMULATION_SEEDS", "6"))

# What a run of many histories must have met, or the simulation has become blind.
MET = (
    "append fail",
    "append late",
    "append unknown",
    "appended fail",
    "sign fail",
    "death",
    "late",
    "start kept",
    "start lost",
    "start shared",
    "issue done",
    "issue AppendUnknown",
    "issue refused idempotency-conflict",
    "issue refused token-exhausted",
    "renew done",
    "renew refused already-renewed",
    "renew refused renewal-in-progress",
    "renew refused certificate-revoked",
    "renew refused names-widened",
    "revoke done",
    "revoke refused revocation-proof-invalid",
    "token revoke done",
    "crl done",
    "rotate done",
)


@pytest.mark.skipif(ALONE is not None, reason="one history was asked for")
def test_whatever_fails_the_promises_of_the_log_hold_and_everything_was_met() -> None:
    counts = sum((run(seed, STEPS).counts for seed in FIXED), start=run(0, STEPS).counts)
    assert not [what for what in MET if not counts[what]], counts


def test_histories_that_nobody_has_seen_yet_hold_too() -> None:
    # drawn here and not as parameters, which several workers would have to agree on
    for seed in [int(ALONE)] if ALONE is not None else [secrets.randbits(48) for _ in range(FRESH)]:
        run(seed, STEPS)


@pytest.mark.skipif(ALONE is not None, reason="one history was asked for")
def test_one_seed_is_one_history() -> None:
    assert run(7, 300).story == run(7, 300).story
