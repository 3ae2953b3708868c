"""ACME's messages: what clients send, what they are sent, and the errors in ACME's own words. No I/O.

Members that are not known are ignored, as the standard asks (RFC 8555, Section 7.1.2 and the like); what is known must be of its
type. Times are RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from quicklime.errors import Code, Reason, Refused
from quicklime.lifecycle.order import Authorization, Order
from quicklime.pki.jws import Unacceptable, base64url, object_of, octets_of
from quicklime.pki.names import NAMES_MAX, check_dns, parse_name, quoted

TYPE_PREFIX: Final = "urn:ietf:params:acme:error:"
CONTACTS_MAX: Final = 10
CONTACT_CHARACTERS_MAX: Final = 320
IDENTIFIER_CHARACTERS_MAX: Final = 512

Shape = TypeVar("Shape")

# RFC 8555, Section 6.7, with RFC 9773, Section 7.4 (alreadyReplaced) and the profiles extension (invalidProfile)
_STATUS: Final[Mapping[str, int]] = {
    "alreadyReplaced": 409,
    "caa": 403,
    "compound": 403,
    "externalAccountRequired": 403,
    "incorrectResponse": 403,
    "orderNotReady": 403,
    "rateLimited": 429,
    "rejectedIdentifier": 403,
    "serverInternal": 500,
    "unauthorized": 403,
    "userActionRequired": 403,
}

_TYPES: Final[Mapping[Code, str]] = {
    Code.RATE_LIMITED: "rateLimited",
    Code.FORBIDDEN: "unauthorized",
    Code.ACCOUNT_UNKNOWN: "accountDoesNotExist",
    Code.ACCOUNT_CLOSED: "unauthorized",
    Code.BINDING_UNUSABLE: "unauthorized",
    Code.QUOTA_EXHAUSTED: "unauthorized",
    Code.CSR_MALFORMED: "badCSR",
    Code.CSR_SIGNATURE_INVALID: "badCSR",
    Code.CSR_ALGORITHM_REFUSED: "badCSR",
    Code.KEY_TYPE_NOT_ALLOWED: "badCSR",
    Code.KEY_WEAK: "badCSR",
    Code.KEY_COMPROMISED: "badCSR",
    Code.KEY_NOT_ALLOWED: "badCSR",
    Code.EXTENSION_REFUSED: "badCSR",
    Code.NAME_TYPE_REFUSED: "unsupportedIdentifier",
    Code.NAME_NOT_ALLOWED: "rejectedIdentifier",
    Code.NAME_OUTSIDE_ISSUER: "rejectedIdentifier",
    Code.PROFILE_UNKNOWN: "invalidProfile",
    Code.PROFILE_NOT_ALLOWED: "invalidProfile",
    Code.ISSUER_UNAVAILABLE: "serverInternal",
    Code.ALREADY_RENEWED: "alreadyReplaced",
    Code.RENEWAL_IN_PROGRESS: "alreadyReplaced",
    Code.CERTIFICATE_REVOKED: "alreadyRevoked",
    Code.REVOCATION_REASON_INVALID: "badRevocationReason",
    Code.IDEMPOTENCY_CONFLICT: "orderNotReady",
    Code.BUSY: "serverInternal",
    Code.LOG_UNAVAILABLE: "serverInternal",
    Code.LINT_FAILED: "serverInternal",
}
_OTHER_STATUS: Final[Mapping[Code, int]] = {
    Code.REQUEST_TOO_LARGE: 413,
    Code.MEDIA_TYPE_UNSUPPORTED: 415,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.CERTIFICATE_UNKNOWN: 404,
    Code.ISSUER_UNAVAILABLE: 503,
    Code.BUSY: 503,
    Code.LOG_UNAVAILABLE: 503,
}


class Problem(Exception):
    """An ACME error. ``type`` is the last part of its URN; ``subproblems`` are (type, detail, typed name)."""

    def __init__(
        self,
        type: str,
        detail: str,
        *,
        status: int | None = None,
        subproblems: Sequence[tuple[str, str, str]] = (),
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
        algorithms: Sequence[str] = (),
    ) -> None:
        super().__init__(detail)
        self.type = type
        self.status = _STATUS.get(type, 400) if status is None else status
        self.subproblems = tuple(subproblems)
        self.retry_after_seconds = retry_after_seconds
        self.headers = dict(headers or {})
        self.algorithms = tuple(algorithms)

    def document(self) -> dict[str, object]:
        """RFC 9457, with ACME's members (RFC 8555, Sections 6.2 and 6.7.1)."""
        found: dict[str, object] = error_of(self.type, str(self)) | {"status": self.status}
        if self.subproblems:
            found["subproblems"] = [
                error_of(kind, detail) | {"identifier": identifier_of(name)}
                for kind, detail, name in self.subproblems
            ]
        if self.algorithms:
            found["algorithms"] = list(self.algorithms)
        return found


def error_of(type: str, detail: str) -> dict[str, object]:
    return {"type": TYPE_PREFIX + type, "detail": detail}


def problem_of(refused: Refused, names: Sequence[str] = ()) -> Problem:
    """A refusal in ACME's words; reasons about ``names[i]`` become subproblems of that name."""
    found = [(_TYPES.get(reason.code, "malformed"), reason) for reason in refused.reasons]
    subproblems = [
        (kind, reason.detail, names[place])
        for kind, reason in found
        if (place := _place(reason, len(names))) is not None
    ]
    kind, first = found[0]
    if len({one for one, _, _ in subproblems}) > 1 and len(subproblems) == len(found):
        kind = "compound"
    return Problem(
        kind,
        first.detail if len(found) == 1 else "; ".join(reason.detail for _, reason in found[:5]),
        status=_OTHER_STATUS.get(first.code),
        subproblems=subproblems,
        retry_after_seconds=refused.retry_after_seconds,
    )


def _place(reason: Reason, count: int) -> int | None:
    field = reason.field or ""
    if field.startswith("names[") and field[6:-1].isdecimal():
        place = int(field[6:-1])
        return place if place < count else None
    return None


# --- what clients send ----------------------------------------------------------------------------------------------


class Identifier(msgspec.Struct, frozen=True):
    type: str
    value: str


class NewAccount(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555, Section 7.3."""

    contact: list[str] | None = None
    terms_of_service_agreed: bool = False
    only_return_existing: bool = False
    external_account_binding: dict[str, Any] | None = None


class AccountUpdate(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555, Sections 7.3.2 and 7.3.6."""

    contact: list[str] | None = None
    terms_of_service_agreed: bool | None = None
    status: str | None = None


class NewOrder(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555, Section 7.4; ``replaces`` is of RFC 9773, Section 5."""

    identifiers: list[Identifier]
    not_before: str | None = None
    not_after: str | None = None
    profile: str | None = None
    replaces: str | None = None


class NewAuthorization(msgspec.Struct, frozen=True):
    """RFC 8555, Section 7.4.1."""

    identifier: Identifier


class Finalize(msgspec.Struct, frozen=True):
    csr: str


class Deactivate(msgspec.Struct, frozen=True):
    status: str


class Revoke(msgspec.Struct, frozen=True):
    """RFC 8555, Section 7.6."""

    certificate: str
    reason: int = 0


class KeyChange(msgspec.Struct, frozen=True, rename="camel"):
    """RFC 8555, Section 7.3.5."""

    account: str
    old_key: dict[str, Any]


def payload_of(octets: bytes, shape: type[Shape]) -> Shape:
    """The payload as ``shape``. Raises Problem (``malformed``)."""
    try:
        found = object_of(octets, "the payload")
        return msgspec.convert(found, shape)
    except (Unacceptable, msgspec.ValidationError) as error:
        raise Problem("malformed", f"payload: {error}") from None


def names_of(identifiers: Sequence[Identifier]) -> tuple[str, ...]:
    """The typed names of an order: each once, in the order given. Raises Problem with a subproblem for each that is wrong."""
    if not 0 < len(identifiers) <= NAMES_MAX:
        raise Problem("malformed", f"{len(identifiers)} identifiers, expected 1 to {NAMES_MAX}")
    faults: list[tuple[str, str, str]] = []
    names: dict[str, None] = {}
    for one in identifiers:
        try:
            names[_name_of(one)] = None
        except Problem as problem:
            faults.append((problem.type, str(problem), f"{one.type[:16]}:{one.value[:256]}"))
    if faults:
        types = {kind for kind, _, _ in faults}
        raise Problem(
            types.pop() if len(types) == 1 else "compound",
            "; ".join(detail for _, detail, _ in faults[:5]),
            status=400,
            subproblems=faults,
        )
    return tuple(names)


def _name_of(identifier: Identifier) -> str:
    value = identifier.value
    if len(value) > IDENTIFIER_CHARACTERS_MAX:
        raise Problem("malformed", f"identifier of {len(value)} characters")
    try:
        if identifier.type == "dns":
            return f"dns:{check_dns(value)}"
        if identifier.type == "ip":
            name = parse_name(f"ip:{value}")
            # RFC 8738, Section 3: as in RFC 5952, the one spelling of an address
            if name != f"ip:{value}":
                raise Problem("malformed", f"address {quoted(value)} is not written {name[3:]!r}")
            return name
    except Refused as refused:
        raise Problem("malformed", refused.reasons[0].detail) from None
    raise Problem("unsupportedIdentifier", f"identifier type {quoted(identifier.type)} is not 'dns' or 'ip'")


def check_contacts(contacts: Iterable[str]) -> tuple[str, ...]:
    """RFC 8555, Section 7.3: ``mailto`` with one address and no header fields. Raises Problem."""
    found = tuple(contacts)
    if len(found) > CONTACTS_MAX:
        raise Problem("invalidContact", f"{len(found)} contacts, expected at most {CONTACTS_MAX}")
    for contact in found:
        scheme, colon, address = contact.partition(":")
        if scheme.lower() != "mailto" or not colon:
            raise Problem("unsupportedContact", f"contact {quoted(contact)} is not of scheme 'mailto'")
        local, at, domain = address.partition("@")
        if (
            len(contact) > CONTACT_CHARACTERS_MAX
            or not (local and at and domain)
            or not contact.isascii()
            or not contact.isprintable()
            or set(address) & set('?,; "<>()[]\\%')
            or "@" in domain
        ):
            raise Problem("invalidContact", f"contact {quoted(contact)} is not one plain address")
    return found


# --- what they are sent ---------------------------------------------------------------------------------------------


def identifier_of(name: str) -> dict[str, str]:
    kind, _, value = name.partition(":")
    return {"type": kind, "value": value}


def order_document(
    order: Order, status: str, *, expires: str, url: str, authorizations: list[str], certificate: str | None
) -> dict[str, object]:
    """RFC 8555, Section 7.1.3."""
    found: dict[str, object] = {
        "status": status,
        "expires": expires,
        "identifiers": [identifier_of(name) for name in order.names],
        "authorizations": authorizations,
        "finalize": f"{url}/finalize",
    }
    if order.named_profile:
        found["profile"] = order.profile
    if certificate is not None:
        found["certificate"] = certificate
    if order.failure is not None:
        found["error"] = error_of(*order.failure)
    return found


def authorization_document(
    authorization: Authorization, status: str, *, expires: str, challenges: list[dict[str, object]]
) -> dict[str, object]:
    """RFC 8555, Section 7.1.4."""
    found: dict[str, object] = {
        "identifier": identifier_of(authorization.name),
        "status": status,
        "expires": expires,
        "challenges": challenges,
    }
    if authorization.wildcard:
        found["wildcard"] = True
    return found


def challenge_document(
    authorization: Authorization, method: str, *, url: str, validated: str | None
) -> dict[str, object]:
    """RFC 8555, Section 7.1.5 and 8."""
    status = "pending"
    if authorization.method == method:
        status = "invalid" if authorization.status == "invalid" else "valid"
    elif authorization.status == "pending" and authorization.requested == method:
        status = "processing"
    found: dict[str, object] = {"type": method, "url": url, "status": status, "token": authorization.token}
    if validated is not None and status == "valid":
        found["validated"] = validated
    if status == "invalid" and authorization.failure is not None:
        found["error"] = error_of(*authorization.failure)
    return found


# --- RFC 9773: which certificate ------------------------------------------------------------------------------------


def certificate_id(issuer: str, serial: str) -> str:
    """RFC 9773, Section 4.1: the authority key identifier and the serial's DER content."""
    number = int(serial, 16)
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{base64url(bytes.fromhex(issuer))}.{base64url(octets)}"


def serial_of_id(text: str) -> tuple[str, str]:
    """(issuer, serial) of a certificate's id. Raises Problem (``malformed``)."""
    key, dot, serial = text.partition(".")
    try:
        issuer = octets_of(key, "the key identifier").hex()
        octets = octets_of(serial, "the serial")
    except Unacceptable as error:
        raise Problem("malformed", f"certificate id: {error}") from None
    number = int.from_bytes(octets, "big")
    if not dot or not 0 < len(octets) <= 20 or certificate_id(issuer, f"{number:040x}") != text:
        raise Problem("malformed", "the certificate id is not that of RFC 9773")
    return issuer, f"{number:040x}"
