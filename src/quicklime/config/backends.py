"""Where the log is, and where the views are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from quicklime.config.section import Section


class TLSSettings(Section):
    """TLS to the brokers, or to the store. Files in PEM."""

    ca: Path | None = Field(None, description="Roots to trust; by default those of the system.")
    certificate: Path | None = Field(
        None, description="Our certificate, with its chain, where they ask for one."
    )
    key: Path | None = Field(None, description="The key of our certificate.")


class SASLSettings(Section):
    """Who we are to the brokers."""

    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None, description="How we say who we are; without it, we do not, or by `log.tls.certificate`."
    )
    username: str | None = Field(None, description="The user; with OAUTHBEARER, the client's id.")
    password: SecretStr | None = Field(
        None, description="The password; with OAUTHBEARER, the client's secret."
    )
    token_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OAUTHBEARER: where a token is had (client credentials grant).",
    )
    scope: str | None = Field(None, description="OAUTHBEARER: the scope to ask for.")


class LogSettings(Section):
    """Where the log is."""

    url: str | None = Field(
        None,
        description="`kafka://host:port,host:port/topic` (`kafkas://` over TLS), or `sqlite:` with a path; by default "
        "`log.sqlite` in the data directory.",
    )
    replicas: int = Field(
        3,
        ge=1,
        le=15,
        description="Kafka: how many brokers must hold each record; a majority of them before it counts.",
    )
    tls: TLSSettings = TLSSettings()
    sasl: SASLSettings = SASLSettings()


class ViewsSettings(Section):
    """Where the views are. They are made of the log and may be lost."""

    url: str | None = Field(
        None,
        description="`valkey://host:port/number` (`valkeys://` over TLS; `redis://`, `rediss://` mean the same); by default "
        "LMDB in the data directory.",
    )
    prefix: str = Field(
        "quicklime",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Valkey: what all our keys begin with; another authority in the same store takes another.",
    )
    username: str | None = Field(None, description="Valkey: the user, where it has users.")
    password: SecretStr | None = Field(None, description="Valkey: the password.")
    tls: TLSSettings = TLSSettings()
