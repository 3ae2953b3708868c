"""A store whose rows can be asked questions: what a view with lists, filters and searches needs besides the key-value port.

To the projector such a store is a ``Store`` like any other. Some of its tables are *tabular*: their keys are offsets of the
log (8 octets, big-endian), their values rows (``encode_row``), and the adapter keeps them where SQL can reach them, with the
indexes, counters and search that ``Layout.schema`` declares beside them. All of it is made of the log, in the same atomic
write as the checkpoint, so all of it may be thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from quicklime.errors import Fault

Value = str | int | None
Parameters = Mapping[str, Value]

OFFSET_OCTETS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A tabular table: its name, and the columns of its rows after ``offset``, in the order of ``encode_row``."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The tables, and the SQL that makes them with everything that hangs on them.

    ``derived`` are statements that empty what triggers keep; they run when a tabular table is cleared.
    """

    tables: tuple[Table, ...]
    schema: str
    derived: tuple[str, ...]


class ViewUnreadable(Fault):
    """The view can't be asked now: it is being made of the log, or its file is away."""


class Tabular(Protocol):
    """What can be asked. Each ``select`` sees one consistent state."""

    def select(self, statement: str, parameters: Parameters) -> list[tuple[Value, ...]]:
        """The rows of one SELECT with named parameters. Raises ViewUnreadable."""
        ...


encode_row = msgspec.msgpack.Encoder().encode
"""A row: its values in the order of the table's columns. None keeps what stands there already."""


def offset_key(offset: int) -> bytes:
    """The key of a row."""
    return offset.to_bytes(OFFSET_OCTETS, "big")


def offset_of(key: bytes) -> int:
    """The offset in a row's key."""
    return int.from_bytes(key, "big")


def row_of(value: bytes) -> Sequence[Value]:
    """The values of a row, by the order of the table's columns."""
    return _decode(value)


_decode = msgspec.msgpack.Decoder(list[str | int | None]).decode
