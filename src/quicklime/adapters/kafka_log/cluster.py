"""Where the brokers are and how they are spoken to: a URL and what secures it become librdkafka's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quicklime.errors import BrokenState

SCHEMES: Mapping[str, bool] = {"kafka": False, "kafkas": True}
"""Scheme -> whether it means TLS."""

_URL = re.compile(r"(kafkas?)://([A-Za-z0-9.\-_:,\[\]]+)/([A-Za-z0-9._\-]{1,249})")

SOCKET_SECONDS = 6.0
"""How long a request may be unanswered: a broker that was stopped, not killed, says nothing at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SASL:
    """How we say who we are. ``SCRAM-*`` with a name and a password; ``OAUTHBEARER`` with a client at a token endpoint."""

    mechanism: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token_url: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """``url`` is ``kafka://host:port,host:port/topic``, or ``kafkas://`` over TLS. Files are in PEM."""

    url: str
    replicas: int = 3
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    sasl: SASL | None = None

    def __post_init__(self) -> None:
        if _URL.fullmatch(self.url) is None:
            raise BrokenState(
                f"log URL {self.url[:200]!r}, expected kafka://host:port,host:port/topic (kafkas:// over TLS)",
                hint="set log.url (QUICKLIME_LOG__URL)",
            )

    @property
    def topic(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def brokers(self) -> str:
        """host:port of each, separated by commas."""
        return self.url.partition("://")[2].rpartition("/")[0]

    @property
    def min_insync(self) -> int:
        """How many replicas must have a record before it counts: a majority."""
        return self.replicas // 2 + 1

    def settings(self, **more: object) -> dict[str, Any]:
        """For any client of librdkafka's, with ``more`` of its settings (underscores for dots)."""
        return {
            "bootstrap.servers": self.brokers,
            "client.id": "quicklime",
            "log_level": 2,  # what matters comes as an error of the call
            "socket.timeout.ms": int(SOCKET_SECONDS * 1000),
            "socket.keepalive.enable": True,
            "socket.nagle.disable": True,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            **self._security(),
            **{name.replace("_", "."): value for name, value in more.items()},
        }

    def _security(self) -> dict[str, object]:
        tls = SCHEMES[self.url.partition("://")[0]]
        protocol = ("SASL_" if self.sasl else "") + ("SSL" if tls else "PLAINTEXT")
        found: dict[str, object] = {"security.protocol": protocol}
        if tls:
            files = {
                "ssl.ca.location": self.ca,
                "ssl.certificate.location": self.certificate,
                "ssl.key.location": self.key,
            }
            for path in files.values():
                if path is not None and not path.is_file():
                    raise BrokenState(f"no file {str(path)!r}", hint="look at log.tls in the settings")
            found |= {name: str(path) for name, path in files.items() if path is not None}
            found["ssl.endpoint.identification.algorithm"] = "https"
        if self.sasl is not None:
            found |= self._sasl(self.sasl)
        return found

    @staticmethod
    def _sasl(sasl: SASL) -> dict[str, object]:
        found: dict[str, object] = {"sasl.mechanism": sasl.mechanism}
        if sasl.mechanism == "OAUTHBEARER":
            # RFC 7628, Section 3.1: the bearer token, here obtained by the client credentials grant
            return found | {
                "sasl.oauthbearer.method": "oidc",
                "sasl.oauthbearer.token.endpoint.url": sasl.token_url or "",
                "sasl.oauthbearer.client.id": sasl.username or "",
                "sasl.oauthbearer.client.secret": sasl.password or "",
                **({"sasl.oauthbearer.scope": sasl.scope} if sasl.scope else {}),
            }
        return found | {"sasl.username": sasl.username or "", "sasl.password": sasl.password or ""}
