"""Every setting, its default and its sentence. Only ``wiring`` and ``cli`` read it.

Sources, weakest first: the defaults here, a TOML file, the environment (``QUICKLIME_API__PORT``), a directory of secrets (one
file per setting, named like the environment variable in lower case, without the prefix: ``pkcs11__pin``), flags. ``load`` says
of each value where it came from.

Invariant: a ``Config`` that exists is whole and plausible; an unknown key is a fault, never ignored: a setting that was misspelt
would be a setting that is not in force.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from quicklime.config.acme import ACMESettings
from quicklime.config.section import DAY_SECONDS, Section
from quicklime.errors import Fault

ENV_PREFIX = "QUICKLIME_"
DEFAULT_FILE = Path("quicklime.toml")

Role = Literal["admin", "operator", "auditor", "requester"]
LOOPBACK = "127.0.0.1"


class ConfigurationFault(Fault):
    """The settings can't be used; ``faults`` names each, as ``key: what is wrong (where it stands)``."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class APISettings(Section):
    """The API, over TLS, with a certificate that the authority issues to itself."""

    host: str = Field(LOOPBACK, description="Address to listen on; 0.0.0.0 for every one.")
    port: int = Field(8443, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    names: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "::1"),
        min_length=1,
        description="DNS names and IP addresses that clients reach the API by; they go into its certificate.",
    )


class StatusSettings(Section):
    """OCSP, CRLs and issuers' certificates: plain HTTP by design, everything in it is signed."""

    host: str = Field(LOOPBACK, description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    url: str = Field(
        "http://localhost:8080",
        pattern=r"^http://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/-]*)?$",
        description="Where the clients of certificates reach this: it goes into every certificate (AIA, CRL distribution point).",
    )

    @field_validator("url")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        return url.rstrip("/")


class ProfileSettings(Section):
    """A kind of certificate. What is not set is taken from the built-in profile of that name, or from `server`."""

    validity_seconds: int | None = Field(None, description="Lifetime where the requester asks for none.")
    validity_seconds_max: int | None = Field(None, description="Longest lifetime that may be asked for.")
    key_usage: tuple[str, ...] | None = Field(None, description="Key usages by their names in RFC 5280.")
    extended_key_usage: tuple[str, ...] | None = Field(
        None, description="Extended key usages: `serverAuth`, `clientAuth` ... or object identifiers."
    )
    allowed_name_patterns: tuple[str, ...] | None = Field(
        None, description="Patterns that every name must match one of; empty for any."
    )
    key_types: tuple[str, ...] | None = Field(
        None, description="Key types that may be certified; empty for any."
    )
    requesters: tuple[str, ...] | None = Field(
        None, description="Roles, token labels or kinds of identity that may use it; empty for any."
    )
    wildcard_allowed: bool | None = Field(
        None, description="Whether names such as `*.web.internal` may be had."
    )
    renewal_grace_seconds: int | None = Field(
        None, description="How long after its end a certificate may still be renewed."
    )
    backdate_seconds: int | None = Field(
        None, description="How far notBefore lies in the past, against clocks that lag."
    )


class CertificateRuleSettings(Section):
    """What the holder of a client certificate of this authority may ask for."""

    bearer: str = Field(description="Pattern that one of the certificate's names must match.")
    names: tuple[str, ...] = Field((), description="Patterns of names that it may have certified.")
    profiles: tuple[str, ...] = Field((), description="Profiles that it may use.")
    role: Role = Field("requester", description="The role that it acts in.")


class CFSSLKeySettings(Section):
    """A key of CFSSL's `authsign`. It can't be kept hashed, because each request is checked with it."""

    key: SecretStr = Field(description="The key, hexadecimal, as in the client's `auth_keys`.")
    names: tuple[str, ...] = Field((), description="Patterns of names that it may have certified.")
    profiles: tuple[str, ...] = Field(("server",), description="Profiles that it may use.")


class CFSSLSettings(Section):
    """The CFSSL API under `/api/v1/cfssl/`."""

    enabled: bool = Field(True, description="Whether it answers at all.")
    default_profile: str = Field("server", description="The profile of requests that name none.")
    auth_keys: Mapping[str, CFSSLKeySettings] = Field(
        default_factory=dict, description="Keys of `authsign`, by a label of your choice."
    )


class LimitSettings(Section):
    """What one client, or all together, may ask of the server."""

    body_octets: int = Field(262_144, ge=16_384, le=16 << 20, description="Largest request body.")
    requests_per_minute: int = Field(
        60_000, ge=1, description="Requests a minute from one address, with bursts of a tenth of it."
    )
    failures_per_minute: int = Field(
        30, ge=1, description="Failed authentications a minute from one address before it has to wait."
    )
    connections: int = Field(2_000, ge=1, le=100_000, description="Open connections per listener.")


class CRLSettings(Section):
    """Certificate revocation lists."""

    validity_seconds: int = Field(7 * DAY_SECONDS, ge=3600, description="From thisUpdate to nextUpdate.")
    refresh_seconds: int = Field(
        DAY_SECONDS, ge=60, description="A new list is published at least this often, revocation or not."
    )
    delay_seconds: float = Field(
        1.0, ge=0, le=3600, description="How long a revocation waits for others before a list is published."
    )


class OCSPSettings(Section):
    """OCSP answers."""

    validity_seconds: int = Field(
        12 * 3600, ge=600, le=7 * DAY_SECONDS, description="From thisUpdate to nextUpdate."
    )


class PKCS11Settings(Section):
    """Keys in a token."""

    module: Path | None = Field(
        None, description="The token's PKCS#11 library, where the key's URI has no `module-path`."
    )
    pin: SecretStr | None = Field(None, description="The user PIN, where the key's URI has no `pin-source`.")


class KeySettings(Section):
    """Subscribers' keys that are known to be compromised, besides those that are found by looking at them."""

    blocked_spki_sha256: tuple[str, ...] = Field(
        (), description="SHA-256 (hexadecimal) of the SubjectPublicKeyInfo of keys to refuse."
    )
    badkeys_blocklist: Path | None = Field(
        None,
        description="The blocklist file of the badkeys project: Debian's weak keys and others that were published.",
    )


class LoggingSettings(Section):
    """Lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is told.")
    format: Literal["text", "json"] = Field("text", description="For people or for machines.")


class ReadinessSettings(Section):
    """When the server says that it is not ready."""

    lag_records_max: int = Field(10_000, ge=1, description="Records that the views may be behind the log.")


class ServerSettings(Section):
    """Where the client commands (`issue`, `renew`, `revoke` ...) find the authority."""

    url: str | None = Field(
        None,
        pattern="^https://[^/]",
        description="The API; by default this machine's, by one of `api.names`.",
    )
    token: SecretStr | None = Field(None, description="A bearer token.")
    token_file: Path | None = Field(
        None, description="A file with a bearer token; by default `first-token` of the data directory."
    )
    roots: Path | None = Field(
        None, description="Root certificates to trust (PEM); by default `root.pem` of the data directory."
    )


class Config(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(Path("quicklime-data"), description="The directory that holds all state.")
    api: APISettings = APISettings()
    status: StatusSettings = StatusSettings()
    profiles: Mapping[str, ProfileSettings] = Field(
        default_factory=dict, description="Profiles of your own, and changes to the built-in ones, by name."
    )
    client_certificates: tuple[CertificateRuleSettings, ...] = Field(
        (), description="What holders of client certificates may ask for."
    )
    cfssl: CFSSLSettings = CFSSLSettings()
    acme: ACMESettings = ACMESettings()
    limits: LimitSettings = LimitSettings()
    crl: CRLSettings = CRLSettings()
    ocsp: OCSPSettings = OCSPSettings()
    pkcs11: PKCS11Settings = PKCS11Settings()
    keys: KeySettings = KeySettings()
    logging: LoggingSettings = LoggingSettings()
    readiness: ReadinessSettings = ReadinessSettings()
    server: ServerSettings = ServerSettings()

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the other sources are not used here
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        **others: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """``load`` merges the sources itself, because it has to say where each value came from."""
        return (init_settings,)


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


__all__ = ["Config", "ConfigurationFault", "Loaded", "described", "load", "schema", "settings"]
