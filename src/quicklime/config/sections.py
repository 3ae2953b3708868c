"""Every setting, its default and its sentence, in groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from quicklime.config.acme import ACMESettings
from quicklime.config.backends import LogSettings, ViewsSettings
from quicklime.config.section import DAY_SECONDS, Section
from quicklime.errors import Fault

ENV_PREFIX = "QUICKLIME_"

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
    requests_per_minute: int = Field(60_000, ge=1, description="From one address; a tenth may come at once.")
    failures_per_minute: int = Field(
        30, ge=1, description="Failed authentications a minute from one address before it has to wait."
    )
    connections: int = Field(2_000, ge=1, le=100_000, description="Open connections per listener.")
    connections_per_address: int = Field(
        500, ge=1, le=100_000, description="Open connections to the status port from one address."
    )
    signatures_per_minute: int = Field(
        6_000,
        ge=1,
        description="OCSP answers a minute that one address may have signed for itself alone (a nonce, unknown serials), with "
        "bursts of a tenth; beyond it a nonce is passed over.",
    )


class CRLSettings(Section):
    """Certificate revocation lists."""

    validity_seconds: int = Field(7 * DAY_SECONDS, ge=3600, description="From thisUpdate to nextUpdate.")
    refresh_seconds: int = Field(
        DAY_SECONDS, ge=60, description="A new list is published at least this often, revocation or not."
    )
    delay_seconds: float = Field(
        1.0, ge=0, le=3600, description="How long a revocation waits for others before a list is published."
    )
    shards: int = Field(1, ge=1, le=1024, description="Among how many lists new certificates are divided.")
    delta_validity_seconds: int | None = Field(
        None, ge=60, le=7 * DAY_SECONDS, description="Life of delta lists; not set: there are none."
    )


class OCSPSettings(Section):
    """OCSP answers. Limits per address stand with the others."""

    validity_seconds: int = Field(
        12 * 3600, ge=600, le=7 * DAY_SECONDS, description="From thisUpdate to nextUpdate."
    )
    signatures_per_second: int = Field(
        2_000,
        ge=1,
        description="Answers a second that a process signs for one request alone (a nonce, unknown serials), for all addresses.",
    )


class WorkerSettings(Section):
    """The processes that serve. One for the API and none for status: one process does everything."""

    api: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        "auto", description="Processes that serve the API; `auto`: one per core."
    )
    status: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = Field(
        "auto",
        description="Processes that serve status and hold no issuing key; 0: the API's do it; `auto`: 1, and 0 where there is "
        "but one core.",
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


class DashboardSettings(Section):
    """The dashboard: a page over all certificates, its API and its view."""

    enabled: bool = Field(True, description="Whether it is served, and its view kept up to date.")


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
    workers: WorkerSettings = WorkerSettings()
    pkcs11: PKCS11Settings = PKCS11Settings()
    keys: KeySettings = KeySettings()
    log: LogSettings = LogSettings()
    views: ViewsSettings = ViewsSettings()
    logging: LoggingSettings = LoggingSettings()
    readiness: ReadinessSettings = ReadinessSettings()
    dashboard: DashboardSettings = DashboardSettings()
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
