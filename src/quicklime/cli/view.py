"""``view``: what was made of the log. Any view may be deleted and rebuilt."""

from __future__ import annotations

import tempfile
import time
from typing import Annotated

import typer

from quicklime import wiring
from quicklime.cli.output import CONTEXT, Usage
from quicklime.projection import digest, pairs

app = typer.Typer(help="Views: what was made of the log.", no_args_is_help=True)


@app.command("list")
def list_views() -> None:
    """Every view, its size, and how far it has come."""
    with wiring.opened(CONTEXT.config) as (_, log, store, projector):
        rows = [
            {
                "view": name,
                "keys": sum(1 for _ in pairs(store, name)),
                "checkpoint": projector.checkpoint(),
                "head": log.head(),
            }
            for name in projector.tables
        ]
    columns = ["view", "keys", "checkpoint", "head"]
    CONTEXT.result(
        rows, lambda: CONTEXT.table(columns, [[row[column] for column in columns] for row in rows])
    )


@app.command("digest")
def show_digest(
    view: Annotated[str | None, typer.Argument(help="A view; without it, every one.")] = None,
) -> None:
    """SHA-256 over a view's keys and values: the same on every machine that has read the same records."""
    with wiring.opened(CONTEXT.config) as (_, _log, store, projector):
        projector.catch_up()
        names = _chosen(view, projector.tables)
        checkpoint = projector.checkpoint()
        rows = [{"view": name, "checkpoint": checkpoint, "digest": digest(store, name)} for name in names]
    columns = ["view", "checkpoint", "digest"]
    CONTEXT.result(
        rows, lambda: CONTEXT.table(columns, [[row[column] for column in columns] for row in rows])
    )


@app.command("rebuild")
def rebuild(
    view: Annotated[str | None, typer.Argument(help="A view; without it, every one.")] = None,
) -> None:
    """Make a view anew from the log, while it goes on being read; says how long it took."""
    rows = []
    with wiring.opened(CONTEXT.config) as (directory, _log, store, projector):
        projector.catch_up()
        for name in _chosen(view, projector.tables):
            before = digest(store, name)
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix=".rebuild-", dir=directory.path) as scratch:
                records = projector.rebuild(name, wiring.scratch_store(scratch))
            rows.append(
                {
                    "view": name,
                    "records": records,
                    "seconds": round(time.monotonic() - began, 3),
                    "digest": digest(store, name),
                    "changed": digest(store, name) != before,
                }
            )
            CONTEXT.progress(f"{name}: {records} records in {rows[-1]['seconds']} s")
    columns = ["view", "records", "seconds", "digest", "changed"]
    CONTEXT.result(
        rows, lambda: CONTEXT.table(columns, [[row[column] for column in columns] for row in rows])
    )


def _chosen(view: str | None, tables: tuple[str, ...]) -> tuple[str, ...]:
    if view is None:
        return tables
    if view not in tables:
        raise Usage(f"no view {view!r}, expected one of {', '.join(tables)}")
    return (view,)
