"""Query parameters, read one by one; every fault is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from starlette.requests import Request

from quicklime.errors import Code, Reasons
from quicklime.web.render import moment

TEXT_CHARACTERS_MAX = 300
Choice = TypeVar("Choice", bound=str)


class Query:
    """The query of one request. ``done`` raises Refused with every fault, unknown parameters among them."""

    def __init__(self, request: Request) -> None:
        self._given = request.query_params
        self._known: set[str] = set()
        self._reasons = Reasons()

    def text(self, name: str) -> str | None:
        """The text, None where it is missing or empty."""
        self._known.add(name)
        found = self._given.get(name)
        if found is not None and (len(found) > TEXT_CHARACTERS_MAX or "\0" in found):
            self._fault(name, f"{name} is not at most {TEXT_CHARACTERS_MAX} characters without NUL")
            return None
        return found or None

    def texts(self, name: str, count_max: int = 20) -> list[str]:
        """Every value of a parameter that may come several times."""
        self._known.add(name)
        found = [one for one in self._given.getlist(name) if one]
        if len(found) > count_max or any(len(one) > TEXT_CHARACTERS_MAX for one in found):
            self._fault(name, f"{name} is not at most {count_max} short values")
            return []
        return found

    def choice(self, name: str, choices: Sequence[Choice], default: Choice) -> Choice:
        self._known.add(name)
        found = self._given.get(name) or default
        for choice in choices:
            if choice == found:
                return choice
        self._fault(name, f"{name} {found[:32]!r} is not one of {tuple(choices)!r}")
        return default

    def number(self, name: str, default: int, *, least: int = 0, most: int = 1 << 53) -> int:
        found = self.number_or_none(name, least=least, most=most)
        return default if found is None else found

    def number_or_none(self, name: str, *, least: int = 0, most: int = 1 << 53) -> int | None:
        self._known.add(name)
        found = self._given.get(name)
        if not found:
            return None
        value = int(found) if found.isascii() and found.isdecimal() and len(found) < 17 else -1
        if not least <= value <= most:
            self._fault(name, f"{name} {found[:32]!r} is not {least} to {most}")
            return None
        return value

    def time(self, name: str) -> int | None:
        """UNIX seconds of an RFC 3339 time."""
        self._known.add(name)
        found = self._given.get(name)
        if not found:
            return None
        found_at: list[int] = []
        with self._reasons.catching(name):
            found_at.append(moment(found, name))
        return found_at[0] if found_at else None

    def done(self) -> None:
        for key in self._given:
            if key not in self._known:
                self._fault("query", f"query parameter {key[:64]!r} is not one of {sorted(self._known)!r}")
        self._reasons.raise_if_any()

    def _fault(self, field: str, detail: str) -> None:
        self._reasons.add(Code.REQUEST_MALFORMED, detail, field)
