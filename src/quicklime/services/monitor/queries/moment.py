"""Now, or as of an earlier offset or moment: which records an answer may know of."""

from __future__ import annotations

from dataclasses import dataclass

from quicklime.errors import Code, Refused
from quicklime.projection.tabular import Tabular, Value
from quicklime.services.monitor import wire
from quicklime.web.render import moment, timestamp

WINDOW = 5_000


@dataclass(frozen=True, slots=True)
class Moment:
    """``offset`` is the last record that counts, ``now`` the moment by which validity is judged (UNIX seconds)."""

    offset: int
    now: int
    live: bool
    behind: int = 0

    def shown(self) -> wire.AsOf:
        return wire.AsOf(self.offset, timestamp(self.now), self.live, self.behind)

    def parameters(self) -> dict[str, Value]:
        return {"o": self.offset, "t": self.now}

    # conditions over the alias ``c`` of ``certificates``; live ones are written so that partial indexes answer them

    @property
    def is_there(self) -> str:
        return "true" if self.live else "c.offset <= :o"

    @property
    def is_revoked(self) -> str:
        return "c.revoked_offset IS NOT NULL" if self.live else "ifnull(c.revoked_offset, :o + 1) <= :o"

    @property
    def is_not_revoked(self) -> str:
        return "c.revoked_offset IS NULL" if self.live else "ifnull(c.revoked_offset, :o + 1) > :o"

    @property
    def is_replaced(self) -> str:
        return "c.replaced_offset IS NOT NULL" if self.live else "ifnull(c.replaced_offset, :o + 1) <= :o"

    @property
    def is_not_replaced(self) -> str:
        return "c.replaced_offset IS NULL" if self.live else "ifnull(c.replaced_offset, :o + 1) > :o"


def head(index: Tabular) -> int:
    """The offset of the last record that the view has seen; -1 where it has seen none."""
    found = index.select("SELECT ifnull(max(offset), -1) FROM records", {})[0][0]
    return number(found)


def moment_of(index: Tabular, text: str | None, now: int, log_head: int) -> Moment:
    """Of the parameter ``as_of``: an offset, an RFC 3339 time, or None for now. Raises Refused (``request-malformed``).

    An offset is judged by the time of its record; a time by the last record that had happened then.
    """
    last = head(index)
    if text is None:
        return Moment(last, now, live=True, behind=max(0, log_head - last - 1))
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        offset = int(text)
        row = index.select("SELECT time FROM records WHERE offset = :o", {"o": offset})
        if not row:
            raise Refused(Code.REQUEST_MALFORMED, f"the view has no record {offset}", field="as_of")
        return Moment(offset, number(row[0][0]), live=False)
    at = moment(text, "as_of")
    # several writers may record within the same seconds in another order: what counts is the last that had happened
    rows = index.select(
        "SELECT offset FROM records WHERE time <= :at ORDER BY time DESC, offset DESC LIMIT 1", {"at": at}
    )
    return Moment(number(rows[0][0]) if rows else -1, at, live=False)


def number(value: Value) -> int:
    """An INTEGER column that is never null."""
    assert isinstance(value, int)
    return value


def text(value: Value) -> str:
    """A TEXT column that is never null."""
    assert isinstance(value, str)
    return value
