"""Who is asking: a bearer token, a session of the dashboard, or a client certificate of this authority. Judging what they
may is ``policy``'s.

A token, where one is sent, decides alone: whoever sends a wrong one gets no second chance by a certificate. A certificate
counts only if the TLS handshake proved its key *and* the log knows exactly this certificate as issued and unrevoked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request

from quicklime.errors import Code, Refused
from quicklime.events import Requester
from quicklime.lifecycle.certificate import Certificate
from quicklime.lifecycle.token import Token, why_unusable
from quicklime.policy import CertificateRule, Identity, identity_of_certificate
from quicklime.web.limits import Rate
from quicklime.web.session import Sessions

TOKEN_CHARACTERS_MAX = 200
PEER_CERTIFICATE = "quicklime.peer_certificate"
"""Key of the ASGI scope's ``extensions``: the verified client certificate, DER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Turns a request into an identity.

    ``token_by_hash``, ``certificate`` and ``token`` look into the state; ``failures`` slows down who guesses, by address.
    ``sessions`` reads the cookies of the dashboard; without it there are none.
    """

    token_by_hash: Callable[[bytes], Token | None]
    certificate: Callable[[str], Certificate | None]
    rules: Sequence[CertificateRule]
    clock: Callable[[], int]
    failures: Rate
    token: Callable[[str], Token | None] = lambda _: None
    sessions: Sessions | None = None

    def identify(self, request: Request) -> Identity:
        """Who is asking. Raises Refused: ``unauthenticated``, ``token-*``, ``rate-limited``."""
        found = self.identify_or_none(request)
        if found is None:
            raise Refused(Code.UNAUTHENTICATED, "no bearer token and no client certificate")
        return found

    def identify_or_none(self, request: Request) -> Identity | None:
        """Who is asking, None where they do not say. Raises Refused where what they say is wrong."""
        header = request.headers.get("authorization")
        peer = peer_certificate(request)
        if header is None and self.sessions is not None and self.sessions.is_shown(request):
            # the cookie is sealed: there is nothing to guess at, so nothing to slow down
            return self._of_token(self.token(self.sessions.token_of(request, self.clock())))
        if header is None and peer is None:
            return None
        address = address_of(request)
        if not self.failures.allows(address):
            raise self.failures.refusal()
        try:
            if len(request.headers.getlist("authorization")) > 1:
                # whoever stands between the client and us may have read another of them
                raise Refused(Code.UNAUTHENTICATED, "more than one authorization")
            return self._by_token(header) if header is not None else self._by_certificate(peer or b"")
        except Refused:
            self.failures.note(address)
            raise

    def _by_token(self, header: str) -> Identity:
        scheme, _, text = header.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not 0 < len(text) <= TOKEN_CHARACTERS_MAX:
            raise Refused(Code.UNAUTHENTICATED, "the authorization is not 'Bearer' with a token")
        # found by its SHA-256: a comparison that leaks its progress would leak a hash of what the attacker sent
        return self._of_token(self.token_by_hash(sha256(text.encode()).digest()))

    def identify_by_token(self, text: str, request: Request) -> tuple[Identity, Token]:
        """Who has this token, and the token, wherever in the request it stood. Raises Refused as ``identify``."""
        address = address_of(request)
        if not self.failures.allows(address):
            raise self.failures.refusal()
        try:
            token = self.token_by_hash(sha256(text.encode()).digest())
            identity = self._of_token(token)
        except Refused:
            self.failures.note(address)
            raise
        assert token is not None
        return identity, token

    def _of_token(self, token: Token | None) -> Identity:
        if token is None:
            raise Refused(Code.TOKEN_UNKNOWN, "no token like this is known")
        reason = why_unusable(token, self.clock())
        # a token that is used up still says who is asking: it may read what it got, and retry what it asked
        if reason is not None and reason.code != Code.TOKEN_EXHAUSTED:
            raise Refused(reason.code, reason.detail)
        return Identity(
            requester=Requester(kind="token", id=token.token, role=token.role),
            role=token.role,
            names=token.names,
            profiles=token.profiles,
            label=token.label,
        )

    def _by_certificate(self, der: bytes) -> Identity:
        shown = x509.load_der_x509_certificate(der)
        known = self.certificate(f"{shown.serial_number:040x}")
        spki = shown.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if (
            known is None
            or known.public_key != spki
            or sha256(shown.tbs_certificate_bytes).digest() != known.tbs_sha256
        ):
            raise Refused(
                Code.UNAUTHENTICATED, "the client certificate is not one that this authority issued"
            )
        if known.status == "revoked":
            raise Refused(Code.UNAUTHENTICATED, f"the client certificate {known.serial} is revoked")
        if not known.is_valid(self.clock()):
            raise Refused(Code.UNAUTHENTICATED, f"the client certificate {known.serial} is not valid now")
        return identity_of_certificate(known.serial, known.names, tuple(self.rules))


def peer_certificate(request: Request) -> bytes | None:
    """The client certificate that the TLS handshake verified, DER; None where the client showed none."""
    found = request.scope.get("extensions", {}).get(PEER_CERTIFICATE)
    return found if isinstance(found, bytes) else None


def address_of(request: Request) -> str:
    """The client's address as the socket has it; headers of proxies are not believed."""
    return request.client.host if request.client is not None else "unknown"
