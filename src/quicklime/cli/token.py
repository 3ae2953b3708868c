"""``token``: bearer tokens, made and revoked in the log of this machine, whether the server runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from quicklime import wiring
from quicklime.authority.tokens import CreateToken
from quicklime.cli.output import CONTEXT, Usage
from quicklime.lifecycle.token import Token
from quicklime.policy import PERMISSIONS
from quicklime.projection import tokens
from quicklime.web.render import timestamp

app = typer.Typer(help="Bearer tokens.", no_args_is_help=True)

Result = TypeVar("Result")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command("create")
def create(
    role: Annotated[str, typer.Option(help="admin, operator, auditor or requester.")] = "requester",
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="A name or pattern it may ask for: web.internal, *.internal, **.internal, 10.0.0.0/8; may be repeated."
        ),
    ] = None,
    profile: Annotated[list[str] | None, typer.Option(help="A profile it may use; may be repeated.")] = None,
    uses: Annotated[
        int | None, typer.Option(help="How many certificates it may get; without it, any number.")
    ] = None,
    lifetime: Annotated[str, typer.Option(help="How long it is good: 30m, 12h, 7d.")] = "1d",
    label: Annotated[str, typer.Option(help="What you call it.")] = "",
) -> None:
    """Make a token. Its text is printed this once; the log keeps its hash."""
    if role not in PERMISSIONS:
        raise Usage(f"role {role!r}, expected one of {', '.join(PERMISSIONS)}")
    command = CreateToken(
        role=role,
        names=tuple(name or ()),
        profiles=tuple(profile or (["server"] if name else [])),
        lifetime_seconds=seconds_of(lifetime),
        uses_max=uses,
        label=label,
    )
    text, token = _locally(lambda local: local.tokens.create(command, local.requester))
    CONTEXT.result({"token": text} | _row(token), lambda: print(text))


@app.command("list")
def list_tokens() -> None:
    """Every token there ever was; of none the text."""

    async def read(local: wiring.Local) -> list[Token]:
        return tokens(local.store, limit=100_000)

    rows = [_row(token) for token in _locally(read)]
    columns = ["id", "role", "label", "names", "profiles", "uses", "expires_at", "revoked_at"]

    def text() -> None:
        shown = [row | {"uses": _of_uses(row)} for row in rows]
        CONTEXT.table(columns, [[_cell(row[column]) for column in columns] for row in shown])

    CONTEXT.result(rows, text)


@app.command("revoke")
def revoke(token: Annotated[str, typer.Argument(help="The token's id, or its text.")]) -> None:
    """Revoke a token. What was issued with it stays."""
    identifier = token.split("_")[1] if token.startswith("ql_") and token.count("_") >= 2 else token
    found = _locally(lambda local: local.tokens.revoke(identifier, local.requester))
    CONTEXT.result(
        _row(found), lambda: CONTEXT.facts([("id", found.token), ("revoked_at", _row(found)["revoked_at"])])
    )


def seconds_of(text: str) -> int:
    """Seconds of ``30m``, ``12h``, ``7d`` or a bare number of seconds. Raises Usage."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise Usage(f"duration {text!r}, expected for instance 30m, 12h or 7d")
    return int(number) * _UNITS[unit]


def _locally(work: Callable[[wiring.Local], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with wiring.open_local(CONTEXT.config, progress=CONTEXT.progress) as local:
            return await work(local)

    return asyncio.run(run())


def _row(token: Token) -> dict[str, object]:
    return {
        "id": token.token,
        "role": token.role,
        "label": token.label,
        "names": list(token.names),
        "profiles": list(token.profiles),
        "uses": token.uses,
        "uses_max": token.uses_max,
        "created_at": timestamp(token.created_at),
        "expires_at": timestamp(token.expires_at),
        "revoked_at": None if token.revoked_at is None else timestamp(token.revoked_at),
    }


def _of_uses(row: dict[str, object]) -> str | None:
    return None if row["uses_max"] is None else f"{row['uses']}/{row['uses_max']}"


def _cell(value: object) -> object:
    return ",".join(value) if isinstance(value, list) else value
