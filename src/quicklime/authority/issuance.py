"""Issue and renew: plan, wait for the log's verdict, sign exactly the planned bytes, record, answer.

Invariants, and what a crash at each step means:

* before the plan is in the log: nothing happened;
* after the plan, before the issuance: a visible orphan plan, nothing left the authority; the next start, or a retry after
  the plan's deadline, abandons it;
* after the issuance is in the log: the certificate exists and is found again, by its idempotency key or its serial.

Nothing is signed that the log does not hold, and nothing leaves that the log does not hold.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from quicklime import policy
from quicklime.authority.commands import Granted, IssueCommand, RenewCommand, SystemCommand
from quicklime.authority.issuers import Issuers, IssuingKey
from quicklime.authority.ledger import Ledger
from quicklime.errors import Code, Fault, Reasons, Refused
from quicklime.events import (
    CertificateAbandoned,
    CertificateIssued,
    CertificatePlanned,
    CertificatePlannedV2,
    Requester,
    RevocationSecretAdded,
)
from quicklime.lifecycle.certificate import (
    REVOCATION_SECRETS_MAX,
    Certificate,
    check_renewable,
    check_replaceable,
    renewal_message,
)
from quicklime.pki import lint
from quicklime.pki.certificate import serial_from_entropy
from quicklime.pki.possession import check_possession
from quicklime.pki.profile import Profile

PLAN_SECONDS = 60
SECRET_OCTETS = 32
CHALLENGE_OCTETS = 32
IN_FLIGHT_MAX = 512
ISSUER_SECONDS_LEFT_MIN = 3600
NODE_CHARACTERS_MAX = 200
IDEMPOTENCY_KEY_CHARACTERS_MAX = 255


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """What issue, renew and the system's own requests have in common once they are checked."""

    requester: Requester
    evidence: tuple[str, ...]
    profile: Profile
    key: IssuingKey
    names: tuple[str, ...]
    public_key: bytes
    validity_seconds: int | None
    node: str | None
    predecessor: Certificate | None
    idempotency_sha256: bytes | None
    request_sha256: bytes | None


class IssuanceDesk:
    """Takes commands that end in a certificate."""

    def __init__(self, ledger: Ledger, issuers: Issuers) -> None:
        self._ledger = ledger
        self._issuers = issuers
        self._in_flight = 0

    async def issue(self, command: IssueCommand) -> Granted:
        """Issue. Raises Refused naming every objection; Fault (log, signer), after which a retry is safe."""
        claim, asked = _idempotency(
            command.identity.requester,
            command.idempotency_key,
            b"issue",
            command.csr.der,
            repr((command.profile, command.names, command.validity_seconds, command.node)).encode(),
        )
        if (earlier := await self._repeated(claim, asked)) is not None:
            return earlier
        reasons = Reasons()
        profile = self._issuers.profile(command.profile, public=True)
        key = self._issuers.active()
        names = command.csr.names if command.names is None else command.names
        _check_form(names, command.node, reasons)
        self._check_key(command.csr.spki, reasons)
        evidence = policy.check_issuance(
            command.identity, profile, names, command.csr.key_type, key.constraints, reasons
        )
        _check_validity(profile, command.validity_seconds, reasons)
        parent = await self._replaced(command, reasons)
        reasons.raise_if_any()
        return await self._grant(
            _Request(
                requester=command.identity.requester,
                evidence=evidence + command.evidence,
                profile=profile,
                key=key,
                names=names,
                public_key=command.csr.spki,
                validity_seconds=command.validity_seconds,
                node=command.node if parent is None else parent.node,
                predecessor=parent,
                idempotency_sha256=claim,
                request_sha256=asked,
            )
        )

    async def _replaced(self, command: IssueCommand, reasons: Reasons) -> Certificate | None:
        """The certificate that an ACME account's new one is to replace."""
        if command.replaces is None or command.identity.requester.kind != "acme":
            return None
        parent = self._ledger.state.certificate(command.replaces)
        if parent is None or parent.issued_offset is None:
            reasons.add(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {command.replaces}")
            return None
        await self.abandon_overdue(parent.successor)
        parent = self._ledger.state.certificate(command.replaces) or parent
        with reasons.catching():
            check_replaceable(self._ledger.state, parent)
        return parent

    async def renew(self, command: RenewCommand) -> Granted:
        """Replace certificate ``serial``. Raises Refused; of two renewals at once exactly one gets through."""
        parent = self._ledger.state.certificate(command.serial)
        if parent is None or parent.issued_offset is None:
            raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {command.serial}")
        # possession first: what follows says things about the certificate that only its holder may learn
        message = renewal_message(parent.challenge, command.csr.der)
        check_possession(parent.public_key, command.signature, message)
        requester = Requester(kind="possession", id=command.serial)
        claim, asked = _idempotency(
            requester,
            command.idempotency_key,
            b"renew",
            command.csr.der,
            repr((command.names, command.validity_seconds, command.node)).encode(),
        )
        if (earlier := await self._repeated(claim, asked)) is not None:
            return earlier
        await self.abandon_overdue(parent.successor)
        reasons = Reasons()
        profile = self._issuers.profile(parent.profile, public=True)
        key = self._issuers.active()
        names = command.csr.names if command.names is None else command.names
        parent = self._ledger.state.certificate(command.serial) or parent
        _check_form(names, command.node, reasons)
        self._check_key(command.csr.spki, reasons)
        with reasons.catching():
            check_renewable(self._ledger.state, parent, names, self._ledger.now())
        evidence = policy.check_names(
            profile, names, command.csr.key_type, key.constraints, reasons, granted=None
        )
        _check_validity(profile, command.validity_seconds, reasons)
        reasons.raise_if_any()
        return await self._grant(
            _Request(
                requester=requester,
                evidence=evidence,
                profile=profile,
                key=key,
                names=names,
                public_key=command.csr.spki,
                validity_seconds=command.validity_seconds,
                node=parent.node if command.node is None else command.node,
                predecessor=parent,
                idempotency_sha256=claim,
                request_sha256=asked,
            )
        )

    async def issue_to_system(self, command: SystemCommand) -> Granted:
        """A certificate for Quicklime itself, by ``issuer`` or the active one; planned, linted and recorded like any."""
        key = self._issuers.active() if command.issuer is None else self._issuers.of(command.issuer)
        profile = self._issuers.profile(command.profile, public=False)
        reasons = Reasons()
        policy.check_names(profile, command.names, command.key_type, key.constraints, reasons, granted=None)
        reasons.raise_if_any()
        predecessor = (
            None if command.predecessor is None else self._ledger.state.certificate(command.predecessor)
        )
        return await self._grant(
            _Request(
                requester=policy.SYSTEM.requester,
                evidence=("its own",),
                profile=profile,
                key=key,
                names=command.names,
                public_key=command.public_key,
                validity_seconds=None,
                node=command.node,
                predecessor=predecessor,
                idempotency_sha256=None,
                request_sha256=None,
            )
        )

    async def abandon(self, serial: str, cause: str) -> None:
        """Give up an open plan; nothing happens where it is not open any more."""
        plan = self._ledger.state.certificate(serial)
        if plan is not None and plan.status == "planned":
            await self._ledger.record(
                CertificateAbandoned(serial=serial, cause=cause, abandoned_at=self._ledger.now())
            )

    # --- the path ---------------------------------------------------------------------------------------------------

    async def _grant(self, request: _Request) -> Granted:
        if self._in_flight >= IN_FLIGHT_MAX:
            raise Refused(
                Code.BUSY, f"{IN_FLIGHT_MAX} requests are being worked on already", retry_after_seconds=1
            )
        self._in_flight += 1
        try:
            secret = self._ledger.entropy(SECRET_OCTETS)
            plan = self._plan(request, secret)
            _check_stands(plan, *await self._ledger.record_about(plan))
            certificate, certificate_der, issued_offset = await self._finish(request, plan)
        finally:
            self._in_flight -= 1
        return Granted(
            certificate=certificate,
            chain=(certificate_der, *self._issuers.chain(plan.issuer)),
            revocation_secret=secret,
            offset=issued_offset,
        )

    def _plan(self, request: _Request, secret: bytes) -> CertificatePlanned:
        """What will be signed, to the byte, linted. Raises Refused (``lint-failed``) naming every finding."""
        now, key, profile = self._ledger.now(), request.key, request.profile
        not_before, not_after = _validity(request, now)
        serial = serial_from_entropy(self._ledger.entropy(20))
        tbs = self._issuers.template(key, profile).tbs(
            serial=serial,
            not_before=not_before,
            not_after=not_after,
            spki=request.public_key,
            names=request.names,
        )
        findings = lint.lint(tbs, key.facts)
        if findings:
            raise Refused(Code.LINT_FAILED, "; ".join(str(finding) for finding in findings))
        parent = request.predecessor
        kind = CertificatePlannedV2 if request.requester.kind == "acme" else CertificatePlanned
        return kind(
            serial=serial,
            issuer=key.issuer,
            profile=profile.name,
            names=request.names,
            public_key=request.public_key,
            not_before=not_before,
            not_after=not_after,
            tbs=tbs,
            challenge=self._ledger.entropy(CHALLENGE_OCTETS),
            revocation_secret_sha256=sha256(secret).digest(),
            requester=request.requester,
            evidence=request.evidence,
            lineage=serial if parent is None else parent.lineage,
            planned_at=now,
            deadline=now + PLAN_SECONDS,
            predecessor=None if parent is None else parent.serial,
            renewable_until=not_after + profile.renewal_grace_seconds,
            node=request.node,
            idempotency_sha256=request.idempotency_sha256,
            request_sha256=request.request_sha256,
        )

    async def _finish(self, request: _Request, plan: CertificatePlanned) -> tuple[Certificate, bytes, int]:
        """Sign the planned bytes, check the result, record it; the certificate as it now stands, its DER, its offset."""
        try:
            certificate = await self._issuers.sign_certificate(request.key, plan.tbs)
        except Exception:
            # the plan must not hold its place for a signature that will not come
            await self.abandon(plan.serial, "signing failed")
            raise
        if self._ledger.now() >= plan.deadline:
            # from here on anybody may give the plan up: an issuance after that would be a certificate that does not stand
            await self.abandon(plan.serial, "not signed by its deadline")
            raise Refused(
                Code.CERTIFICATE_NOT_ISSUED,
                f"the plan of certificate {plan.serial} was not signed by its deadline",
                retry_after_seconds=1,
            )
        offset, issued = await self._ledger.record_about(
            CertificateIssued(serial=plan.serial, certificate=certificate, issued_at=self._ledger.now())
        )
        if issued is None or issued.issued_offset != offset:
            # somebody abandoned our plan meanwhile (its deadline passed): the certificate must not leave
            raise Refused(
                Code.CERTIFICATE_NOT_ISSUED,
                f"the plan of certificate {plan.serial} was abandoned before it was issued",
                retry_after_seconds=1,
            )
        return issued, certificate, offset

    # --- retries ----------------------------------------------------------------------------------------------------

    async def _repeated(self, claim: bytes | None, asked: bytes | None) -> Granted | None:
        """What an earlier request under the same idempotency key got, with a new revocation secret; None if there is none."""
        serial = None if claim is None else self._ledger.state.claim(claim)
        if serial is None:
            return None
        if await self.abandon_overdue(serial):
            return None
        earlier = self._ledger.state.certificate(serial)
        assert earlier is not None
        if earlier.request_sha256 != asked:
            raise Refused(
                Code.IDEMPOTENCY_CONFLICT,
                "this Idempotency-Key was used for another request",
                field="Idempotency-Key",
            )
        if earlier.issued_offset is None:
            raise Refused(
                Code.IDEMPOTENCY_CONFLICT,
                "the first request under this Idempotency-Key is still being worked on",
                field="Idempotency-Key",
                retry_after_seconds=1,
            )
        issued = self._ledger.read(earlier.issued_offset)
        assert isinstance(issued, CertificateIssued)
        secret = await self._added_secret(earlier)
        return Granted(
            certificate=self._ledger.state.certificate(serial) or earlier,
            chain=(issued.certificate, *self._issuers.chain(earlier.issuer)),
            revocation_secret=secret,
            offset=earlier.issued_offset,
            repeated=True,
        )

    async def _added_secret(self, certificate: Certificate) -> bytes:
        """One more secret that revokes ``certificate``. Raises Refused where it takes no further one."""
        serial, secret = certificate.serial, self._ledger.entropy(SECRET_OCTETS)
        hashed = sha256(secret).digest()
        if len(certificate.revocation_secrets_sha256) < REVOCATION_SECRETS_MAX:
            await self._ledger.record(
                RevocationSecretAdded(
                    serial=serial, revocation_secret_sha256=hashed, added_at=self._ledger.now()
                )
            )
            # of several retries at once the log may have room for some only: what it did not take would revoke nothing
            after = self._ledger.state.certificate(serial)
            if after is not None and hashed in after.revocation_secrets_sha256:
                return secret
        raise Refused(
            Code.IDEMPOTENCY_CONFLICT,
            f"certificate {serial} was asked for {REVOCATION_SECRETS_MAX} times already",
        )

    async def abandon_overdue(self, serial: str | None) -> bool:
        """Abandon the plan ``serial`` if its deadline has passed, so that its place is free; says whether it did."""
        plan = None if serial is None else self._ledger.state.certificate(serial)
        if plan is None or plan.status != "planned" or self._ledger.now() < plan.deadline:
            return False
        await self.abandon(plan.serial, "not finished by its deadline")
        return True

    def _check_key(self, spki: bytes, reasons: Reasons) -> None:
        if self._ledger.state.is_compromised(sha256(spki).digest()):
            reasons.add(
                Code.KEY_COMPROMISED, "a certificate with this key was revoked for keyCompromise", "csr"
            )
        if self._issuers.is_issuer_key(spki):
            reasons.add(Code.KEY_NOT_ALLOWED, "this is the key of an issuer", "csr")


def _check_stands(plan: CertificatePlanned, offset: int, judged: Certificate | None) -> None:
    """The log's verdict over our plan. Raises Refused with the reason why another came first."""
    if judged is None or judged.plan_offset != offset:
        raise Fault(f"serial {plan.serial} is not ours: the plan at {offset} does not stand")
    if judged.refusal is not None:
        code, detail = judged.refusal
        raise Refused(Code(code), detail, retry_after_seconds=_retry_after(Code(code)))
    if judged.status != "planned":
        raise Refused(
            Code.CERTIFICATE_NOT_ISSUED,
            f"certificate {plan.serial} is {judged.status}",
            retry_after_seconds=1,
        )


def _check_form(names: tuple[str, ...], node: str | None, reasons: Reasons) -> None:
    if not names:
        reasons.add(
            Code.NAMES_MISSING,
            "the request names nothing, expected at least one DNS name or IP address",
            "names",
        )
    if node is not None and (not 0 < len(node) <= NODE_CHARACTERS_MAX or not node.isprintable()):
        reasons.add(
            Code.REQUEST_MALFORMED, f"node is not 1 to {NODE_CHARACTERS_MAX} printable characters", "node"
        )


def _check_validity(profile: Profile, validity_seconds: int | None, reasons: Reasons) -> None:
    if validity_seconds is not None and not 0 < validity_seconds <= profile.validity_seconds_max:
        reasons.add(
            Code.VALIDITY_NOT_ALLOWED,
            f"validity of {validity_seconds} s, profile {profile.name!r} has at most {profile.validity_seconds_max} s",
            "validity_seconds",
        )


def _validity(request: _Request, now: int) -> tuple[int, int]:
    """The notBefore and notAfter: backdated a little against clocks that lag, and never outside the issuer's own."""
    profile, facts = request.profile, request.key.facts
    if facts.not_after - now < ISSUER_SECONDS_LEFT_MIN:
        raise Refused(Code.ISSUER_UNAVAILABLE, f"issuer {request.key.issuer} is about to expire")
    not_before = max(now - profile.backdate_seconds, facts.not_before)
    seconds = profile.validity_seconds if request.validity_seconds is None else request.validity_seconds
    # notAfter is inside the validity (RFC 5280, Section 4.1.2.5), so the last second is one less
    return not_before, min(not_before + seconds - 1, facts.not_after)


def claim_of(requester: Requester, key: str) -> bytes:
    """What a plan under this idempotency key of ``requester`` holds (``State.claim`` finds the plan by it)."""
    return sha256(f"{requester.kind}\0{requester.id}\0{key}".encode()).digest()


def _idempotency(requester: Requester, key: str | None, *asked: bytes) -> tuple[bytes | None, bytes | None]:
    """(whose key it is, what was asked under it), each as SHA-256; None twice where no key was given."""
    if key is None:
        return None, None
    if not 0 < len(key) <= IDEMPOTENCY_KEY_CHARACTERS_MAX or not key.isprintable():
        raise Refused(
            Code.REQUEST_MALFORMED,
            f"Idempotency-Key is not 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} printable characters",
            field="Idempotency-Key",
        )
    digest = sha256()
    for part in asked:
        digest.update(sha256(part).digest())
    return claim_of(requester, key), digest.digest()


def _retry_after(code: Code) -> int | None:
    return 1 if code in {Code.RENEWAL_IN_PROGRESS, Code.BUSY, Code.IDEMPOTENCY_CONFLICT} else None
