"""What can go wrong, in two kinds that never mix.

*Refused* is the requester's matter: stable codes and safe details that may leave the process.
*Fault* is ours: it is logged under an id, and the id is all that leaves.

Rule: a check that must not be ignored raises; it never returns a bool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Every reason for a refusal. A code, once released, keeps its meaning for ever."""

    # the request itself
    REQUEST_MALFORMED = "request-malformed"
    REQUEST_TOO_LARGE = "request-too-large"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    MEDIA_TYPE_UNSUPPORTED = "media-type-unsupported"
    NOT_ACCEPTABLE = "not-acceptable"
    RATE_LIMITED = "rate-limited"
    IDEMPOTENCY_CONFLICT = "idempotency-conflict"
    # who is asking
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    TOKEN_EXPIRED = "token-expired"
    TOKEN_EXHAUSTED = "token-exhausted"
    TOKEN_REVOKED = "token-revoked"
    TOKEN_UNKNOWN = "token-unknown"
    # ACME accounts and what stands behind them
    ACCOUNT_UNKNOWN = "account-unknown"
    ACCOUNT_CLOSED = "account-closed"
    ACCOUNT_EXISTS = "account-exists"
    BINDING_UNUSABLE = "binding-unusable"
    QUOTA_EXHAUSTED = "quota-exhausted"
    # the CSR and its key
    CSR_MALFORMED = "csr-malformed"
    CSR_SIGNATURE_INVALID = "csr-signature-invalid"
    CSR_ALGORITHM_REFUSED = "csr-algorithm-refused"
    KEY_TYPE_NOT_ALLOWED = "key-type-not-allowed"
    KEY_WEAK = "key-weak"
    KEY_COMPROMISED = "key-compromised"
    KEY_NOT_ALLOWED = "key-not-allowed"
    EXTENSION_REFUSED = "extension-refused"
    # names
    NAME_MALFORMED = "name-malformed"
    NAME_TYPE_REFUSED = "name-type-refused"
    NAME_NOT_ALLOWED = "name-not-allowed"
    NAME_OUTSIDE_ISSUER = "name-outside-issuer"
    NAMES_MISSING = "names-missing"
    NAMES_TOO_MANY = "names-too-many"
    NAMES_WIDENED = "names-widened"
    # profile and issuer
    PROFILE_UNKNOWN = "profile-unknown"
    PROFILE_NOT_ALLOWED = "profile-not-allowed"
    VALIDITY_NOT_ALLOWED = "validity-not-allowed"
    ISSUER_UNKNOWN = "issuer-unknown"
    ISSUER_UNAVAILABLE = "issuer-unavailable"
    ISSUER_CERTIFICATE_INVALID = "issuer-certificate-invalid"
    # a certificate's life
    CERTIFICATE_UNKNOWN = "certificate-unknown"
    CERTIFICATE_REVOKED = "certificate-revoked"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_ISSUED = "certificate-not-issued"
    ALREADY_RENEWED = "already-renewed"
    RENEWAL_IN_PROGRESS = "renewal-in-progress"
    RENEWAL_SIGNATURE_INVALID = "renewal-signature-invalid"
    REVOCATION_PROOF_INVALID = "revocation-proof-invalid"
    REVOCATION_REASON_INVALID = "revocation-reason-invalid"
    INVALIDITY_DATE_INVALID = "invalidity-date-invalid"
    # the service
    BUSY = "busy"
    LOG_UNAVAILABLE = "log-unavailable"
    LINT_FAILED = "lint-failed"


@dataclass(frozen=True, slots=True)
class Reason:
    """One fault of a request: ``code`` is stable, ``detail`` is for people and safe to show.

    ``field`` says where in the request, for instance ``names[3]`` or ``csr``.
    """

    code: Code
    detail: str
    field: str | None = None


class Refused(Exception):
    """The request can't be granted; ``reasons`` names every fault that was found, the weightiest first."""

    def __init__(
        self, code: Code, detail: str, *, field: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(detail)
        self.reasons: tuple[Reason, ...] = (Reason(code, detail, field),)
        self.retry_after_seconds = retry_after_seconds

    @classmethod
    def of(cls, reasons: Iterable[Reason]) -> Refused:
        """One refusal for all of ``reasons`` (at least one)."""
        every = tuple(reasons)
        first = every[0]
        refused = cls(first.code, first.detail, field=first.field)
        refused.reasons = every
        return refused

    @property
    def code(self) -> Code:
        return self.reasons[0].code

    def __str__(self) -> str:
        return "; ".join(f"{reason.code}: {reason.detail}" for reason in self.reasons)


class Reasons:
    """Gathers the faults of one request, so that the answer can name them all."""

    def __init__(self) -> None:
        self._reasons: list[Reason] = []

    def add(self, code: Code, detail: str, field: str | None = None) -> None:
        self._reasons.append(Reason(code, detail, field))

    def __iter__(self) -> Iterator[Reason]:
        return iter(self._reasons)

    def __bool__(self) -> bool:
        return bool(self._reasons)

    @contextmanager
    def catching(self, field: str | None = None) -> Iterator[None]:
        """Gather a ``Refused`` raised inside instead of letting it out, so that the next check still runs.

        ``field`` says where in the request, for reasons that do not say it themselves.
        """
        try:
            yield
        except Refused as refused:
            self._reasons.extend(
                Reason(reason.code, reason.detail, reason.field or field) for reason in refused.reasons
            )

    def raise_if_any(self) -> None:
        if self._reasons:
            raise Refused.of(self._reasons)


class Fault(Exception):
    """Something of ours broke. The message is for the log, never for the requester."""


class BrokenState(Fault):
    """State on disk is foreign or damaged; ``hint`` says how to mend it, with the command to type."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class InvariantBroken(Fault):
    """A rule that can't be false is false. The process stops: going on would spread the damage."""
