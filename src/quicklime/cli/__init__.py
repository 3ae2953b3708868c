"""The command line: parse, call, print. ``quicklime --help`` lists the commands.

The options ``--config``, ``--data-dir``, ``--output`` and ``--log-level`` may stand anywhere on the line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from quicklime import __version__
from quicklime.cli import (
    acme,
    authority,
    certificates,
    configuration,
    demo,
    doctor,
    issuer,
    log,
    token,
    view,
)
from quicklime.cli.output import CONTEXT, Exit, Found, tell

app = typer.Typer(
    name="quicklime",
    help="A private certificate authority whose every fact stands in one append-only log.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_ANYWHERE = ("--config", "--data-dir", "--output", "--log-level")


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"quicklime {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The directory that holds all state.")] = None,
    output: Annotated[str, typer.Option(help="What results look like: text or json.")] = "text",
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_tell_version),
    ] = False,
) -> None:
    del version  # told by its callback, before a command is asked for
    if output not in {"text", "json"}:
        raise typer.BadParameter(f"{output!r}, expected text or json", param_hint="--output")
    CONTEXT.output = cast("Literal['text', 'json']", output)
    CONTEXT.config_file = config
    CONTEXT.flags = {"data_dir": data_dir, "logging.level": log_level}
    CONTEXT._loaded = None  # noqa: SLF001  a second run in one process reads anew


authority.register(app)
certificates.register(app)
app.add_typer(token.app, name="token")
app.add_typer(acme.app, name="acme")
app.add_typer(issuer.app, name="issuer")
app.add_typer(log.app, name="log")
app.add_typer(view.app, name="view")
app.add_typer(configuration.app, name="config")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with one of ``output.Exit``."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    try:
        app(_globals_first(list(arguments)), standalone_mode=False)
    except typer.Exit as left:
        return left.exit_code
    except typer.TyperException as error:
        # what can't be parsed; each that is raised shows itself, though their base does not say so
        cast("Any", error).show()
        return Exit.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # whoever read us has seen enough
        sys.stderr.close()
        return Exit.OK
    except Found:
        return Exit.FOUND
    except Exception as error:  # noqa: BLE001  a person reads this, not a traceback
        return tell(error)
    return Exit.OK


def _globals_first(arguments: list[str]) -> list[str]:
    """Move the global options in front of the command, wherever they were typed."""
    first, rest = [], []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in _ANYWHERE:
            first += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.startswith(tuple(f"{option}=" for option in _ANYWHERE)):
            first.append(word)
        else:
            rest.append(word)
    return first + rest
