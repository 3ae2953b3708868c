"""Every certificate that was ever issued: found by search and filters, sorted, page by page (keyset)."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

import msgspec

from quicklime.errors import Code, Refused
from quicklime.projection.tabular import Tabular, Value
from quicklime.services.monitor import wire
from quicklime.services.monitor.queries import shapes
from quicklime.services.monitor.queries.moment import WINDOW, Moment, number

EXPIRING_SECONDS = 14 * 86_400
SEARCH_CHARACTERS_MIN = 3
HEX_CHARACTERS_MIN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for. ``after`` is a cursor that an earlier page gave."""

    search: str | None = None
    status: wire.Filter = "all"
    issuer: str | None = None
    profile: str | None = None
    key_type: str | None = None
    requester: str | None = None
    name: str | None = None
    expires_before: int | None = None
    expires_after: int | None = None
    sort: wire.Sort = "-issued"
    after: str | None = None
    limit: int = 50


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    sort: wire.Sort
    key: int | str
    offset: int


_SORTED: dict[str, tuple[str, str]] = {
    "-issued": ("c.offset", "DESC"),
    "issued": ("c.offset", "ASC"),
    "expires": ("c.not_after", "ASC"),
    "-expires": ("c.not_after", "DESC"),
    "name": ("c.label", "ASC"),
    "-name": ("c.label", "DESC"),
}
_SORT_INDEX = {
    "c.offset": "NOT INDEXED",
    "c.not_after": "INDEXED BY certificates_end",
    "c.label": "INDEXED BY certificates_label",
}
_FACETS = ("issuer", "profile", "key_type")


def page(index: Tabular, wanted: Wanted, moment: Moment) -> wire.CertificatePage:
    """One page. Raises Refused where search or cursor can't be."""
    cursor = _cursor(wanted)
    parameters: dict[str, Value] = moment.parameters()
    filters = _filters(wanted, moment, parameters)
    driver = _driver(index, wanted, moment, parameters)
    sort = wanted.sort
    if driver is None:
        return _walked(index, wanted, moment, parameters, filters, cursor)
    if driver.dense and sort != "-issued":
        sort, cursor = "-issued", cursor if cursor is not None and cursor.sort == "-issued" else None
    column, direction = _SORTED[sort]
    keyset = _keyset(sort, cursor, parameters)
    if driver.dense and cursor is not None:
        parameters["rowid_max"] = cursor.offset - 1
    source = driver.source
    # dense candidates come newest first, which is the order that is kept: no sorting, so a full page ends the look
    order = "" if driver.dense else f"ORDER BY {column} {direction}, c.offset {direction}"
    rows = index.select(
        f"SELECT {shapes.COLUMNS} FROM ({source}) AS found CROSS JOIN certificates AS c ON c.offset = found.place "  # noqa: S608
        f"WHERE {' AND '.join([*filters, keyset])} "
        f"{order} LIMIT :limit",
        parameters | {"limit": wanted.limit + 1, "window": WINDOW},
    )
    found = [shapes.certificate(row, moment) for row in rows[: wanted.limit]]
    following = _after(sort, found[-1], index) if len(rows) > wanted.limit else None
    whole = True
    if following is None and driver.dense:
        last = index.select(
            f"SELECT min(place), count(*) FROM ({source})",  # noqa: S608
            parameters | {"window": WINDOW},
        )[0]
        if number(last[1]) == WINDOW:
            following, whole = _encode(_Cursor("-issued", number(last[0]), number(last[0]))), False
    return wire.CertificatePage(
        certificates=found, next=following, sort=sort, is_whole=whole, as_of=moment.shown()
    )


def _walked(
    index: Tabular,
    wanted: Wanted,
    moment: Moment,
    parameters: dict[str, Value],
    filters: list[str],
    cursor: _Cursor | None,
) -> wire.CertificatePage:
    """In the order of the sort, at most WINDOW rows far."""
    column, direction = _SORTED[wanted.sort]
    walk = [_keyset(wanted.sort, cursor, parameters)]
    # what bounds the order itself bounds the walk
    if column == "c.offset" and not moment.live:
        walk.append("c.offset <= :o")
    if column == "c.not_after":
        walk.extend(one for one in filters if one.startswith("c.not_after"))
    order = f"ORDER BY {column} {direction}, c.offset {direction}"
    by_index = _SORT_INDEX[column]
    facet = next((one for one in _FACETS if getattr(wanted, one) is not None), None)
    if column == "c.offset" and facet is not None:
        # within one value its index is in the order of issuance
        by_index = f"INDEXED BY certificates_{facet}"
        walk.append(f"c.{facet} = :{facet}")
    walked = (
        f"SELECT c.* FROM certificates AS c {by_index} WHERE {' AND '.join(walk)} "  # noqa: S608
        f"{order} LIMIT :window"
    )
    # the walk is in order already; ordering it again would look at all of it before the first row comes
    rows = index.select(
        f"SELECT {shapes.COLUMNS} FROM ({walked}) AS c WHERE {' AND '.join(filters)} LIMIT :limit",  # noqa: S608
        parameters | {"limit": wanted.limit + 1, "window": WINDOW},
    )
    found = [shapes.certificate(row, moment) for row in rows[: wanted.limit]]
    following, whole = None, True
    if len(rows) > wanted.limit:
        following = _after(wanted.sort, found[-1], index)
    elif ends := index.select(
        f"SELECT {column}, c.offset FROM certificates AS c {by_index} "  # noqa: S608
        f"WHERE {' AND '.join(walk)} {order} LIMIT 1 OFFSET :skip",
        parameters | {"skip": WINDOW - 1},
    ):
        key, offset = ends[0]
        assert key is not None
        following, whole = _encode(_Cursor(wanted.sort, key, number(offset))), False
    return wire.CertificatePage(
        certificates=found, next=following, sort=wanted.sort, is_whole=whole, as_of=moment.shown()
    )


@dataclass(frozen=True, slots=True)
class _Driver:
    """Where candidates come from: a SELECT of ``place``. ``dense`` where it stops at WINDOW, newest first."""

    source: str
    dense: bool


def _driver(index: Tabular, wanted: Wanted, moment: Moment, parameters: dict[str, Value]) -> _Driver | None:
    """The index that leaves the fewest candidates, where one leaves few enough; None to walk in the order of the sort."""
    parameters["rowid_max"] = (1 << 62) if moment.live else moment.offset
    if wanted.search is not None:
        return _search(index, wanted.search, parameters)
    if wanted.name is not None:
        parameters["name"] = wanted.name
        source = (
            "SELECT offset AS place FROM names WHERE name = :name AND offset <= :rowid_max "
            "ORDER BY offset DESC LIMIT :window"
        )
        return _bounded(index, source, parameters)
    if wanted.requester is not None:
        source = (
            "SELECT offset AS place FROM certificates WHERE requester_id = :requester AND offset <= :rowid_max "
            "ORDER BY offset DESC LIMIT :window"
        )
        return _bounded(index, source, parameters)
    if wanted.status == "revoked":
        source = "SELECT offset AS place FROM certificates WHERE revoked_offset IS NOT NULL LIMIT :window"
        found = _bounded(index, source, parameters)
        return None if found.dense else found
    if wanted.status == "overdue":
        source = (
            "SELECT offset AS place FROM certificates WHERE revoked_offset IS NULL AND replaced_offset IS NULL "
            "AND not_after >= :t AND late_at < :t LIMIT :window"
        )
        return _bounded(index, source, parameters) if moment.live else None
    for facet in _FACETS:
        value = getattr(wanted, facet)
        if value is None:
            continue
        count = index.select(
            "SELECT n FROM facets WHERE kind = :kind AND value = :value", {"kind": facet, "value": value}
        )
        if not count or number(count[0][0]) <= WINDOW:
            return _Driver(
                f"SELECT offset AS place FROM certificates INDEXED BY certificates_{facet} "  # noqa: S608
                f"WHERE {facet} = :{facet} LIMIT :window",
                dense=False,
            )
    return None


def _bounded(index: Tabular, source: str, parameters: dict[str, Value]) -> _Driver:
    count = index.select(f"SELECT count(*) FROM ({source})", parameters | {"window": WINDOW})  # noqa: S608
    return _Driver(source, dense=number(count[0][0]) >= WINDOW)


def _search(index: Tabular, search: str, parameters: dict[str, Value]) -> _Driver:
    """Parts of names, nodes, requesters, profiles; and the beginnings of serials, fingerprints and key hashes."""
    bare = search.replace(":", "").lower()
    words = search.split()
    if not words or any(len(word) < SEARCH_CHARACTERS_MIN for word in words):
        raise Refused(
            Code.REQUEST_MALFORMED,
            f"search {search[:64]!r} has a word of less than {SEARCH_CHARACTERS_MIN} characters",
            field="q",
        )
    parameters["q"] = " ".join('"' + word.replace('"', '""') + '"' for word in words)
    matched = (
        "SELECT rowid AS place FROM search WHERE words MATCH :q AND rowid <= :rowid_max "
        "ORDER BY rowid DESC LIMIT :window"
    )
    if len(bare) >= HEX_CHARACTERS_MIN and set(bare) <= set("0123456789abcdef"):
        parameters["hex"], parameters["hex_end"] = bare, bare + "g"
        parts = [
            f"SELECT offset AS place FROM (SELECT offset FROM certificates WHERE {column} >= :hex "  # noqa: S608
            f"AND {column} < :hex_end AND offset <= :rowid_max LIMIT 1000)"
            for column in ("serial", "fingerprint", "spki_sha256")
        ]
        matched = " UNION ".join([f"SELECT place FROM ({matched})", *parts])  # noqa: S608
    return _bounded(index, matched, parameters)


def _filters(wanted: Wanted, moment: Moment, parameters: dict[str, Value]) -> list[str]:
    found = [moment.is_there]
    for facet in (*_FACETS, "requester"):
        value = getattr(wanted, facet)
        if value is not None:
            parameters[facet] = value
            column = "requester_id" if facet == "requester" else facet
            # the plus keeps the planner from an index that another order needs
            found.append(f"+c.{column} = :{facet}")
    if wanted.expires_before is not None:
        parameters["before"] = wanted.expires_before
        found.append("c.not_after < :before")
    if wanted.expires_after is not None:
        parameters["since"] = wanted.expires_after
        found.append("c.not_after >= :since")
    parameters["soon"] = moment.now + EXPIRING_SECONDS
    found.extend(
        {
            "all": [],
            "valid": ["c.not_after >= :t", moment.is_not_revoked],
            "current": ["c.not_after >= :t", moment.is_not_revoked, moment.is_not_replaced],
            "replaced": [moment.is_replaced],
            "expiring": [
                "c.not_after >= :t",
                "c.not_after < :soon",
                moment.is_not_revoked,
                moment.is_not_replaced,
            ],
            "expired": ["c.not_after < :t", moment.is_not_revoked],
            "revoked": [moment.is_revoked],
            "overdue": [
                "c.not_after >= :t",
                "c.late_at < :t",
                moment.is_not_revoked,
                moment.is_not_replaced,
            ],
        }[wanted.status]
    )
    return found


def _keyset(sort: wire.Sort, cursor: _Cursor | None, parameters: dict[str, Value]) -> str:
    if cursor is None:
        return "true"
    column, direction = _SORTED[sort]
    sign = ">" if direction == "ASC" else "<"
    parameters["key"], parameters["place"] = cursor.key, cursor.offset
    if column == "c.offset":
        return f"c.offset {sign} :place"
    return f"({column}, c.offset) {sign} (:key, :place)"


def _after(sort: wire.Sort, last: wire.CertificateRow, index: Tabular) -> str:
    column = _SORTED[sort][0]
    row = index.select(
        f"SELECT {column} FROM certificates AS c WHERE c.offset = :offset",  # noqa: S608
        {"offset": last.offset},
    )
    key = row[0][0]
    assert key is not None
    return _encode(_Cursor(sort, key, last.offset))


def _encode(cursor: _Cursor) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def _cursor(wanted: Wanted) -> _Cursor | None:
    if wanted.after is None:
        return None
    try:
        octets = urlsafe_b64decode(wanted.after + "=" * (-len(wanted.after) % 4))
        cursor = msgspec.msgpack.decode(octets, type=_Cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        cursor = None
    whole_number = cursor is not None and isinstance(cursor.key, int) == (not cursor.sort.endswith("name"))
    if cursor is None or not whole_number or (cursor.sort != wanted.sort and cursor.sort != "-issued"):
        raise Refused(
            Code.REQUEST_MALFORMED, "after is not a cursor that an earlier answer gave", field="after"
        )
    if isinstance(cursor.key, int) and max(abs(cursor.key), abs(cursor.offset)) >= 1 << 62:
        raise Refused(
            Code.REQUEST_MALFORMED, "after is not a cursor that an earlier answer gave", field="after"
        )
    return cursor


def facets(index: Tabular) -> wire.Facets:
    """The values that there are, the most frequent first."""
    found: dict[str, list[wire.FacetValue]] = {kind: [] for kind in _FACETS}
    for kind, value, n in index.select("SELECT kind, value, n FROM facets ORDER BY n DESC LIMIT 500", {}):
        if kind in found:
            found[str(kind)].append(wire.FacetValue(str(value), number(n)))
    return wire.Facets(**found)
