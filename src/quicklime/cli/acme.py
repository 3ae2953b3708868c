"""``acme``: keys of external account binding, and accounts, in the log of this machine, whether the server runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from quicklime import wiring
from quicklime.authority.acme import CreateBindingKey
from quicklime.cli.output import CONTEXT, Usage
from quicklime.cli.token import seconds_of
from quicklime.errors import Code, Refused
from quicklime.lifecycle.account import Account, BindingKey
from quicklime.projection import acme_accounts, acme_keys
from quicklime.web.render import base64url, timestamp

app = typer.Typer(help="ACME accounts and what they are bound to.", no_args_is_help=True)
eab = typer.Typer(help="Keys of external account binding.", no_args_is_help=True)
account = typer.Typer(help="Accounts.", no_args_is_help=True)
app.add_typer(eab, name="eab")
app.add_typer(account, name="account")

Result = TypeVar("Result")
ROWS_MAX = 100_000


@eab.command("create")
def create(
    directory: Annotated[str, typer.Option(help="The ACME directory it is for.")] = "default",
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="A name or pattern that the account may have, of those it proves: web.internal, **.internal; may be repeated."
        ),
    ] = None,
    profile: Annotated[list[str] | None, typer.Option(help="A profile it may use; may be repeated.")] = None,
    certificates: Annotated[
        int | None, typer.Option(help="How many certificates it may get; without it, any number.")
    ] = None,
    lifetime: Annotated[str, typer.Option(help="How long it can bind an account: 30m, 12h, 7d.")] = "7d",
    label: Annotated[str, typer.Option(help="What you call it.")] = "",
) -> None:
    """Make a key. Give id and MAC key to whoever is to make one account; the MAC key stands in no log."""
    known = CONTEXT.config.acme.all_directories()
    if directory not in known:
        raise Usage(f"directory {directory!r}, expected one of {', '.join(known)}")
    command = CreateBindingKey(
        directory=directory,
        names=tuple(name or ()),
        profiles=tuple(profile or ()),
        lifetime_seconds=seconds_of(lifetime),
        certificates_max=certificates,
        label=label,
    )
    offered = known[directory].profiles
    key, mac = _locally(
        lambda local: wiring.account_desk(local).create_key(command, local.requester, profiles=offered)
    )
    told = {"key": key.key, "mac": base64url(mac)}
    CONTEXT.result(told | _key_row(key), lambda: CONTEXT.facts(list(told.items())))


@eab.command("list")
def list_keys() -> None:
    """Every key there ever was."""

    async def read(local: wiring.Local) -> list[BindingKey]:
        return acme_keys(local.store, limit=ROWS_MAX)

    rows = [_key_row(key) for key in _locally(read)]
    columns = [
        "id",
        "directory",
        "label",
        "names",
        "profiles",
        "certificates",
        "account",
        "expires_at",
        "revoked_at",
    ]
    CONTEXT.result(
        rows, lambda: CONTEXT.table(columns, [[_cell(row[column]) for column in columns] for row in rows])
    )


@eab.command("revoke")
def revoke(key: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """Revoke a key: the account that it bound gets no further certificate. What was issued stays."""
    found = _locally(lambda local: wiring.account_desk(local).revoke_key(key, local.requester))
    CONTEXT.result(
        _key_row(found),
        lambda: CONTEXT.facts([("id", found.key), ("revoked_at", _key_row(found)["revoked_at"])]),
    )


@account.command("list")
def list_accounts() -> None:
    """Every account there ever was."""

    async def read(local: wiring.Local) -> list[Account]:
        return acme_accounts(local.store, limit=ROWS_MAX)

    rows = [_account_row(one) for one in _locally(read)]
    columns = ["id", "directory", "status", "contact", "binding", "created_at"]
    CONTEXT.result(
        rows, lambda: CONTEXT.table(columns, [[_cell(row[column]) for column in columns] for row in rows])
    )


@account.command("close")
def close(identifier: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]) -> None:
    """Close an account for ever: it gets nothing any more. What was issued to it stays."""

    async def work(local: wiring.Local) -> Account:
        found = local.state.acme_account(identifier)
        if found is None:
            raise Refused(Code.ACCOUNT_UNKNOWN, f"no account has the id {identifier[:64]!r}")
        if found.status != "valid":
            return found
        return await wiring.account_desk(local).close(found, "revoked", local.requester)

    found = _locally(work)
    CONTEXT.result(
        _account_row(found), lambda: CONTEXT.facts([("id", found.account), ("status", found.status)])
    )


def _locally(work: Callable[[wiring.Local], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        async with wiring.open_local(CONTEXT.config, progress=CONTEXT.progress) as local:
            return await work(local)

    return asyncio.run(run())


def _key_row(key: BindingKey) -> dict[str, object]:
    of = "" if key.certificates_max is None else f"{key.certificates}/{key.certificates_max}"
    return {
        "id": key.key,
        "directory": key.directory,
        "label": key.label,
        "names": list(key.names),
        "profiles": list(key.profiles),
        "certificates": of or None,
        "account": key.account,
        "created_at": timestamp(key.created_at),
        "expires_at": timestamp(key.expires_at),
        "revoked_at": None if key.revoked_at is None else timestamp(key.revoked_at),
    }


def _account_row(found: Account) -> dict[str, object]:
    return {
        "id": found.account,
        "directory": found.directory,
        "status": found.status,
        "contact": list(found.contact),
        "binding": found.binding,
        "created_at": timestamp(found.created_at),
    }


def _cell(value: object) -> object:
    return ",".join(value) if isinstance(value, list) else value
