"""Follow the log, fold it, write views; the checkpoint is stored together with the data.

Invariant: a table holds exactly what the records before its checkpoint make of it, because puts and checkpoint are one
atomic write. However often the process dies, each event counts once. A crash here loses nothing: the log has it all.

Live and replay are the same code: ``Projector.advance``.
"""

from quicklime.projection.follower import Follower
from quicklime.projection.projector import (
    META,
    Applied,
    Checkpoint,
    Projector,
    View,
    checkpoint_in,
    layout_of,
)
from quicklime.projection.snapshot import Snapshot, why_unfit
from quicklime.projection.state import LIFECYCLE, Folding, State, acme_accounts, acme_keys, open_plans, tokens
from quicklime.projection.store import Batch, Store, StoreUnavailable, digest, pairs

__all__ = [
    "LIFECYCLE",
    "META",
    "Applied",
    "Batch",
    "Checkpoint",
    "Folding",
    "Follower",
    "Projector",
    "Snapshot",
    "State",
    "Store",
    "StoreUnavailable",
    "View",
    "acme_accounts",
    "acme_keys",
    "checkpoint_in",
    "digest",
    "layout_of",
    "open_plans",
    "pairs",
    "tokens",
    "why_unfit",
]
