"""The log itself, as the view knows it: what happened, newest first, and the life of one certificate."""

from __future__ import annotations

from quicklime.projection.tabular import Tabular, Value
from quicklime.services.monitor import wire
from quicklime.services.monitor.queries import shapes
from quicklime.services.monitor.queries.moment import Moment, head

EVENTS_PER_CERTIFICATE_MAX = 500


def page(
    index: Tabular, moment: Moment, *, types: list[str], subject: str | None, before: int | None, limit: int
) -> wire.RecordPage:
    """Records of these types (any where none is named) about ``subject``, from just before ``before`` downwards."""
    parameters: dict[str, Value] = {
        "last": moment.offset if before is None else min(moment.offset, before - 1),
        "limit": limit + 1,
        "subject": subject,
    } | {f"type{place}": one for place, one in enumerate(types)}
    condition = "offset <= :last" + ("" if subject is None else " AND subject = :subject")
    # one run down the index for each type: what is rare is found as fast as what is frequent
    places = [f" AND type = :type{place}" for place in range(len(types))] or [""]
    parts = [
        f"SELECT * FROM (SELECT {shapes.RECORD_COLUMNS} FROM records WHERE {condition}{place} "  # noqa: S608
        "ORDER BY offset DESC LIMIT :limit)"
        for place in places
    ]
    rows = index.select(f"{' UNION ALL '.join(parts)} ORDER BY offset DESC LIMIT :limit", parameters)
    found = [shapes.record(row) for row in rows[:limit]]
    return wire.RecordPage(
        records=found, next=found[-1].offset if len(rows) > limit else None, head=head(index) + 1
    )


def one(index: Tabular, offset: int) -> wire.RecordRow | None:
    """The record at ``offset``."""
    rows = index.select(
        f"SELECT {shapes.RECORD_COLUMNS} FROM records WHERE offset = :offset",  # noqa: S608
        {"offset": offset},
    )
    return shapes.record(rows[0]) if rows else None


def since(index: Tabular, offset: int, limit: int) -> list[wire.RecordRow]:
    """The records after ``offset``, in order."""
    rows = index.select(
        f"SELECT {shapes.RECORD_COLUMNS} FROM records WHERE offset > :offset ORDER BY offset LIMIT :limit",  # noqa: S608
        {"offset": offset, "limit": limit},
    )
    return [shapes.record(row) for row in rows]


def about(index: Tabular, serial: str, moment: Moment) -> tuple[list[wire.RecordRow], list[wire.RefusalRow]]:
    """Every record about one certificate, in order, and the requests about it that were refused."""
    parameters: dict[str, Value] = {
        "serial": serial,
        "o": moment.offset,
        "limit": EVENTS_PER_CERTIFICATE_MAX,
    }
    records = index.select(
        f"SELECT {shapes.RECORD_COLUMNS} FROM records WHERE subject = :serial AND offset <= :o "  # noqa: S608
        "ORDER BY offset LIMIT :limit",
        parameters,
    )
    refusals = index.select(
        f"SELECT {shapes.REFUSAL_COLUMNS} FROM refusals AS r WHERE r.serial = :serial AND r.offset <= :o "  # noqa: S608
        "ORDER BY r.offset LIMIT :limit",
        parameters,
    )
    return [shapes.record(row) for row in records], [shapes.refusal(row) for row in refusals]
