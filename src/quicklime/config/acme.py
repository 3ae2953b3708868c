"""Settings of ACME and of the validation of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from quicklime.config.section import DAY_SECONDS, Section


class ACMEDirectorySettings(Section):
    """One ACME directory, at `/acme/<name>/directory`, with a policy of its own."""

    names: tuple[str, ...] = Field(
        (),
        description="Patterns of names that it gives; empty for all that the issuer's name constraints allow.",
    )
    profiles: tuple[str, ...] = Field(
        ("server",),
        min_length=1,
        description="Profiles that orders may name; the first where they name none.",
    )
    methods: tuple[Literal["http-01", "dns-01", "tls-alpn-01"], ...] = Field(
        ("http-01", "dns-01", "tls-alpn-01"), min_length=1, description="Challenges that prove a name."
    )
    binding_required: bool = Field(
        False, description="Whether an account needs a key of `quicklime acme eab create`."
    )
    terms: str | None = Field(None, description="URL of terms of service that accounts have to agree to.")
    website: str | None = Field(None, description="URL of a page about this directory.")


class PerspectiveSettings(Section):
    """A vantage point from which names are validated."""

    name: str = Field(pattern=r"^[a-z0-9-]{1,32}$", description="What evidence calls it.")
    resolver: str | None = Field(
        None,
        description="`address:port` of its recursive resolver; by default the first of `/etc/resolv.conf`.",
    )
    source: str | None = Field(
        None, description="The local address to ask from; by default the system's choice."
    )


class ValidationSettings(Section):
    """How the validator asks."""

    networks: tuple[str, ...] | None = Field(
        None,
        description="Networks that are served: of addresses that are not public the validator dials these alone. "
        "By default the IP ranges of the issuer's name constraints, without loopback.",
    )
    perspectives: tuple[PerspectiveSettings, ...] = Field(
        (),
        max_length=10,
        description="Vantage points; the first must always agree. Without any there is one, `here`.",
    )
    quorum: int | None = Field(
        None,
        ge=1,
        description="How many vantage points must agree; by default all, or all but one from four on.",
    )
    attempts: int = Field(2, ge=1, le=10, description="How often one that did not answer is asked.")
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long one question may take.")
    http_port: int = Field(80, ge=1, le=65535, description="Port of http-01.")
    https_port: int = Field(443, ge=1, le=65535, description="Port of redirects to https.")
    tls_alpn_port: int = Field(443, ge=1, le=65535, description="Port of tls-alpn-01.")
    caa: bool = Field(True, description="Whether CAA records are looked up and obeyed, at each certificate.")
    caa_identities: tuple[str, ...] | None = Field(
        None,
        description="Domain names by which CAA records allow this authority; by default the DNS names of `api.names`.",
    )

    def all_perspectives(self) -> tuple[PerspectiveSettings, ...]:
        """The vantage points there are."""
        return self.perspectives or (PerspectiveSettings(name="here"),)


class ACMESettings(Section):
    """ACME (RFC 8555), on the API's port."""

    enabled: bool = Field(True, description="Whether it answers at all.")
    url: str | None = Field(
        None,
        pattern=r"^https://[A-Za-z0-9.\-\[\]:]+$",
        description="Where clients reach the API if a proxy stands in between: `https://acme.internal`. "
        "By default the host that they name, where it is one of `api.names`.",
    )
    directories: Mapping[str, ACMEDirectorySettings] = Field(
        default_factory=dict, description="Directories by name; without any there is one, `default`."
    )
    order_seconds: int = Field(
        DAY_SECONDS, ge=300, le=30 * DAY_SECONDS, description="How long an order is open."
    )
    pending_seconds: int = Field(
        DAY_SECONDS, ge=300, le=30 * DAY_SECONDS, description="How long a challenge can be answered."
    )
    valid_seconds: int = Field(
        8 * 3600, ge=60, le=30 * DAY_SECONDS, description="How long a proved name need not be proved again."
    )
    accounts_per_hour: int = Field(60, ge=1, description="New accounts an hour from one address.")
    orders_per_hour: int = Field(300, ge=1, description="New orders an hour of one account.")
    failures_per_hour: int = Field(
        30, ge=1, description="Failed validations an hour of one account and name before it has to wait."
    )
    validation: ValidationSettings = ValidationSettings()

    def all_directories(self) -> Mapping[str, ACMEDirectorySettings]:
        """The directories there are."""
        return self.directories or {"default": ACMEDirectorySettings()}
