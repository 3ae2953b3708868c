"""What the command line prints, and with which exit code it ends.

Results go to standard output, as text for people or as one JSON document (``--output json``). Everything else (errors, hints,
progress) goes to standard error. Text that came from elsewhere is escaped: a name can't steer the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from quicklime.codec import Undecodable
from quicklime.config import Config, ConfigurationFault, Loaded, load
from quicklime.errors import BrokenState, Code, Fault, Refused


class Exit(IntEnum):
    """Exit codes, each with its sentence in ``EXIT_SENTENCES``."""

    OK = 0
    FAULT = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    BROKEN = 5
    FOUND = 6


EXIT_SENTENCES = {
    Exit.OK: "It was done.",
    Exit.FAULT: "Something of ours failed; the message says what.",
    Exit.USAGE: "The command line or the configuration can't be used.",
    Exit.REFUSED: "The authority refused the request; every reason is printed.",
    Exit.UNREACHABLE: "The authority could not be reached, or its certificate could not be verified.",
    Exit.BROKEN: "The data directory, a file or a port is not as it must be; the hint says how to mend it.",
    Exit.FOUND: "A check (`doctor`, `log verify`, `status`) found something that needs a person.",
}


class Unreachable(Exception):
    """The authority could not be asked; ``hint`` says what to look at."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Usage(Exception):
    """The command line can't be used as it is."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Found(Exception):
    """A check has found something; its result was printed already."""


@dataclass
class Context:
    """The global options of one run. ``settings`` reads the configuration when a command first asks for it."""

    output: Literal["text", "json"] = "text"
    config_file: Path | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    _loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded:
        if self._loaded is None:
            self._loaded = load(self.config_file, self.flags)
        return self._loaded

    @property
    def config(self) -> Config:
        return self.loaded.config

    # --- results ----------------------------------------------------------------------------------------------------

    def result(self, content: object, text: Callable[[], None]) -> None:
        """Print ``content`` as JSON, or what ``text`` prints."""
        if self.output == "json":
            print(json.dumps(content, indent=2, default=str))
        else:
            text()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under columns; plain, tab-separated where standard output is no terminal."""
        if not sys.stdout.isatty():
            for row in (columns, *rows):
                print("\t".join(safe(cell) for cell in row))
            return
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(safe(cell)) for cell in row))
        console().print(table)

    def facts(self, rows: Sequence[tuple[str, object]]) -> None:
        """Names and values, aligned."""
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            print(f"{name:<{width}}  {safe(value)}")

    def progress(self, sentence: str) -> None:
        """What is being done, for people who watch."""
        if self.output == "text":
            print(safe(sentence), file=sys.stderr)


CONTEXT = Context()
"""Of this run; the root command's callback fills it."""


def console(*, stderr: bool = False) -> Console:
    """Colours on a terminal only, and not where NO_COLOR is set."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, no_color=bool(os.environ.get("NO_COLOR")))


def safe(value: object) -> str:
    """``value`` as text without anything that steers a terminal: controls, escapes, marks that turn the writing around."""
    text = "" if value is None else str(value)
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def tell(error: Exception) -> Exit:
    """Print what went wrong, with a hint where there is one; the exit code."""
    code, message, hint, reasons = _described(error)
    if CONTEXT.output == "json":
        document = {"error": message, "hint": hint, "reasons": reasons, "exit_code": int(code)}
        print(json.dumps(document, indent=2), file=sys.stderr)
        return code
    out = console(stderr=True)
    out.print(Text.assemble(("error: ", "bold red"), safe(message)))
    for reason in reasons:
        where = f" ({reason['field']})" if reason.get("field") else ""
        out.print(Text(f"  {safe(reason['code'])}: {safe(reason['detail'])}{safe(where)}"))
    if hint:
        out.print(Text.assemble(("hint: ", "bold"), safe(hint)))
    return code


def _described(error: Exception) -> tuple[Exit, str, str, list[dict[str, str]]]:
    match error:
        case ConfigurationFault():
            return (
                Exit.USAGE,
                "the configuration can't be used: " + "; ".join(error.faults),
                "quicklime config schema",
                [],
            )
        case Usage():
            return Exit.USAGE, str(error), error.hint, []
        case BrokenState():
            return Exit.BROKEN, str(error), error.hint, []
        case Unreachable():
            return Exit.UNREACHABLE, str(error), error.hint, []
        case Refused():
            reasons = [
                {"code": str(one.code), "detail": one.detail, "field": one.field or ""}
                for one in error.reasons
            ]
            return Exit.REFUSED, "the authority refused", _hint_of(error), reasons
        case Undecodable():
            return (
                Exit.FAULT,
                f"the log holds what this version can't read: {error}",
                "quicklime log verify",
                [],
            )
        case Fault():
            return Exit.FAULT, str(error), "", []
        case _:
            return (
                Exit.FAULT,
                f"{type(error).__name__}: {error}",
                "please report this, it is a fault of ours",
                [],
            )


def _hint_of(refused: Refused) -> str:
    from quicklime.web.problem import REGISTRY

    if refused.code == Code.UNAUTHENTICATED:
        # the remedy of the API speaks of headers, which nobody writes here
        return "set server.token_file (QUICKLIME_SERVER__TOKEN_FILE) to a file that holds a token"
    return REGISTRY[refused.code].remedy
