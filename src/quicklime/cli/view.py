"""``view``: what was made of the log. Any view may be deleted and rebuilt."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from quicklime import wiring
from quicklime.cli.output import CONTEXT, Usage
from quicklime.projection import Snapshot, digest, pairs

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


@app.command("snapshot")
def snapshot(file: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Copy all views, as they are at one moment, to a file; a start from it need not read the whole log. The server may run.

    It holds what the views hold, names and hashes of secrets among it: keep it like the data directory.
    """
    began = time.monotonic()
    written = wiring.write_snapshot(CONTEXT.config, file)
    _tell(written, file, began)


@app.command("restore")
def restore(file: Annotated[Path, typer.Argument(help="A file that `view snapshot` wrote.")]) -> None:
    """Put a snapshot in the place of the views, while no server runs; refused where it does not fit this log or this version.

    What it says is believed, as what is in the views is: restore what you wrote yourself.
    """
    began = time.monotonic()
    restored = wiring.restore_snapshot(CONTEXT.config, file)
    _tell(restored, file, began)


def _tell(found: Snapshot, file: Path, began: float) -> None:
    row = {
        "file": str(file),
        "records": found.offset,
        "octets": found.octets,
        "sha256": found.sha256,
        "seconds": round(time.monotonic() - began, 3),
    }
    CONTEXT.result(row, lambda: CONTEXT.table(list(row), [list(row.values())]))


def _chosen(view: str | None, tables: tuple[str, ...]) -> tuple[str, ...]:
    if view is None:
        return tables
    if view not in tables:
        raise Usage(f"no view {view!r}, expected one of {', '.join(tables)}")
    return (view,)
