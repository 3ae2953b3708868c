"""CRLs and issuers' certificates over plain HTTP: what certificates point to.

``/crl/<issuer>.crl``, ``/crl/<issuer>/<shards>/<shard>.crl``, each with ``-delta`` before the dot for its delta list;
``/issuers/<issuer>.cer``, ``/roots/<issuer>.cer``. RFC 5280, Sections 4.2.1.13 and 4.2.2.1; RFC 2585, Section 4 (media types).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from hashlib import sha256

from quicklime.lifecycle.issuer import Authority
from quicklime.pki.shards import CRL_SHARDS_MAX, Scope
from quicklime.services.crl.shelf import Lists
from quicklime.web import conditional
from quicklime.web.conditional import Representation
from quicklime.web.status_message import Handler, Request, Response, failure

CRL_MEDIA_TYPE = "application/pkix-crl"
CERTIFICATE_MEDIA_TYPE = "application/pkix-cert"
CERTIFICATE_SECONDS = 86_400
AGE_SECONDS_MAX = 3600

_LIST = re.compile(rb"/crl/([0-9a-f]{40})(?:/([1-9][0-9]{0,3})/(0|[1-9][0-9]{0,3}))?(-delta)?\.crl")
_CERTIFICATE = re.compile(rb"/(issuers|roots)/([0-9a-f]{40})\.cer")


def handler(lists: Lists, authority: Callable[[], Authority | None], clock: Callable[[], int]) -> Handler:
    """Answers what is asked under these paths."""

    def handle(request: Request) -> Response:
        path = request.target.partition(b"?")[0]
        found = _LIST.fullmatch(path)
        certificate = None if found else _CERTIFICATE.fullmatch(path)
        if found is None and certificate is None:
            return failure(404)
        if request.method not in {"GET", "HEAD"}:
            return failure(405, ("allow", "GET, HEAD"))
        if found is not None:
            return _crl(lists, found, request, clock())
        assert certificate is not None
        return _certificate(authority(), certificate[1].decode(), certificate[2].decode(), request)

    return handle


def _crl(lists: Lists, path: re.Match[bytes], request: Request, now: int) -> Response:
    shards, shard = int(path[2] or 1), int(path[3] or 0)
    # one list has one name: what is one of one is the plain one
    if (path[2] is not None and shards == 1) or not shard < shards <= CRL_SHARDS_MAX:
        return failure(404)
    scope = Scope(issuer=path[1].decode(), shards=shards, shard=shard)
    current = lists.published(scope, delta=path[4] is not None)
    if current is None:
        return failure(404)
    body = lists.body(current)
    if body is None:
        return failure(503, ("retry-after", "1"))
    age = _age(current.this_update, current.next_update, now)
    return conditional.answer(
        request,
        Representation(
            media_type=CRL_MEDIA_TYPE,
            body=body,
            etag=current.crl_sha256.hex()[:32],
            last_modified=current.this_update,
            headers=(
                ("cache-control", f"max-age={age}, public, no-transform"),
                ("expires", formatdate(now + age, usegmt=True)),
            ),
        ),
    )


def _age(this_update: int, next_update: int, now: int) -> int:
    """A tenth of the list's life, so that caches see a revocation soon, and never past its end."""
    return max(0, min((next_update - this_update) // 10, next_update - now, AGE_SECONDS_MAX))


def _certificate(authority: Authority | None, role: str, issuer: str, request: Request) -> Response:
    found = None if authority is None else authority.issuer(issuer)
    if found is None or found.role != {"issuers": "intermediate", "roots": "root"}[role]:
        return failure(404)
    return conditional.answer(
        request,
        Representation(
            media_type=CERTIFICATE_MEDIA_TYPE,
            body=found.certificate,
            etag=sha256(found.certificate).hexdigest()[:32],
            last_modified=found.added_at,
            headers=(("cache-control", f"max-age={CERTIFICATE_SECONDS}, public"),),
        ),
    )
