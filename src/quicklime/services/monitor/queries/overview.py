"""What needs a person first, and what happened lately."""

from __future__ import annotations

from collections.abc import Iterator

from quicklime.projection.tabular import Tabular
from quicklime.services.monitor import wire
from quicklime.services.monitor.queries import shapes
from quicklime.services.monitor.queries.inventory import EXPIRING_SECONDS
from quicklime.services.monitor.queries.lineages import ALREADY_RENEWED
from quicklime.services.monitor.queries.moment import WINDOW, Moment, number
from quicklime.web.render import timestamp

COUNTED_MAX = 1000
ATTENTION_EACH_MAX = 50
LATELY_SECONDS = 30 * 86_400
ENDED_SECONDS = 7 * 86_400
REFUSALS_SEEN_MAX = 2000
DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
SERIES_PERIODS = {"hour": (HOUR_SECONDS, 72), "day": (DAY_SECONDS, 90), "week": (7 * DAY_SECONDS, 53)}


# the node got another certificate without replacing this one: nothing is missing. Where nodes have no names, that can be
# said of what has ended, but not of what is late, which may be the certificate of another
_ELSEWHERE = (
    "EXISTS (SELECT 1 FROM certificates AS n WHERE n.label = c.label AND n.node IS c.node AND n.offset > c.offset "
    "AND n.offset <= :o AND n.not_after >= :t AND ifnull(n.revoked_offset, :o + 1) > :o)"
)
_IS_LATE = f"c.not_after >= :t AND c.late_at < :t AND (c.node IS NULL OR NOT {_ELSEWHERE})"
_HAS_ENDED = f"c.not_after < :t AND c.not_after >= :lately AND NOT {_ELSEWHERE}"


def counts(index: Tabular, moment: Moment) -> wire.Counts:
    """How many of what. Now from counters that the store keeps; as of an earlier moment by looking at every row."""
    if moment.live:
        certificates, valid, revoked = _counted_now(index, moment)
    else:
        certificates, valid, revoked = _counted_then(index, moment)
    current = f"{moment.is_there} AND {moment.is_not_revoked} AND {moment.is_not_replaced}"
    since = moment.now - DAY_SECONDS
    lately = index.select(
        "SELECT (SELECT count(*) FROM refusals WHERE time > :since AND time <= :t AND offset <= :o), "
        "(SELECT count(*) FROM records WHERE type = 'quicklime.certificate.issued.v1' AND time > :since AND offset <= :o "
        "AND offset > ifnull((SELECT max(offset) FROM records WHERE time <= :since), -1))",
        moment.parameters() | {"since": since},
    )[0]
    return wire.Counts(
        certificates=certificates,
        valid=valid,
        expired=certificates - valid - revoked,
        revoked=revoked,
        overdue=_capped(index, moment, f"{current} AND {_IS_LATE}"),
        expiring=_capped(index, moment, f"{current} AND c.not_after >= :t AND c.not_after < :soon"),
        ended=_capped(index, moment, f"{current} AND {_HAS_ENDED}"),
        refused_last_day=number(lately[0]),
        issued_last_day=number(lately[1]),
        expiring_seconds=EXPIRING_SECONDS,
        counted_max=COUNTED_MAX,
    )


def _counted_now(index: Tabular, moment: Moment) -> tuple[int, int, int]:
    """(all, valid, revoked). Whole hours from the counters, the hour that is under way from its rows."""
    hour = moment.now // HOUR_SECONDS
    row = index.select(
        "SELECT (SELECT ifnull(sum(n), 0) FROM series WHERE kind IN ('issued', 'renewed')), "
        "(SELECT ifnull(sum(n), 0) FROM series WHERE kind = 'ends' AND hour > :hour) + "
        "(SELECT count(*) FROM certificates WHERE not_after >= :t AND not_after < :next AND revoked_offset IS NULL), "
        "(SELECT ifnull(sum(n), 0) FROM series WHERE kind = 'revoked')",
        {"hour": hour, "t": moment.now, "next": (hour + 1) * HOUR_SECONDS},
    )[0]
    return number(row[0]), number(row[1]), number(row[2])


def _counted_then(index: Tabular, moment: Moment) -> tuple[int, int, int]:
    """(all, valid, revoked), by indexes alone: every row is counted, none is read."""
    row = index.select(
        "SELECT count(*), count(*) FILTER (WHERE not_after >= :t) FROM certificates INDEXED BY certificates_end "
        "WHERE offset <= :o",
        moment.parameters(),
    )[0]
    revoked = index.select(
        "SELECT count(*), count(*) FILTER (WHERE not_after >= :t) FROM certificates INDEXED BY certificates_revoked "
        "WHERE revoked_offset <= :o",
        moment.parameters(),
    )[0]
    return number(row[0]), number(row[1]) - number(revoked[1]), number(revoked[0])


def _near(moment: Moment) -> str:
    """What may be late, ending or lately ended: by an index now; then, the WINDOW rows that end next after ``:lately``."""
    if moment.live:
        return "certificates"
    return (
        "(SELECT * FROM certificates INDEXED BY certificates_end WHERE not_after >= :lately AND offset <= :o "  # noqa: S608
        f"ORDER BY not_after LIMIT {WINDOW})"
    )


def _capped(index: Tabular, moment: Moment, condition: str) -> int:
    found = index.select(
        f"SELECT count(*) FROM (SELECT 1 FROM {_near(moment)} AS c WHERE {condition} LIMIT :max)",  # noqa: S608
        moment.parameters()
        | {
            "max": COUNTED_MAX,
            "soon": moment.now + EXPIRING_SECONDS,
            "lately": moment.now - ENDED_SECONDS,
        },
    )
    return number(found[0][0])


def attention(index: Tabular, moment: Moment) -> list[wire.Attention]:
    """Lineages that a person should look at, the worst first; each certificate once."""
    found: dict[str, wire.Attention] = {}
    for one in _attention(index, moment):
        found.setdefault(one.certificate.serial, one)
    return list(found.values())


def _attention(index: Tabular, moment: Moment) -> Iterator[wire.Attention]:
    refusals = _last_refusals(index, moment)
    current = f"{moment.is_there} AND {moment.is_not_revoked} AND {moment.is_not_replaced}"
    for serial, (refusal, contested) in refusals.items():
        rows = _certificates(index, moment, "c.serial = :serial", serial)
        for certificate in rows:
            if contested and certificate.replaced_by is not None:
                yield wire.Attention(kind="contested", certificate=certificate, refusal=refusal)
            elif certificate.status == "valid" and certificate.replaced_by is None:
                yield wire.Attention(kind="failing", certificate=certificate, refusal=refusal)
    for certificate in _certificates(index, moment, f"{current} AND {_HAS_ENDED} ORDER BY c.not_after DESC"):
        found = refusals.get(certificate.serial)
        yield wire.Attention(kind="expired", certificate=certificate, refusal=found and found[0])
    for certificate in _certificates(index, moment, f"{current} AND {_IS_LATE} ORDER BY c.not_after"):
        yield wire.Attention(kind="overdue", certificate=certificate, refusal=None)


def _certificates(
    index: Tabular, moment: Moment, condition: str, serial: str | None = None
) -> list[wire.CertificateRow]:
    rows = index.select(
        f"SELECT {shapes.COLUMNS} FROM {'certificates' if serial else _near(moment)} AS c "  # noqa: S608
        f"WHERE {moment.is_there} AND {condition} LIMIT :max",
        moment.parameters()
        | {"serial": serial, "max": ATTENTION_EACH_MAX, "lately": moment.now - ENDED_SECONDS},
    )
    return [shapes.certificate(row, moment) for row in rows]


def _last_refusals(index: Tabular, moment: Moment) -> dict[str, tuple[wire.RefusalRow, bool]]:
    """By serial: the last refused renewal of it lately, and whether any said that it was renewed already."""
    rows = index.select(
        f"SELECT {shapes.REFUSAL_COLUMNS} FROM refusals AS r WHERE r.time > :since AND r.time <= :t "  # noqa: S608
        "AND r.offset <= :o AND r.operation = 'renew' AND r.serial IS NOT NULL ORDER BY r.time DESC LIMIT :max",
        moment.parameters() | {"since": moment.now - LATELY_SECONDS, "max": REFUSALS_SEEN_MAX},
    )
    found: dict[str, tuple[wire.RefusalRow, bool]] = {}
    for row in rows:
        refusal = shapes.refusal(row)
        serial = refusal.serial or ""
        last, contested = found.get(serial, (refusal, False))
        if len(found) < 2 * ATTENTION_EACH_MAX or serial in found:
            found[serial] = last, contested or ALREADY_RENEWED in refusal.codes
    return found


def series(index: Tabular, moment: Moment, period: str) -> tuple[int, list[wire.SeriesPoint]]:
    """(seconds of a period, what happened in each of the last ones up to the moment)."""
    seconds, points = SERIES_PERIODS[period]
    last = moment.now // seconds
    first = last - points + 1
    rows = index.select(
        "SELECT kind, hour * 3600 / :seconds AS period, sum(n) FROM series "
        "WHERE kind IN ('issued', 'renewed', 'revoked', 'refused') AND hour >= :begin AND hour < :end GROUP BY 1, 2",
        {
            "seconds": seconds,
            "begin": first * seconds // HOUR_SECONDS,
            "end": min((last + 1) * seconds // HOUR_SECONDS, moment.now // HOUR_SECONDS + 1),
        },
    )
    by_place = {(str(kind), number(place)): number(n) for kind, place, n in rows}
    return seconds, [
        wire.SeriesPoint(
            time=timestamp(place * seconds),
            issued=by_place.get(("issued", place), 0),
            renewed=by_place.get(("renewed", place), 0),
            revoked=by_place.get(("revoked", place), 0),
            refused=by_place.get(("refused", place), 0),
        )
        for place in range(first, last + 1)
    ]
