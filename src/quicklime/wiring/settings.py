"""Settings become the values that the rest works with: profiles, rules, keys. What can't be, is told with its key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from quicklime.config import Config, ConfigurationFault, ProfileSettings
from quicklime.errors import Refused
from quicklime.pki.keys import BlockedKeys
from quicklime.pki.names import check_pattern
from quicklime.pki.profile import BUILTIN, Profile
from quicklime.policy import CertificateRule
from quicklime.services.acme.exchange import Directory
from quicklime.services.cfssl.api import AuthKey
from quicklime.wiring.backends import check_urls

AUTH_KEY_OCTETS_MIN = 16
_DIRECTORY = re.compile(r"[a-z0-9-]{1,32}")
ANY_OR_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})  # noqa: S104  not a choice


def api_url(config: Config, port: int) -> str:
    """The API on ``port`` as a client on this machine reaches it: by a name that is in its certificate."""
    api = config.api
    here = ("localhost", "127.0.0.1", "::1") if api.host in ANY_OR_LOOPBACK else (api.host,)
    return _url("https", next((name for name in here if name in api.names), api.names[0]), port)


def status_url(config: Config, port: int) -> str:
    """OCSP and CRLs on ``port`` as a client on this machine reaches them; `status.url` is for all others."""
    return _url("http", "localhost" if config.status.host in ANY_OR_LOOPBACK else config.status.host, port)


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def profiles_of(config: Config) -> Mapping[str, Profile]:
    """The built-in profiles with the operator's changes, and the operator's own. Raises ConfigurationFault."""
    found = dict(BUILTIN)
    faults = []
    for name, settings in config.profiles.items():
        try:
            found[name] = _profile(name, settings)
        except ValueError as error:
            faults.append(f"profiles.{name}: {error}")
    if faults:
        raise ConfigurationFault(tuple(faults))
    return found


def _profile(name: str, settings: ProfileSettings) -> Profile:
    base = BUILTIN.get(name, BUILTIN["server"])
    if base.internal:
        raise ValueError("is Quicklime's own and can't be changed")
    given = {key: value for key, value in settings.model_dump().items() if value is not None}
    # a longer lifetime than the base's longest, or a shorter longest than its usual one, moves the other along
    if "validity_seconds" in given and "validity_seconds_max" not in given:
        given["validity_seconds_max"] = max(base.validity_seconds_max, given["validity_seconds"])
    if "validity_seconds_max" in given and "validity_seconds" not in given:
        given["validity_seconds"] = min(base.validity_seconds, given["validity_seconds_max"])
    if "validity_seconds" in given and "backdate_seconds" not in given:
        given["backdate_seconds"] = min(base.backdate_seconds, given["validity_seconds"] // 10)
    return replace(base, name=name, **given)


def rules_of(config: Config) -> tuple[CertificateRule, ...]:
    """What holders of client certificates may ask for. Raises ConfigurationFault."""
    faults = []
    for place, rule in enumerate(config.client_certificates):
        for pattern in (rule.bearer, *rule.names):
            try:
                check_pattern(pattern)
            except Refused as refused:
                faults.append(f"client_certificates.{place}: {refused.reasons[0].detail}")
        faults += [
            f"client_certificates.{place}: profile {profile!r} is not known"
            for profile in rule.profiles
            if profile not in {**BUILTIN, **config.profiles}
        ]
    if faults:
        raise ConfigurationFault(tuple(faults))
    return tuple(
        CertificateRule(bearer=rule.bearer, names=rule.names, profiles=rule.profiles, role=rule.role)
        for rule in config.client_certificates
    )


def cfssl_keys_of(config: Config) -> Mapping[str, AuthKey]:
    """The keys of CFSSL's ``authsign``, by label. Raises ConfigurationFault."""
    found, faults = {}, []
    for label, settings in config.cfssl.auth_keys.items():
        try:
            key = bytes.fromhex(settings.key.get_secret_value())
        except ValueError:
            key = b""
        if len(key) < AUTH_KEY_OCTETS_MIN:
            faults.append(
                f"cfssl.auth_keys.{label}.key: expected at least {AUTH_KEY_OCTETS_MIN} octets in hexadecimal"
            )
        for pattern in settings.names:
            try:
                check_pattern(pattern)
            except Refused as refused:
                faults.append(f"cfssl.auth_keys.{label}.names: {refused.reasons[0].detail}")
        found[label] = AuthKey(key=key, names=settings.names, profiles=settings.profiles)
    if faults:
        raise ConfigurationFault(tuple(faults))
    return found


def directories_of(config: Config) -> Mapping[str, Directory]:
    """ACME's directories, by name. Raises ConfigurationFault."""
    found, faults = {}, []
    public = {
        name
        for name, profile in {**BUILTIN, **config.profiles}.items()
        if not getattr(profile, "internal", False)
    }
    for name, settings in config.acme.all_directories().items():
        if not _DIRECTORY.fullmatch(name):
            faults.append(f"acme.directories.{name}: expected 1 to 32 of a-z, 0-9 and '-'")
        for pattern in settings.names:
            try:
                check_pattern(pattern)
            except Refused as refused:
                faults.append(f"acme.directories.{name}.names: {refused.reasons[0].detail}")
        faults += [
            f"acme.directories.{name}.profiles: profile {profile!r} is not known"
            for profile in settings.profiles
            if profile not in public
        ]
        found[name] = Directory(
            name=name,
            names=settings.names,
            profiles=settings.profiles,
            methods=settings.methods,
            binding_required=settings.binding_required,
            terms=settings.terms,
            website=settings.website,
        )
    for text in config.acme.validation.networks or ():
        try:
            ip_network(text)
        except ValueError as error:
            faults.append(f"acme.validation.networks: {error}")
    for one in config.acme.validation.all_perspectives():
        if one.resolver is not None:
            try:
                endpoint_of(one.resolver)
            except ValueError:
                faults.append(
                    f"acme.validation.perspectives: resolver {one.resolver!r} is not 'address:port'"
                )
    if faults:
        raise ConfigurationFault(tuple(faults))
    return found


def endpoint_of(text: str) -> tuple[str, int]:
    """(address, port) of ``10.0.0.1:53`` or ``[fd00::1]:53``. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(text)
    return str(ip_address(host.strip("[]"))), int(port)


def blocked_keys_of(config: Config) -> BlockedKeys:
    """Keys that are refused because others have them. Raises ConfigurationFault."""
    path = config.keys.badkeys_blocklist
    try:
        blocklist = b"" if path is None else path.read_bytes()
        return BlockedKeys.of(config.keys.blocked_spki_sha256, blocklist)
    except OSError as error:
        raise ConfigurationFault(
            (f"keys.badkeys_blocklist: can't read {str(path)!r}: {error.strerror}",)
        ) from None
    except ValueError as error:
        raise ConfigurationFault((f"keys: {error}",)) from None


def check(config: Config) -> None:
    """All that can be said about the settings without the data directory. Raises ConfigurationFault naming every fault."""
    faults: list[str] = []
    for part in (profiles_of, rules_of, cfssl_keys_of, directories_of, blocked_keys_of, check_urls):
        try:
            part(config)
        except ConfigurationFault as fault:
            faults.extend(fault.faults)
    if faults:
        raise ConfigurationFault(tuple(faults))
