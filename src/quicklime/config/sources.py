"""Where settings come from: read, merged, each with its origin."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource

from quicklime.config.sections import ENV_PREFIX, Config, ConfigurationFault

DEFAULT_FILE = Path("quicklime.toml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and of each that is not the default (``api.port``) where it came from."""

    config: Config
    origins: Mapping[str, str]
    file: Path | None


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Read all sources. ``flags`` are dotted keys with values; None among them means that the flag was not given.

    ``file`` must be there; without it ``$QUICKLIME_CONFIG`` or ``./quicklime.toml`` is read where there is one.
    Raises ConfigurationFault naming every fault with its place.
    """
    path = _file(file)
    sources: list[tuple[str, Mapping[str, Any]]] = []
    if path is not None:
        sources.append((str(path), _read_toml(path)))
    sources.append(("environment", _environment()))
    if directory := os.environ.get(f"{ENV_PREFIX}SECRETS_DIR"):
        sources.append((directory, _secrets(Path(directory))))
    sources.append(("flag", _nested(flags or {})))
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in sources:
        _merge(merged, values, origin, origins)
    try:
        config = Config(**merged)
    except ValidationError as error:
        raise ConfigurationFault(tuple(_faults(error, origins))) from None
    return Loaded(config, origins, path)


def settings(config: Config) -> Iterator[tuple[str, Any]]:
    """Every setting as (dotted key, value), in the order in which they are declared; secrets stay hidden."""
    yield from _flat("", config.model_dump(mode="json"))


def schema() -> dict[str, Any]:
    """The JSON Schema of the TOML file."""
    return Config.model_json_schema()


def described(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """(dotted key, type, default, sentence) of every setting, ``<name>`` standing for a name of your choice."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        key = f"{prefix}{name}"
        inner, step = _inner(annotation)
        if inner is not None:
            yield from described(inner, f"{key}{step}.")
        else:
            default = "" if field.is_required() else field.get_default(call_default_factory=True)
            yield key, _type_name(annotation), default, field.description or ""


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for argument in getattr(annotation, "__args__", ()):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, "[]" if getattr(annotation, "__origin__", None) is tuple else ".<name>"
    return None, ""


def _type_name(annotation: Any) -> str:
    text = getattr(annotation, "__name__", None) if isinstance(annotation, type) else None
    if text is None or "[" in str(annotation):
        text = str(annotation)
    for old, new in (
        ("typing.", ""),
        ("pathlib.", ""),
        ("pydantic.types.", ""),
        (", ...", " ..."),
        (" | None", ""),
        ("SecretStr", "secret"),
    ):
        text = text.replace(old, new)
    return text


def _file(file: Path | None) -> Path | None:
    if file is None and (named := os.environ.get(f"{ENV_PREFIX}CONFIG")):
        file = Path(named)
    if file is not None:
        if not file.is_file():
            raise ConfigurationFault((f"no configuration file {str(file)!r}",))
        return file
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationFault((f"can't read {str(path)!r}: {error}",)) from None


_NO_SETTING = {f"{ENV_PREFIX}{name}" for name in ("CONFIG", "SECRETS_DIR", "TOKEN")}


def _environment() -> dict[str, Any]:
    source = EnvSettingsSource(Config, env_prefix=ENV_PREFIX, env_nested_delimiter="__")
    values = _parsed(source)
    known = {name.lower() for name in Config.model_fields}
    for variable in os.environ:
        if variable.startswith(ENV_PREFIX) and variable not in _NO_SETTING:
            first = variable.removeprefix(ENV_PREFIX).lower().split("__")[0]
            if first not in known:
                raise ConfigurationFault((f"{variable}: no such setting (environment)",))
    if token := os.environ.get(f"{ENV_PREFIX}TOKEN"):
        # what people set for the client commands; the long name works too
        values.setdefault("server", {}).setdefault("token", token)
    return values


def _secrets(directory: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise ConfigurationFault((f"no directory of secrets {str(directory)!r}",))
    values: dict[str, Any] = {}
    for path in sorted(directory.iterdir()):
        # what an orchestrator puts beside the files (`..data`) is none
        if path.is_file() and not path.name.startswith("."):
            _put(values, path.name.lower().split("__"), path.read_text(encoding="utf-8").strip())
    return values


def _parsed(source: EnvSettingsSource) -> dict[str, Any]:
    try:
        return dict(source())
    except ValueError as error:
        raise ConfigurationFault((f"{error} (environment)",)) from None


def _nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in flags.items():
        if value is not None:
            _put(values, key.split("."), value)
    return values


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        values = values.setdefault(step, {})
    values[path[-1]] = value


def _merge(
    into: dict[str, Any], values: Mapping[str, Any], origin: str, origins: dict[str, str], prefix: str = ""
) -> None:
    for key, value in values.items():
        place = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(into.setdefault(key, {}), dict):
            _merge(into[key], value, origin, origins, f"{place}.")
        else:
            into[key] = value
            origins[place] = origin


def _faults(error: ValidationError, origins: Mapping[str, str]) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        place = ".".join(str(step) for step in fault["loc"])
        origin = next(
            (
                origins[key]
                for key in origins
                if place == key or place.startswith(f"{key}.") or key.startswith(f"{place}.")
            ),
            "",
        )
        message = (
            "no such setting"
            if fault["type"] == "extra_forbidden"
            else fault["msg"][:1].lower() + fault["msg"][1:]
        )
        yield f"{place}: {message}" + (f" ({origin})" if origin else "")


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    else:
        yield prefix, value
