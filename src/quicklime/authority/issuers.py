"""The issuers as this process can use them: facts from the log, joined with the keys that are here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from quicklime.authority.ledger import Ledger
from quicklime.errors import Code, Refused
from quicklime.lifecycle.issuer import Authority, Issuer
from quicklime.pki.certificate import IssuerFacts, Template, URLs, assemble_certificate, check_issued
from quicklime.pki.names import Constraints
from quicklime.pki.profile import Profile
from quicklime.pki.signer import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingKey:
    """An intermediate whose key is here."""

    issuer: str
    facts: IssuerFacts
    signer: Signer

    @property
    def constraints(self) -> Constraints:
        """Inside which names what it signs is valid."""
        return self.facts.constraints


class Issuers:
    """Looks issuers up, keeps their templates, signs with their keys."""

    def __init__(
        self, ledger: Ledger, signers: Mapping[str, Signer], profiles: Mapping[str, Profile], urls: URLs
    ) -> None:
        self._ledger = ledger
        self._signers = dict(signers)
        self._profiles = dict(profiles)
        self._urls = urls
        self._keys: dict[str, IssuingKey] = {}
        self._all_facts: dict[str, IssuerFacts] = {}
        self._templates: dict[tuple[str, str], Template] = {}

    @property
    def profiles(self) -> Mapping[str, Profile]:
        return self._profiles

    def authority(self) -> Authority:
        found = self._ledger.authority
        if found is None:
            raise Refused(Code.ISSUER_UNAVAILABLE, "the authority was not founded")
        return found

    def profile(self, name: str, *, public: bool) -> Profile:
        """The profile of that name. ``public`` leaves out those that only Quicklime itself may use. Raises Refused."""
        profile = self._profiles.get(name)
        if profile is None or (public and profile.internal):
            known = sorted(one.name for one in self._profiles.values() if not one.internal)
            raise Refused(
                Code.PROFILE_UNKNOWN, f"profile {name[:64]!r} is not one of {known!r}", field="profile"
            )
        return profile

    def active(self) -> IssuingKey:
        """The issuer that signs now. Raises Refused (``issuer-unavailable``) where its key is not here."""
        active = self.authority().active
        if active is None:
            raise Refused(Code.ISSUER_UNAVAILABLE, "no issuer is active")
        return self._key(active)

    def of(self, issuer: str) -> IssuingKey:
        """The issuer with this id, active or retired. Raises Refused."""
        found = self.authority().issuer(issuer)
        if found is None:
            raise Refused(Code.ISSUER_UNKNOWN, f"issuer {issuer!r} is not known")
        return self._key(found)

    def here(self) -> tuple[IssuingKey, ...]:
        """Every intermediate whose key is here, in the order in which they were added."""
        return tuple(self._key(one) for one in self.authority().intermediates if one.issuer in self._signers)

    def bring(self, issuer: str, signer: Signer) -> None:
        """A key has come to this process."""
        self._signers[issuer] = signer

    def chain(self, issuer: str) -> tuple[bytes, ...]:
        """The certificates between a leaf and the root (DER), nearest first."""
        found = self.authority().issuer(issuer)
        return () if found is None else (found.certificate,)

    def is_issuer_key(self, spki: bytes) -> bool:
        """Whether this is the key (SPKI, DER) of a root or an intermediate of ours."""
        return any(self._facts(one).spki == spki for one in self.authority().issuers)

    def template(self, key: IssuingKey, profile: Profile) -> Template:
        """What all certificates of this issuer and profile have in common, encoded once."""
        template = self._templates.get((key.issuer, profile.name))
        if template is None:
            template = Template(key.facts, profile, self._urls)
            self._templates[key.issuer, profile.name] = template
        return template

    async def sign(self, key: IssuingKey, data: bytes) -> bytes:
        """The signature over ``data``; a slow key is asked on a thread. Raises SignerUnavailable."""
        if key.signer.blocking:
            return await asyncio.to_thread(key.signer.sign, data)
        return key.signer.sign(data)

    async def sign_certificate(self, key: IssuingKey, tbs: bytes) -> bytes:
        """The certificate over exactly ``tbs``, read again and checked. Raises SignerUnavailable, InvariantBroken."""
        signature = await self.sign(key, tbs)
        certificate = assemble_certificate(tbs, key.signer.algorithm, signature)
        check_issued(certificate, tbs, key.facts)
        return certificate

    def _key(self, issuer: Issuer) -> IssuingKey:
        key = self._keys.get(issuer.issuer)
        if key is None:
            signer = self._signers.get(issuer.issuer)
            if signer is None:
                raise Refused(Code.ISSUER_UNAVAILABLE, f"the key of issuer {issuer.issuer} is not here")
            key = IssuingKey(issuer=issuer.issuer, facts=self._facts(issuer), signer=signer)
            self._keys[issuer.issuer] = key
        return key

    def _facts(self, issuer: Issuer) -> IssuerFacts:
        facts = self._all_facts.get(issuer.issuer)
        if facts is None:
            facts = self._all_facts[issuer.issuer] = IssuerFacts.of(issuer.certificate)
        return facts
