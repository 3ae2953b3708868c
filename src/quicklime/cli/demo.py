"""``demo``: a throw-away authority with a past, to look at."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from quicklime import wiring
from quicklime.cli import authority
from quicklime.cli.output import CONTEXT


def demo(
    days: Annotated[int, typer.Option(min=160, max=1000, help="How long the past is.")] = 200,
    services: Annotated[int, typer.Option(min=1, max=300, help="How many services there are.")] = 100,
    keep: Annotated[
        Path | None, typer.Option(help="Make it in this new directory and leave it there.")
    ] = None,
    only_make: Annotated[bool, typer.Option("--only-make", help="Do not serve it.")] = False,
) -> None:
    """Fill a throw-away authority with a believable past, then serve it: the dashboard shows what there is to see.

    Everything goes through the real path: keys sign, the log records, refusals are refusals. Only the clock is set.
    """
    if keep is not None:
        _make_and_serve(keep, days, services, only_make)
        return
    with tempfile.TemporaryDirectory(prefix="quicklime-demo-") as directory:
        _make_and_serve(Path(directory) / "data", days, services, only_make)


def _make_and_serve(data_dir: Path, days: int, services: int, only_make: bool) -> None:
    CONTEXT.flags = {**CONTEXT.flags, "data_dir": data_dir}
    CONTEXT.progress(f"making {days} days of the past of {services} services in {data_dir}")
    token = wiring.make_demo(CONTEXT.config, days=days, services=services, progress=CONTEXT.progress)
    CONTEXT.progress(f"sign in to the dashboard with the token in {token}")
    if not only_make:
        authority.serve()
