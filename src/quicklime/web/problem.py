"""Refusals and faults as problem documents (RFC 9457).

``type`` is ``urn:quicklime:error:<code>``; a code, once released, keeps its meaning for ever. All that is wrong with a
request is in ``reasons``. Of a fault only an id leaves; what happened stands in our log lines under that id.

``REGISTRY`` is the documentation too: ``docs/reference/errors.md`` is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.responses import Response

from quicklime.errors import Code, Fault, Refused
from quicklime.log import AppendFailed, AppendUnknown, LogUnreadable
from quicklime.pki.signer import SignerUnavailable
from quicklime.projection import StoreUnavailable

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:quicklime:error:"
RETRY_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """How a code looks from outside: HTTP status, a title that never changes, and what to do about it."""

    status: int
    title: str
    remedy: str


C = Code
REGISTRY: Final[Mapping[Code, Entry]] = {
    C.REQUEST_MALFORMED: Entry(
        400, "Malformed request", "Mend what `reasons` names; unknown members are refused too."
    ),
    C.REQUEST_TOO_LARGE: Entry(413, "Request too large", "Send less; the limit is `limits.body_octets`."),
    C.NOT_FOUND: Entry(404, "Nothing here", "See the reference of the HTTP API for the paths there are."),
    C.METHOD_NOT_ALLOWED: Entry(405, "Method not allowed", "Use one of the methods in `Allow`."),
    C.MEDIA_TYPE_UNSUPPORTED: Entry(
        415, "Unsupported media type", "Send one of the media types that `detail` names."
    ),
    C.NOT_ACCEPTABLE: Entry(406, "Not acceptable", "Accept one of the media types that `detail` names."),
    C.RATE_LIMITED: Entry(429, "Too many requests", "Wait as long as `Retry-After` says."),
    C.IDEMPOTENCY_CONFLICT: Entry(
        409, "Idempotency key used for another request", "Use a new key for a new request."
    ),
    C.UNAUTHENTICATED: Entry(
        401, "Nobody is asking", "Send `Authorization: Bearer` with a token, or a client certificate."
    ),
    C.FORBIDDEN: Entry(403, "Not permitted", "Use a token whose role has the permission."),
    C.TOKEN_EXPIRED: Entry(401, "Token expired", "Ask an administrator for a new token."),
    C.TOKEN_EXHAUSTED: Entry(403, "Token used up", "Ask an administrator for a new token."),
    C.TOKEN_REVOKED: Entry(401, "Token revoked", "Ask an administrator for a new token."),
    C.TOKEN_UNKNOWN: Entry(
        401, "Token unknown", "Look whether the token was copied whole, and is of this authority."
    ),
    C.ACCOUNT_UNKNOWN: Entry(
        404, "Unknown ACME account", "Look at the id; `quicklime acme account list` names all."
    ),
    C.ACCOUNT_CLOSED: Entry(
        403, "ACME account closed", "Make a new account; a closed one is never opened again."
    ),
    C.ACCOUNT_EXISTS: Entry(409, "ACME account exists", "Use the account that has this key, or another key."),
    C.BINDING_UNUSABLE: Entry(
        403, "Binding key unusable", "Ask an administrator for a new key (`quicklime acme eab create`)."
    ),
    C.QUOTA_EXHAUSTED: Entry(403, "Quota used up", "Ask an administrator for a new key with a larger quota."),
    C.CSR_MALFORMED: Entry(400, "Malformed CSR", "Send one PKCS#10 request, DER or PEM."),
    C.CSR_SIGNATURE_INVALID: Entry(400, "Invalid CSR signature", "Sign the CSR with the key that it holds."),
    C.CSR_ALGORITHM_REFUSED: Entry(
        400, "CSR signed with a refused algorithm", "Sign with SHA-256 or better."
    ),
    C.KEY_TYPE_NOT_ALLOWED: Entry(
        403, "Key type not allowed", "Use a key of a type that the profile allows."
    ),
    C.KEY_WEAK: Entry(400, "Weak key", "Make a new key; this one can be broken or is known to others."),
    C.KEY_COMPROMISED: Entry(
        403, "Compromised key", "Make a new key; a certificate of this one was revoked for keyCompromise."
    ),
    C.KEY_NOT_ALLOWED: Entry(403, "Key not allowed", "Make a key of your own; this one is the authority's."),
    C.EXTENSION_REFUSED: Entry(
        400, "Refused extension in CSR", "Leave out the extension; profiles decide about extensions."
    ),
    C.NAME_MALFORMED: Entry(
        400, "Malformed name", "Write DNS names in A-labels without trailing dot, addresses as in RFC 5952."
    ),
    C.NAME_TYPE_REFUSED: Entry(400, "Refused type of name", "Ask for DNS names and IP addresses only."),
    C.NAME_NOT_ALLOWED: Entry(403, "Name not allowed", "Ask for names that the token and the profile allow."),
    C.NAME_OUTSIDE_ISSUER: Entry(
        403, "Name outside the issuer's constraints", "Ask for names inside the issuer's name constraints."
    ),
    C.NAMES_MISSING: Entry(400, "No names", "Name at least one."),
    C.NAMES_TOO_MANY: Entry(400, "Too many names", "Spread the names over several certificates."),
    C.NAMES_WIDENED: Entry(
        403, "Names widened at renewal", "Renew with the old names or fewer; issue anew for others."
    ),
    C.PROFILE_UNKNOWN: Entry(400, "Unknown profile", "Use one of the profiles of `GET /v1/profiles`."),
    C.PROFILE_NOT_ALLOWED: Entry(403, "Profile not allowed", "Use a profile that the token allows."),
    C.VALIDITY_NOT_ALLOWED: Entry(
        400, "Validity not allowed", "Ask for at most the profile's longest lifetime."
    ),
    C.ISSUER_UNKNOWN: Entry(404, "Unknown issuer", "Use an issuer of `GET /v1/issuers`."),
    C.ISSUER_UNAVAILABLE: Entry(
        503, "Issuer unavailable", "Retry later; the operator finds the cause by `quicklime doctor`."
    ),
    C.ISSUER_CERTIFICATE_INVALID: Entry(
        400, "Issuer certificate invalid", "Have the CSR of `quicklime issuer rotate` signed by the root."
    ),
    C.CERTIFICATE_UNKNOWN: Entry(
        404, "Unknown certificate", "Look at the serial; this authority issued no such certificate."
    ),
    C.CERTIFICATE_REVOKED: Entry(
        409, "Certificate revoked", "Issue a new certificate; a revoked one is never renewed."
    ),
    C.CERTIFICATE_EXPIRED: Entry(
        409, "Certificate expired", "Issue a new certificate; the time for renewing is over."
    ),
    C.CERTIFICATE_NOT_ISSUED: Entry(
        409, "Certificate not issued", "Retry; the plan of this certificate came to nothing."
    ),
    C.ALREADY_RENEWED: Entry(
        409, "Already renewed", "Use the successor that `detail` names, and renew that."
    ),
    C.RENEWAL_IN_PROGRESS: Entry(
        409, "Renewal in progress", "Wait as long as `Retry-After` says, then look for the successor."
    ),
    C.RENEWAL_SIGNATURE_INVALID: Entry(
        403, "Invalid renewal signature", "Sign challenge and CSR with the old certificate's key."
    ),
    C.REVOCATION_PROOF_INVALID: Entry(
        403,
        "Invalid revocation proof",
        "Send the certificate's secret, a signature of its key, or an operator's token.",
    ),
    C.REVOCATION_REASON_INVALID: Entry(400, "Invalid revocation reason", "Use a reason that `detail` names."),
    C.INVALIDITY_DATE_INVALID: Entry(
        400, "Invalid invalidity date", "Name a moment between notBefore and now."
    ),
    C.BUSY: Entry(503, "Busy", "Retry after what `Retry-After` says."),
    C.LOG_UNAVAILABLE: Entry(
        503, "Log unavailable", "Retry with the same Idempotency-Key after what `Retry-After` says."
    ),
    C.LINT_FAILED: Entry(
        500,
        "Certificate failed its lint",
        "Tell the operator: profile and names make a certificate that breaks a standard.",
    ),
}


class Document(msgspec.Struct, omit_defaults=True):
    """A problem document; ``reasons`` is our extension member (RFC 9457, Section 3.2)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    reasons: list[dict[str, str]] = []


_encode = msgspec.json.Encoder().encode


def respond(error: Exception, instance: str | None = None) -> Response:
    """The response to ``error``: a Refused with all its reasons; a Fault (or anything else) without a word of what it was.

    ``instance`` is the id under which our log lines tell about this request.
    """
    refused = error if isinstance(error, Refused) else refusal_of(error)
    if refused is None:
        return _response(
            Document(
                "about:blank",
                "Internal error",
                500,
                "the request failed for a reason of ours",
                _urn(instance),
            ),
            {},
        )
    entry = REGISTRY[refused.code]
    reasons = [
        {"code": str(one.code), "detail": one.detail} | ({} if one.field is None else {"field": one.field})
        for one in refused.reasons
    ]
    document = Document(
        f"{TYPE_PREFIX}{refused.code}",
        entry.title,
        entry.status,
        str(refused.reasons[0].detail),
        _urn(instance),
        reasons,
    )
    headers = {}
    retry = refused.retry_after_seconds or (RETRY_SECONDS if entry.status in {429, 503} else None)
    if retry is not None:
        headers["retry-after"] = str(retry)
    if entry.status == 401:
        # RFC 6750, Section 3
        headers["www-authenticate"] = 'Bearer realm="quicklime"'
    return _response(document, headers)


def refusal_of(error: Exception) -> Refused | None:
    """What a requester may know of ``error``: that the log or the key is away, and a retry is safe. None for the rest."""
    if isinstance(error, AppendFailed | AppendUnknown | LogUnreadable):
        return Refused(
            Code.LOG_UNAVAILABLE, "the log can't take or show records now", retry_after_seconds=RETRY_SECONDS
        )
    if isinstance(error, StoreUnavailable):
        return Refused(
            Code.LOG_UNAVAILABLE, "the views of the log can't be read now", retry_after_seconds=RETRY_SECONDS
        )
    if isinstance(error, SignerUnavailable):
        return Refused(
            Code.ISSUER_UNAVAILABLE, "the issuer's key can't be used now", retry_after_seconds=RETRY_SECONDS
        )
    return None


def is_ours(error: Exception) -> bool:
    """Whether ``error`` must be told in our log lines: everything but a refusal."""
    return isinstance(error, Fault) or not isinstance(error, Refused)


def _response(document: Document, headers: dict[str, str]) -> Response:
    return Response(_encode(document), document.status, headers, MEDIA_TYPE)


def _urn(instance: str | None) -> str | None:
    return None if instance is None else f"urn:quicklime:request:{instance}"
