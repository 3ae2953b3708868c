"""The HTTP client of the commands: one authority, its root, a token; problem documents become refusals again."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import httpx

from quicklime.cli.output import CONTEXT, Unreachable, Usage
from quicklime.config import Config
from quicklime.errors import Code, Fault, Reason, Refused
from quicklime.web.problem import TYPE_PREFIX
from quicklime.wiring.settings import api_url

TIMEOUT_SECONDS = 30.0
TRIES = 3

Json = dict[str, Any]


class Client:
    """Asks the authority that the settings name."""

    def __init__(self, config: Config) -> None:
        self.url = (config.server.url or api_url(config, config.api.port)).rstrip("/")
        self._roots = _roots(config)
        self._token = _token(config)
        self._http = httpx.Client(
            base_url=self.url,
            verify=_context(self._roots),
            timeout=TIMEOUT_SECONDS,
            headers={"accept": "application/json"},
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, *, token: bool = True, **query: str | int | None) -> Json:
        """Raises Refused, Unreachable, Fault."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._asked("GET", path, token=token, params=given)

    def post(self, path: str, body: Mapping[str, object], *, token: bool = True) -> Json:
        """Raises Refused, Unreachable, Fault. Tried again under one Idempotency-Key where the answer was lost."""
        given = {key: value for key, value in body.items() if value is not None}
        return self._asked(
            "POST", path, token=token, json=given, headers={"idempotency-key": str(uuid.uuid4())}
        )

    def _asked(self, method: str, path: str, *, token: bool, **more: Any) -> Json:  # noqa: ANN401  httpx's arguments
        headers = dict(more.pop("headers", {}))
        if token and self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        for attempt in range(TRIES):
            try:
                return _answer(self._http.request(method, path, headers=headers, **more))
            except httpx.TransportError as error:
                # a retry is safe: reads change nothing, and the Idempotency-Key makes a second post the first one's
                if attempt == TRIES - 1 or isinstance(error, httpx.ConnectError):
                    raise self._unreachable(error) from None
        raise AssertionError("unreachable")

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        text = str(error) or type(error).__name__
        if "ostname mismatch" in text or "IP address mismatch" in text:
            return Unreachable(
                f"{self.url} shows a certificate for other names: {text}",
                hint="set server.url (QUICKLIME_SERVER__URL) to one of the names in api.names of the authority",
            )
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return Unreachable(
                f"the certificate of {self.url} can't be verified with {self._roots}: {text}",
                hint="set server.roots (QUICKLIME_SERVER__ROOTS) to the root certificate of this authority",
            )
        return Unreachable(
            f"{self.url} does not answer: {text}",
            hint="start it with `quicklime up`, or set server.url (QUICKLIME_SERVER__URL) to where it runs",
        )


def client() -> Client:
    """For the settings of this run."""
    return Client(CONTEXT.config)


def _roots(config: Config) -> Path:
    found = config.server.roots or config.data_dir / "root.pem"
    if not found.is_file():
        raise Usage(
            f"no root certificate in {found}",
            hint="set server.roots (QUICKLIME_SERVER__ROOTS) to the root certificate of the authority",
        )
    return found


def _token(config: Config) -> str | None:
    if config.server.token is not None:
        return config.server.token.get_secret_value()
    if config.server.token_file is not None:
        return _read_token(config.server.token_file)
    first = config.data_dir / "first-token"
    return _read_token(first) if first.is_file() else None


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"can't read the token in {path}: {error}") from None


def _context(roots: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(roots))
    except (OSError, ssl.SSLError) as error:
        raise Usage(f"{roots} holds no certificates in PEM: {error}") from None


def _answer(response: httpx.Response) -> Json:
    try:
        content = cast("Json", response.json())
    except ValueError:
        raise Fault(f"the answer ({response.status_code}) is not JSON; is this a Quicklime?") from None
    if response.is_success:
        return content
    if not str(content.get("type", "")).startswith(TYPE_PREFIX):
        raise Fault(f"{content.get('detail', 'the authority failed')} ({content.get('instance', 'no id')})")
    reasons = [
        Reason(_code(one.get("code", "")), str(one.get("detail", "")), one.get("field"))
        for one in content.get("reasons", ())
    ]
    raise Refused.of(
        reasons or [Reason(_code(str(content["type"]).removeprefix(TYPE_PREFIX)), str(content.get("detail")))]
    )


def _code(text: str) -> Code:
    try:
        return Code(text)
    except ValueError:
        return Code.REQUEST_MALFORMED  # a later version's code: its detail says what it means
