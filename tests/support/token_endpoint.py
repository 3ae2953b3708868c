"""An OAuth 2.0 token endpoint on loopback for one client: the client credentials grant (RFC 6749, Section 4.4), JWTs signed by RS256."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

CLIENT, SECRET = "quicklime", "client secret"
ISSUER, AUDIENCE, KEY_ID = "https://people.lab.internal", "kafka", "1"


class TokenEndpoint:
    """``jwks`` is what a broker checks tokens with."""

    def __init__(self, url: str, key: rsa.RSAPrivateKey) -> None:
        self.url = url
        self._key = key
        self.given = 0

    @property
    def jwks(self) -> str:
        numbers = self._key.public_key().public_numbers()
        one = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        return json.dumps({"keys": [one]})

    def token(self) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": CLIENT, "iat": now, "exp": now + 300}
        signed = f"{_part({'alg': 'RS256', 'kid': KEY_ID, 'typ': 'JWT'})}.{_part(claims)}"
        self.given += 1
        return f"{signed}.{_text(self._key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


@contextlib.contextmanager
def serving() -> Iterator[TokenEndpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            # RFC 6749, Section 2.3.1: the client may say who it is by HTTP Basic or in the form
            basic = self.headers.get("authorization", "").removeprefix("Basic ")
            known = b64decode(basic).decode() == f"{CLIENT}:{SECRET}" or form.get("client_secret") == [SECRET]
            good = known and form.get("grant_type") == ["client_credentials"]
            answer = (
                {"access_token": endpoint.token(), "token_type": "Bearer", "expires_in": 300}
                if good
                else {"error": "invalid_client"}
            )
            body = json.dumps(answer).encode()
            self.send_response(200 if good else 401)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the terminal of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = TokenEndpoint(
        f"http://127.0.0.1:{server.server_address[1]}/token",
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()


def _text(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _part(content: dict[str, Any]) -> str:
    return _text(json.dumps(content).encode())
