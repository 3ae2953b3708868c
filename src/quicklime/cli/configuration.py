"""``config``: every setting, its value, and where it came from."""

from __future__ import annotations

import json

import typer

from quicklime import config, wiring
from quicklime.cli.output import CONTEXT

app = typer.Typer(help="Settings.", no_args_is_help=True)


@app.command("show")
def show() -> None:
    """Every setting with its value and where that came from; secrets stay hidden."""
    loaded = CONTEXT.loaded
    rows = [
        {"key": key, "value": value, "from": loaded.origins.get(key, "default")}
        for key, value in config.settings(loaded.config)
    ]
    columns = ["key", "value", "from"]
    CONTEXT.result(
        rows,
        lambda: CONTEXT.table(columns, [[row["key"], json.dumps(row["value"]), row["from"]] for row in rows]),
    )


@app.command("check")
def check() -> None:
    """Say whether the settings can be used; every fault is named."""
    loaded = CONTEXT.loaded
    wiring.check(loaded.config)
    file = loaded.file or "no file"
    CONTEXT.result({"ok": True, "file": loaded.file}, lambda: print(f"the settings make sense ({file})"))


@app.command("schema")
def schema() -> None:
    """The JSON Schema of the configuration file."""
    print(json.dumps(config.schema(), indent=2, default=str))
