"""CRLs and issuers' certificates over plain HTTP: ``/crl/<issuer>.crl``, ``/issuers/<issuer>.cer``, ``/roots/<issuer>.cer``.

RFC 5280, Sections 4.2.1.13 and 4.2.2.1 (what certificates point to); RFC 2585, Section 4 (media types).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate

from quicklime.lifecycle.issuer import Authority
from quicklime.services.crl.publisher import Publisher
from quicklime.web.status_http import Handler, Request, Response, failure

CRL_MEDIA_TYPE = "application/pkix-crl"
CERTIFICATE_MEDIA_TYPE = "application/pkix-cert"
CERTIFICATE_SECONDS = 86_400

_PATH = re.compile(rb"/(?:(crl)/([0-9a-f]{40})\.crl|(issuers|roots)/([0-9a-f]{40})\.cer)")


def handler(
    publisher: Publisher, authority: Callable[[], Authority | None], clock: Callable[[], int]
) -> Handler:
    """Answers what is asked under these paths."""

    def handle(request: Request) -> Response:
        found = _PATH.fullmatch(request.target.partition(b"?")[0])
        if found is None:
            return failure(404)
        if request.method not in {"GET", "HEAD"}:
            return failure(405, ("allow", "GET, HEAD"))
        if found[1]:
            return _crl(publisher, found[2].decode(), request, clock())
        return _certificate(authority(), found[3].decode(), found[4].decode())

    return handle


def _crl(publisher: Publisher, issuer: str, request: Request, now: int) -> Response:
    current = publisher.current(issuer)
    if current is None:
        return failure(404)
    headers = (
        (
            "cache-control",
            f"max-age={_age(current.this_update, current.next_update, now)}, public, no-transform",
        ),
        ("expires", formatdate(current.next_update, usegmt=True)),
        ("last-modified", formatdate(current.this_update, usegmt=True)),
        ("etag", f'"{current.etag}"'),
    )
    known = request.headers.get(b"if-none-match", b"").decode("latin-1")
    if f'"{current.etag}"' in known or known.strip() == "*":
        return Response(status=304, headers=headers)
    return Response(media_type=CRL_MEDIA_TYPE, body=current.der, headers=headers)


def _age(this_update: int, next_update: int, now: int) -> int:
    """A tenth of the list's life, so that caches see a revocation soon, and never past its end."""
    return max(0, min((next_update - this_update) // 10, next_update - now, 3600))


def _certificate(authority: Authority | None, role: str, issuer: str) -> Response:
    found = None if authority is None else authority.issuer(issuer)
    if found is None or found.role != {"issuers": "intermediate", "roots": "root"}[role]:
        return failure(404)
    headers = (("cache-control", f"max-age={CERTIFICATE_SECONDS}, public"),)
    return Response(media_type=CERTIFICATE_MEDIA_TYPE, body=found.certificate, headers=headers)
