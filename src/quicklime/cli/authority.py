"""``up``, ``init`` and ``serve``: the authority of this machine."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from quicklime import wiring
from quicklime.cli.output import CONTEXT, Exit, safe, tell
from quicklime.config import Config

_DEFAULTS = wiring.InitRequest()

Name = Annotated[str, typer.Option(help="What the certificates of root and intermediate are named after.")]
KeyType = Annotated[
    str,
    typer.Option(
        help="Key of the intermediate: ecdsa-p256, ecdsa-p384, rsa-3072, rsa-4096, ed25519, ml-dsa-44, -65 or -87."
    ),
]
RootKeyType = Annotated[str, typer.Option(help="Key of the root, one of the same.")]
Domains = Annotated[
    list[str],
    typer.Option("--domain", help="A domain that certificates may be issued inside of; may be repeated."),
]
Ranges = Annotated[
    list[str],
    typer.Option(
        "--ip-range", help="A range of addresses that certificates may be issued for; may be repeated."
    ),
]
RootDays = Annotated[int, typer.Option(help="Lifetime of the root, in days.")]
Days = Annotated[int, typer.Option(help="Lifetime of the intermediate, in days.")]
Signer = Annotated[
    str | None,
    typer.Option(help="Where the intermediate's key is made: file, or pkcs11:token=...;object=..."),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    app.command("up")(up)
    app.command("init")(init)
    app.command("serve")(serve)


def up(
    name: Name = _DEFAULTS.name,
    key_type: KeyType = _DEFAULTS.key_type,
    root_key_type: RootKeyType = _DEFAULTS.root_key_type,
    domain: Domains = list(_DEFAULTS.domains),  # noqa: B006  typer copies it
    ip_range: Ranges = list(_DEFAULTS.ip_ranges),  # noqa: B006
) -> None:
    """Start the authority; found it first, where there is none. The options count only then."""
    if not wiring.DataDirectory(CONTEXT.config.data_dir).is_initialised():
        request = wiring.InitRequest(
            name=name,
            key_type=key_type,
            root_key_type=root_key_type,
            domains=tuple(domain),
            ip_ranges=tuple(ip_range),
        )
        # apart, so that the process that serves never held the root's key
        if code := _apart(lambda: _told(wiring.initialise(CONTEXT.config, request, CONTEXT.progress))):
            raise typer.Exit(code)
    serve()


def init(
    name: Name = _DEFAULTS.name,
    key_type: KeyType = _DEFAULTS.key_type,
    root_key_type: RootKeyType = _DEFAULTS.root_key_type,
    domain: Domains = list(_DEFAULTS.domains),  # noqa: B006
    ip_range: Ranges = list(_DEFAULTS.ip_ranges),  # noqa: B006
    root_days: RootDays = _DEFAULTS.root_days,
    days: Days = _DEFAULTS.intermediate_days,
    signer: Signer = None,
) -> None:
    """Make root, intermediate, log and first token in the data directory."""
    request = wiring.InitRequest(
        name=name,
        key_type=key_type,
        root_key_type=root_key_type,
        domains=tuple(domain),
        ip_ranges=tuple(ip_range),
        root_days=root_days,
        intermediate_days=days,
        signer=signer,
    )
    _told(wiring.initialise(CONTEXT.config, request, CONTEXT.progress))


def serve() -> None:
    """Serve the API and status from the data directory until SIGTERM or Ctrl-C."""
    wiring.serve(CONTEXT.config, on_ready=_ready, progress=CONTEXT.progress)


def _apart(work: Callable[[], None]) -> int:
    """Do ``work`` in a process of its own; its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = int(Exit.OK)
        try:
            work()
        except Exception as error:  # noqa: BLE001  a person reads this, not a traceback
            code = int(tell(error))
        except KeyboardInterrupt:
            code = 130
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _told(made: wiring.Initialised) -> None:
    content = {
        "authority": made.authority,
        "root": made.root,
        "intermediate": made.intermediate,
        "root_key": made.root_key,
        "root_passphrase": made.root_passphrase,
        "first_token": made.first_token,
    }

    def text() -> None:
        CONTEXT.facts(
            [
                ("authority", made.authority),
                ("root certificate", made.root),
                ("first token", made.first_token),
                ("root key", made.root_key),
            ]
        )
        offline = made.root_key.parent
        print(f"take {safe(offline)} away now: copy it to two offline media, then delete it here")

    CONTEXT.result(content, text)


def _ready(served: wiring.Served) -> None:
    content = {
        "api": served.api_url,
        "status": served.status_url,
        "root": served.root,
        "first_token": served.first_token,
    }

    def text() -> None:
        rows: list[tuple[str, object]] = [
            ("API", served.api_url),
            ("OCSP, CRL", served.status_url),
            ("root certificate", _shown(served.root)),
        ]
        if served.first_token is not None:
            rows.append(("first token", _shown(served.first_token)))
        CONTEXT.facts(rows)
        if served.example is not None:
            data_dir = CONTEXT.config.data_dir
            where = (
                "" if data_dir == Config().data_dir else f" --data-dir {shlex.quote(safe(_shown(data_dir)))}"
            )
            print(f"try: quicklime issue {served.example}{where}")
        sys.stdout.flush()

    CONTEXT.result(content, text)


def _shown(path: Path) -> Path:
    """The path as short as it can be typed from here."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path.absolute()
