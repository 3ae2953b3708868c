"""Write the reference pages anew from the program: `make docs`.

`pages()` gives every page by its name; a test in tests/house compares them with what lies in docs/reference. Sentences that the
program does not hold stand in `http.toml` (of operations) and `intros.toml` (of pages and sections).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import typer
from starlette.routing import Route

from quicklime import cli, events, protocol, services, telemetry
from quicklime.cli.output import EXIT_SENTENCES
from quicklime.config import Config, described
from quicklime.pki.profile import BUILTIN
from quicklime.policy import PERMISSIONS
from quicklime.services.monitor.api import openapi
from quicklime.web.problem import REGISTRY, TYPE_PREFIX

HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "reference"
OPENAPI = HERE.parent / "dashboard" / "openapi.json"  # the page's types are made of it
MADE = "<!-- Made by docs/make.py (`make docs`) from the program; a test compares. Do not edit. -->"


def pages() -> dict[str, str]:
    """Every reference page: file name to text."""
    made = {
        "cli.md": _cli(),
        "configuration.md": _configuration(),
        "errors.md": _errors(),
        "events.md": _events(),
        "http.md": _http(),
        "metrics.md": _metrics(),
    }
    return {name: f"{MADE}\n\n" + "\n".join(lines).rstrip() + "\n" for name, lines in made.items()}


def _table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


def _intro(name: str) -> str:
    return str(tomllib.loads((HERE / "intros.toml").read_text(encoding="utf-8"))[name]).lstrip()


def _prose(docstring: str | None) -> str:
    """A docstring as Markdown: double backquotes become single ones."""
    return inspect.cleandoc(docstring or "").replace("``", "`")


# --- command line ---------------------------------------------------------------------------------------------------


def commands(group: Any = None, words: tuple[str, ...] = ("quicklime",)) -> Iterator[tuple[str, Any]]:
    """Every command by what is typed, `quicklime token create`, with typer's object for it."""
    group = typer.main.get_command(cli.app) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def _cli() -> Iterator[str]:
    yield "# The command line\n"
    yield _prose(cli.__doc__).partition("\n\n")[2] + "\n"
    yield _intro("cli")
    yield "## Everywhere\n"
    yield from _options(typer.main.get_command(cli.app))
    yield "## Exit codes\n"
    codes = ((str(int(code)), sentence) for code, sentence in EXIT_SENTENCES.items())
    yield from _table(("code", "means"), codes)
    yield "130 after Ctrl-C.\n"
    for words, command in commands():
        yield f"## {words}\n"
        yield _prose(command.help) + "\n"
        places = [one for one in command.params if one.param_type_name == "argument"]
        usage = [words, "[options]" if len(places) < len(command.params) else "", *map(_place, places)]
        yield f"    {' '.join(word for word in usage if word)}\n"
        yield from _options(command)


def _place(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _options(command: Any) -> Iterator[str]:
    shown = [
        one for one in command.params if not any("completion" in opt or opt == "--help" for opt in one.opts)
    ]
    if shown:
        yield from _table(("", "", "by default"), (_option(one) for one in shown))


def _option(one: Any) -> tuple[str, str, str]:
    if one.param_type_name == "argument":
        return f"`{_place(one)}`", one.help or "", ""
    named = ", ".join(f"`{opt}`" for opt in one.opts)
    is_flag = getattr(one, "is_flag", False)
    default = "" if is_flag or one.default in (None, ()) else _value(one.default)
    return named, one.help or "", default


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{value}`"


# --- configuration --------------------------------------------------------------------------------------------------


def _configuration() -> Iterator[str]:
    yield "# Settings\n"
    yield _intro("configuration")
    sections: dict[str, list[tuple[str, str, Any, str]]] = {}
    for setting in described():
        sections.setdefault(
            setting[0].partition(".")[0].rstrip("[]") if "." in setting[0] else "", []
        ).append(setting)
    for section, settings in sections.items():
        if section:
            yield f"## {section}\n"
            yield _section_says(section) + "\n"
        rows = (
            (f"`{key}`", _setting_kind(kind), _default(default), sentence)
            for key, kind, default, sentence in settings
        )
        yield from _table(("key", "type", "default", ""), rows)
    yield "## Built-in profiles\n"
    yield _intro("profiles")
    built_in = (
        (
            f"`{one.name}`" + (" (Quicklime's own alone)" if one.internal else ""),
            f"{one.validity_seconds // 86_400} days, at most {one.validity_seconds_max // 86_400}",
            ", ".join(one.key_usage),
            ", ".join(one.extended_key_usage),
            "yes" if one.wildcard_allowed else "no",
        )
        for one in BUILTIN.values()
    )
    yield from _table(("profile", "validity", "key usage", "extended key usage", "wildcards"), built_in)
    yield "## Roles\n"
    yield _intro("roles")
    rows_of_roles = ((f"`{role}`", ", ".join(sorted(may))) for role, may in PERMISSIONS.items())
    yield from _table(("role", "permissions"), rows_of_roles)


def _setting_kind(kind: str) -> str:
    """`tuple[str ...]` as people write TOML: a list of text."""
    plain = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "Path": "path"}
    if inside := re.fullmatch(r"tuple\[(\w+) \.\.\.\]", kind):
        return f"list of {plain.get(inside[1], inside[1])}"
    if inside := re.fullmatch(r"Literal\[(.*)\]", kind):
        return inside[1].replace("'", "`")
    return plain.get(kind, kind)


def _section_says(section: str) -> str:
    hint = get_type_hints(Config)[section]
    models = [hint, *getattr(hint, "__args__", ())]
    found = next(
        one for one in models if isinstance(one, type) and one.__module__.startswith("quicklime.config")
    )
    return _prose(found.__doc__)


def _default(value: object) -> str:
    if value is None or value == "" or value == () or value == {}:
        return ""
    return _value(value)


# --- errors ---------------------------------------------------------------------------------------------------------


def _errors() -> Iterator[str]:
    yield "# Errors\n"
    yield _intro("errors")
    yield "```json"
    document = {
        "type": f"{TYPE_PREFIX}name-not-allowed",
        "title": "Name not allowed",
        "status": 403,
        "detail": "name 'dns:db.internal' is not granted, expected ('web.internal',)",
        "instance": "urn:quicklime:request:0f1e2d3c4b5a6978",
        "reasons": [
            {
                "code": "name-not-allowed",
                "detail": "name 'dns:db.internal' is not granted, expected ('web.internal',)",
                "field": "names[0]",
            }
        ],
    }
    yield msgspec.json.format(msgspec.json.encode(document)).decode()
    yield "```\n"
    yield _intro("errors_after")
    rows = ((f"`{code}`", str(entry.status), entry.title, entry.remedy) for code, entry in REGISTRY.items())
    yield from _table(("code", "status", "title", "what to do"), rows)


# --- events ---------------------------------------------------------------------------------------------------------


def _events() -> Iterator[str]:
    yield "# Events\n"
    yield _prose(events.__doc__).partition("\n\n``docs")[0].partition("\n\n`docs")[0] + "\n"
    yield _intro("events")
    yield "## Requester\n"
    yield _prose(events.Requester.__doc__) + "\n"
    yield from _fields(events.Requester)
    for event in events.EVENTS:
        yield from _event(event)
    yield "# The protocol stream\n"
    yield _prose(protocol.__doc__) + "\n"
    yield "## Observation\n"
    yield _prose(protocol.Observation.__doc__) + "\n"
    yield from _fields(protocol.Observation)
    for passing in protocol.PROTOCOL_EVENTS:
        yield from _event(passing)


def _event(event: type[events.Fact]) -> Iterator[str]:
    yield f"## {event.TYPE}\n"
    yield f"`{event.__name__}`. {_prose(event.__doc__)}\n"
    yield from _fields(event)
    yield f"Schema: [`schemas/{event.TYPE}.json`](../../schemas/{event.TYPE}.json)\n"


def _fields(struct: type[msgspec.Struct]) -> Iterator[str]:
    hints = get_type_hints(struct)
    rows = (
        (f"`{field.name}`", _kind(hints[field.name]), "" if field.required else _optional(field.default))
        for field in msgspec.structs.fields(struct)
    )
    yield from _table(("member", "type", "if left out"), rows)


def _kind(hint: Any) -> str:
    """A type as JSON has it."""
    names = {
        str: "text",
        int: "integer",
        bytes: "octets",
        events.Requester: "Requester",
        protocol.Observation: "Observation",
    }
    if hint in names:
        return names[hint]
    arguments = [one for one in getattr(hint, "__args__", ()) if one not in {type(None), Ellipsis}]
    if getattr(hint, "__origin__", None) is tuple:
        return f"list of {_kind(arguments[0])}"
    if all(isinstance(one, str) for one in arguments):
        return ", ".join(f"`{one}`" for one in arguments)
    return _kind(arguments[0])


def _optional(default: object) -> str:
    if default is None:
        return "none"
    return "empty" if default in ("", ()) else f"`{default}`"


# --- HTTP -----------------------------------------------------------------------------------------------------------


def operations() -> list[str]:
    """`POST /v1/certificates` and so on: every route of every service's API."""
    found = []
    for module in pkgutil.iter_modules(services.__path__):
        api = importlib.import_module(f"{services.__name__}.{module.name}.api")
        parts = [one.name for one in pkgutil.iter_modules(getattr(api, "__path__", ()), f"{api.__name__}.")]
        for part in (api, *map(importlib.import_module, parts)):
            if hasattr(part, "routes"):
                # routes are made of closures, which nobody calls here: what they work with is not needed
                made: list[Route] = part.routes(**dict.fromkeys(inspect.signature(part.routes).parameters))
                found += [
                    f"{method} {one.path}"
                    for one in made
                    for method in sorted((one.methods or set()) - {"HEAD"})
                    if not one.path.startswith("/acme/")
                    or not one.path.endswith("{path:path}")  # where nothing is
                ]
    return found


def described_operations() -> dict[str, dict[str, str]]:
    """What `http.toml` says of each operation."""
    return tomllib.loads((HERE / "http.toml").read_text(encoding="utf-8"))


def _http() -> Iterator[str]:
    said = described_operations()
    there = set(operations())
    if there != set(said):
        raise SystemExit(f"http.toml and the program differ: {sorted(there ^ set(said))}")
    yield "# The HTTP API\n"
    yield _intro("http")
    rows = (
        (f"`{operation}`", f"[{one['title']}](#{_anchor(one['title'])})", one["who"])
        for operation, one in said.items()
    )
    yield from _table(("", "", "who"), rows)
    for operation, one in said.items():
        yield f"## {one['title']}\n"
        yield f"`{operation}` · {one['who']} · {one['statuses']}\n"
        yield one["says"].strip() + "\n"
    yield "## Status over plain HTTP\n"
    yield _intro("http_status")
    plain = (
        ("`POST /ocsp`", "An OCSP request (`application/ocsp-request`); RFC 6960, and RFC 9654 for nonces."),
        (
            "`GET /ocsp/{base64}`",
            "The same request in the path; answers may be cached as long as they are good.",
        ),
        ("`GET /crl/{issuer}.crl`", "The issuer's plain CRL, DER."),
        ("`GET /crl/{issuer}/{shards}/{shard}.crl`", "One of several, with its issuing distribution point."),
        (
            "`GET /crl/{issuer}-delta.crl`, `GET /crl/{issuer}/{shards}/{shard}-delta.crl`",
            "The delta list, where there are any.",
        ),
        (
            "`GET /issuers/{issuer}.cer`",
            "The certificate of an intermediate, DER: what `caIssuers` in certificates points to.",
        ),
        ("`GET /roots/{issuer}.cer`", "The certificate of a root, DER."),
    )
    yield from _table(("", ""), iter(plain))


def _anchor(title: str) -> str:
    return "".join(one for one in title.lower().replace(" ", "-") if one.isalnum() or one == "-")


# --- metrics and log lines ------------------------------------------------------------------------------------------


def metrics() -> Iterator[tuple[str, str, str, str]]:
    """(name as Prometheus has it, kind, labels, sentence) of every metric."""
    for name, metric in sorted(vars(telemetry.Metrics()).items()):
        if name == "registry":
            continue
        kind = type(metric).__name__.lower()
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001  it has no public name
        full = metric._name + ("_total" if kind == "counter" else "")  # noqa: SLF001
        yield full, kind, labels, metric._documentation  # noqa: SLF001


def log_lines() -> Iterator[tuple[str, str, list[str]]]:
    """(message, level, fields) of every line that is logged, as the source has them."""
    tree = ast.parse(inspect.getsource(telemetry.Lines))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
            continue
        if isinstance(node.func.value, ast.Attribute) and node.func.value.attr == "_log":
            first = node.args[0]
            assert isinstance(first, ast.Constant)
            yield str(first.value), node.func.attr, [one.arg for one in node.keywords if one.arg]


def _metrics() -> Iterator[str]:
    yield "# Metrics and log lines\n"
    yield _intro("metrics")
    rows = ((f"`{name}`", kind, labels, sentence) for name, kind, labels, sentence in metrics())
    yield from _table(("metric", "kind", "labels", ""), rows)
    yield "## Log lines\n"
    yield _intro("log_lines")
    lines = (
        (f"`{message}`", level, ", ".join(f"`{field}`" for field in fields))
        for message, level, fields in log_lines()
    )
    yield from _table(("event", "level", "fields"), lines)


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = REFERENCE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(HERE.parent)}")
    described = json.dumps(openapi.document(), indent=2, ensure_ascii=False) + "\n"
    if OPENAPI.read_text(encoding="utf-8") != described:
        OPENAPI.write_text(described, encoding="utf-8")
        print(f"wrote {OPENAPI.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
