"""Look at a data directory as an experienced operator would, without changing anything; each finding says how to mend it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from quicklime.codec import Undecodable
from quicklime.errors import BrokenState, Fault
from quicklime.pki.certificate import IssuerFacts
from quicklime.pki.shards import Scope
from quicklime.projection import State, open_plans
from quicklime.services.crl import view as crl_view
from quicklime.wiring import settings
from quicklime.wiring.directory import DataDirectory
from quicklime.wiring.local import clock, opened
from quicklime.wiring.signers import load_signers

if TYPE_CHECKING:
    from quicklime.config import Config
    from quicklime.lifecycle.issuer import Authority
    from quicklime.projection import Projector, Store
    from quicklime.wiring.backends import CheckedLog

DAY_SECONDS = 86_400
ISSUER_DAYS_WARNING = 60
FREE_OCTETS_WARNING = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["ok", "warning", "error"]
    what: str
    hint: str = ""


def doctor(config: Config) -> list[Finding]:
    """Everything that was looked at, good and bad."""
    found: list[Finding] = []
    try:
        settings.check(config)
        found.append(Finding("ok", "the settings make sense"))
    except Fault as fault:
        found.append(Finding("error", str(fault), "quicklime config check"))
    directory = DataDirectory(config.data_dir)
    try:
        if not directory.is_initialised():
            return [*found, Finding("error", f"no authority in {directory.path}", "quicklime init")]
        found.append(Finding("ok", f"{directory.path} is a data directory of this version"))
        found += _root_key(directory)
        found += _space(directory)
        with opened(config) as (_, log, store, projector):
            found += _log(log, projector)
            found += _authority(config, directory, State(store.get), store)
            found += _plans(store, State(store.get), served=directory.is_served())
    except (BrokenState, Undecodable) as fault:
        hint = fault.hint if isinstance(fault, BrokenState) else "quicklime log verify"
        found.append(Finding("error", str(fault), hint))
    except Fault as fault:
        found.append(Finding("error", str(fault)))
    return found


def _root_key(directory: DataDirectory) -> Iterator[Finding]:
    if (directory.offline / "root-key.pem").exists():
        yield Finding(
            "warning",
            f"the root's key is still on this machine, in {directory.offline}",
            "copy the folder to two offline media, look that both can be read, then delete it here",
        )
    else:
        yield Finding("ok", "the root's key is not on this machine")


def _space(directory: DataDirectory) -> Iterator[Finding]:
    free = shutil.disk_usage(directory.path).free
    if free < FREE_OCTETS_WARNING:
        yield Finding(
            "warning",
            f"{free >> 20} MiB are left on the disk of the log",
            "make room: a full disk stops issuance",
        )
    else:
        yield Finding("ok", f"{free >> 30} GiB are left on the disk of the log")


def _log(log: CheckedLog, projector: Projector) -> Iterator[Finding]:
    log.check()
    head, seen = log.head(), projector.checkpoint()
    if seen > head:
        # only here it shows: a log that lost its end is a good log of fewer records
        yield Finding(
            "error",
            f"the log ends at record {head}, but the views had seen {seen}: its end was cut off, or it is an older backup",
            "find the newer log; where there is none, docs/trust.md says what was lost",
        )
    else:
        yield Finding("ok", f"the log is whole: {head} records")
    projector.catch_up()
    yield Finding("ok", f"the views are at record {projector.checkpoint()}: {', '.join(projector.tables)}")


def _authority(config: Config, directory: DataDirectory, state: State, store: Store) -> Iterator[Finding]:
    authority = state.authority()
    if authority is None:
        yield Finding(
            "error",
            "the log holds no founding",
            f"rm -r {directory.path} and quicklime init, if nothing was issued",
        )
        return
    keys = load_signers(directory, config)
    active = authority.active
    if active is None:
        yield Finding("error", "no issuer is active", "quicklime issuer rotate")
        return
    if active.issuer not in keys:
        yield Finding(
            "error",
            f"the key of the active issuer {active.issuer} is not here",
            "bring it back, or quicklime issuer rotate",
        )
    elif keys[active.issuer].public_key != IssuerFacts.of(active.certificate).spki:
        yield Finding(
            "error",
            f"the key for issuer {active.issuer} is another one",
            "bring the right one back from the backup",
        )
    else:
        yield Finding("ok", f"the key of the active issuer {active.issuer} is here and fits")
    for issuer in authority.intermediates:
        if issuer.status == "retired" and issuer.issuer not in keys:
            yield Finding(
                "warning",
                f"the key of the retired issuer {issuer.issuer} is not here: from the next start on no CRL and no OCSP of it",
                "bring it back from the backup",
            )
    yield from _ends(authority)
    yield from _lists(authority, store)


def _ends(authority: Authority) -> Iterator[Finding]:
    for issuer in authority.issuers:
        days = (IssuerFacts.of(issuer.certificate).not_after - clock()) // DAY_SECONDS
        if issuer.status == "retired":
            continue
        if days < ISSUER_DAYS_WARNING:
            yield Finding(
                "warning", f"{issuer.role} {issuer.issuer} ends in {days} days", "quicklime issuer rotate"
            )
        else:
            yield Finding("ok", f"{issuer.role} {issuer.issuer} ends in {days} days")


def _lists(authority: Authority, store: Store) -> Iterator[Finding]:
    for issuer in authority.intermediates:
        missing, lefts = 0, []
        for shards in sorted({1, *(shards for _, shards in issuer.crl_points)}):
            for shard in range(shards):
                scope = Scope(issuer=issuer.issuer, shards=shards, shard=shard)
                data = store.get(crl_view.NAME, crl_view.published_key(scope))
                if data is None:
                    missing += 1
                else:
                    lefts.append(crl_view.decode_published(data).next_update - clock())
        if missing:
            what = "has published no CRL yet" if not lefts else f"lacks {missing} of its CRLs"
            yield Finding("warning", f"issuer {issuer.issuer} {what}", "quicklime serve publishes them")
        if lefts and min(lefts) < 0:
            over = f"a CRL of issuer {issuer.issuer} is over since {-min(lefts)} s"
            yield Finding("warning", over, "quicklime serve")
        elif lefts:
            good = f"the CRLs of issuer {issuer.issuer} are good for {min(lefts) // 3600} hours"
            yield Finding("ok", good)


def _plans(store: Store, state: State, *, served: bool) -> Iterator[Finding]:
    """A plan that is open belongs to a request under way, as long as somebody serves and its deadline has not passed."""
    orphans = []
    for serial in open_plans(store):
        plan = state.certificate(serial)
        if plan is not None and (not served or plan.deadline <= clock()):
            orphans.append(plan)
    for plan in orphans:
        yield Finding(
            "warning",
            f"orphan plan at offset {plan.plan_offset}: {plan.serial} for {', '.join(plan.names) or 'the authority itself'}; "
            "nothing was handed out for it",
            "the next start of quicklime serve gives it up",
        )
    if not orphans:
        yield Finding("ok", "no orphan plans")
