"""A certificate on its way to whoever got it, in the form that they accept: JSON, the chain in PEM, the leaf in DER."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from quicklime.authority.commands import Granted
from quicklime.web.render import (
    JSON_MEDIA_TYPE,
    accepted,
    base64url,
    json_response,
    pem,
    pem_of_issuer,
    timestamp,
)

CHAIN_MEDIA_TYPE = "application/pem-certificate-chain"
LEAF_MEDIA_TYPE = "application/pkix-cert"


def form_of(request: Request) -> str:
    """In which form the client takes a certificate. To be asked before anything is issued: what nobody can be given would be
    issued for nothing, with a secret that nobody has heard. Raises Refused (``not-acceptable``).
    """
    return accepted(request, (JSON_MEDIA_TYPE, CHAIN_MEDIA_TYPE, LEAF_MEDIA_TYPE, "application/x-pem-file"))


def granted(form: str, grant: Granted) -> Response:
    """201 with the certificate, 200 where an earlier request got it. The revocation secret is told here only."""
    certificate = grant.certificate
    status = 200 if grant.repeated else 201
    secret = base64url(grant.revocation_secret)
    challenge = base64url(certificate.challenge)
    location = f"/v1/certificates/{certificate.serial}"
    leaf = pem(grant.chain[0])
    intermediates = b"".join(map(pem_of_issuer, grant.chain[1:]))
    if form == JSON_MEDIA_TYPE:
        content = {
            "serial": certificate.serial,
            "issuer": certificate.issuer,
            "profile": certificate.profile,
            "names": certificate.names,
            "not_before": timestamp(certificate.not_before),
            "not_after": timestamp(certificate.not_after),
            "certificate": leaf.decode(),
            "chain": (leaf + intermediates).decode(),
            "revocation_secret": secret,
            "renewal_challenge": challenge,
            "log_offset": grant.offset,
            "lineage": certificate.lineage,
            "node": certificate.node,
            "predecessor": certificate.predecessor,
        }
        return json_response(content, status, {"location": location})
    headers = {
        "location": location,
        "quicklime-serial": certificate.serial,
        "quicklime-revocation-secret": secret,
        "quicklime-renewal-challenge": challenge,
        "quicklime-log-offset": str(grant.offset),
    }
    if form == LEAF_MEDIA_TYPE:
        return Response(grant.chain[0], status, headers, LEAF_MEDIA_TYPE)
    return Response(leaf + intermediates, status, headers, form)
