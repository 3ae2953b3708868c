"""Found an authority in an empty directory, and bring in later intermediates.

A crash in the founding leaves a directory without a log, which the next start names; nothing was issued from it. A fault before
the first record leaves nothing.
The root's key is written encrypted, apart, with its passphrase beside it for the one moment in which both are taken away.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quicklime.adapters.file_signer import FileSigner
from quicklime.authority.founding import FoundCommand
from quicklime.authority.tokens import CreateToken
from quicklime.errors import BrokenState, Code, Reasons, Refused
from quicklime.pki import issuer as pki_issuer
from quicklime.pki.certificate import URLs, issuer_id
from quicklime.pki.names import check_pattern
from quicklime.projection import Projector
from quicklime.web.render import pem
from quicklime.wiring.backends import check_new_log, open_log, open_store
from quicklime.wiring.directory import DataDirectory, write_file
from quicklime.wiring.local import VIEWS, Local, assembled, clock
from quicklime.wiring.signers import create_signer, open_signer, remember

if TYPE_CHECKING:
    from quicklime.config import Config
    from quicklime.lifecycle.issuer import Issuer
    from quicklime.pki.signer import Signer

Progress = Callable[[str], None]

DAY_SECONDS = 86_400
FIRST_TOKEN_DAYS = 365
PASSPHRASE_OCTETS = 24

_ROOT_KEY = "root-key.pem"
_OFFLINE_README = """\
This is the key of your root certificate, and the passphrase that opens it.

Take this folder away now: copy it to two media that you keep apart and offline, look that both can be read, and delete it
here. The running authority does not need it. You will need it to sign the next intermediate (quicklime issuer sign-csr).
Whoever has both files can make certificates that all of your machines trust.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitRequest:
    """What the operator chooses. ``domains`` and ``ip_ranges`` become critical name constraints of root and intermediate."""

    name: str = "Quicklime"
    key_type: str = "ecdsa-p256"
    root_key_type: str = "ecdsa-p256"
    domains: tuple[str, ...] = ("internal", "home.arpa", "localhost", "test")
    ip_ranges: tuple[str, ...] = (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "fc00::/7",
        "::1/128",
    )
    root_days: int = 3650
    intermediate_days: int = 1095
    signer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """Where the new authority's things lie."""

    authority: str
    root: Path
    intermediate: Path
    root_key: Path
    root_passphrase: Path
    first_token: Path


def initialise(
    config: Config, request: InitRequest, progress: Progress, *, now: Callable[[], int] = clock
) -> Initialised:
    """Make root, intermediate, log and first token in ``config.data_dir``, at ``now()``.

    Raises BrokenState where something is there already, Refused naming every value that can't be.
    """
    directory = DataDirectory(config.data_dir)
    if directory.is_initialised():
        raise BrokenState(
            f"{directory.path} holds an authority already",
            hint=f"quicklime up --data-dir {directory.path} starts it; another directory takes another authority",
        )
    _check(request)
    check_new_log(config)
    try:
        made = _make(config, request, directory, progress, now())
    except BaseException:
        # nothing was recorded: what was begun is taken back, so that the next try finds an empty place
        _unmake(directory.path)
        raise
    progress("writing the first records of the log")
    authority = str(uuid.UUID(bytes=os.urandom(16), version=4))
    asyncio.run(_found(config, directory, authority, request, *made, now))
    return Initialised(
        authority=authority,
        root=directory.root_certificate,
        intermediate=directory.issuing_certificate,
        root_key=directory.offline / _ROOT_KEY,
        root_passphrase=directory.offline / "passphrase",
        first_token=directory.first_token,
    )


def _make(
    config: Config, request: InitRequest, directory: DataDirectory, progress: Progress, now: int
) -> tuple[bytes, bytes, Signer]:
    """The directory, the keys, the certificates of root and intermediate (DER), and the intermediate's signer."""
    directory.make()
    write_file(directory.issuer_passphrase, secrets.token_urlsafe(PASSPHRASE_OCTETS).encode() + b"\n")
    progress(f"making the root key ({request.root_key_type}) and the issuing key ({request.key_type})")
    passphrase = secrets.token_urlsafe(PASSPHRASE_OCTETS).encode()
    root_signer = FileSigner.create(directory.offline / _ROOT_KEY, request.root_key_type, passphrase)
    issuing_signer = create_signer(request.signer, request.key_type, "issuing", directory, config)
    root, intermediate = _certificates(
        request, root_signer, issuing_signer, URLs(str(config.status.url)), now
    )
    write_file(directory.offline / "passphrase", passphrase + b"\n")
    write_file(directory.offline / "README.txt", _OFFLINE_README.encode())
    write_file(directory.root_certificate, pem(root), mode=0o644)
    write_file(directory.issuing_certificate, pem(intermediate), mode=0o644)
    remember(directory, issuer_id(intermediate), issuing_signer)
    return root, intermediate, issuing_signer


def _unmake(path: Path) -> None:
    """Empty ``path``, which was empty, or not there, when we came."""
    for entry in path.iterdir() if path.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _check(request: InitRequest) -> None:
    reasons = Reasons()
    if not 0 < len(request.name) <= 40 or not request.name.isprintable():
        reasons.add(
            Code.REQUEST_MALFORMED, f"name {request.name!r} is not 1 to 40 printable characters", "name"
        )
    if not request.domains and not request.ip_ranges:
        reasons.add(Code.NAMES_MISSING, "no domain and no IP range: nothing could be issued", "domains")
    for domain in request.domains:
        with reasons.catching("domains"):
            check_pattern(f"**.{domain}")
    for ip_range in request.ip_ranges:
        with reasons.catching("ip_ranges"):
            check_pattern(f"ip:{ip_range}")
    if not 0 < request.intermediate_days <= request.root_days <= 36_500:
        reasons.add(
            Code.VALIDITY_NOT_ALLOWED,
            f"{request.intermediate_days} days for the intermediate and {request.root_days} for the root, "
            "expected the intermediate's inside the root's, and at most 100 years",
            "root_days",
        )
    reasons.raise_if_any()


def _certificates(
    request: InitRequest, root_signer: Signer, issuing_signer: Signer, urls: URLs, now: int
) -> tuple[bytes, bytes]:
    """Root and intermediate, DER."""
    root = pki_issuer.self_sign_root(
        root_signer,
        name=f"{request.name} Root CA",
        entropy=os.urandom,
        now=now,
        days=request.root_days,
        domains=request.domains,
        ip_ranges=request.ip_ranges,
    )
    intermediate = pki_issuer.sign_intermediate(
        root_signer,
        root=root,
        spki=issuing_signer.public_key,
        name=f"{request.name} Issuing CA",
        entropy=os.urandom,
        now=now,
        days=request.intermediate_days,
        domains=request.domains,
        ip_ranges=request.ip_ranges,
        urls=urls,
    )
    return root, intermediate


async def _found(
    config: Config,
    directory: DataDirectory,
    authority: str,
    request: InitRequest,
    root: bytes,
    intermediate: bytes,
    signer: Signer,
    now: Callable[[], int],
) -> None:
    log = open_log(config, directory, create=True)
    store = open_store(config, directory)
    try:
        signers = {issuer_id(intermediate): signer}
        projector = Projector(log, store, VIEWS)
        async with assembled(config, directory, log, store, projector, signers, now=now) as local:
            await local.founding.found(
                FoundCommand(
                    authority=authority,
                    name=request.name,
                    root=root,
                    intermediate=intermediate,
                    requester=local.requester,
                )
            )
            await make_first_token(local, request)
    finally:
        store.close()
        log.close()


async def make_first_token(local: Local, request: InitRequest) -> None:
    """An administrator's token for all that the issuer's constraints allow, in a file that only its owner reads."""
    names = [pattern for domain in request.domains for pattern in (domain, f"**.{domain}")]
    text, _ = await local.tokens.create(
        CreateToken(
            role="admin",
            names=(*names, *(f"ip:{ip_range}" for ip_range in request.ip_ranges)),
            profiles=tuple(sorted(one.name for one in local.profiles.values() if not one.internal)),
            lifetime_seconds=FIRST_TOKEN_DAYS * DAY_SECONDS,
            label="first token",
        ),
        local.requester,
    )
    write_file(local.directory.first_token, text.encode() + b"\n")


# --- rotation -------------------------------------------------------------------------------------------------------


def rotation_request(config: Config, key_type: str, signer: str | None, name: str) -> bytes:
    """Make the next issuing key, and the CSR (PEM) that the root is to sign. The key waits in the data directory."""
    directory = DataDirectory(config.data_dir)
    directory.is_initialised()
    key = create_signer(signer, key_type, f"next-{secrets.token_hex(4)}", directory, config)
    csr = pki_issuer.request_intermediate(key, name=f"{name} Issuing CA")
    waiting = pki_issuer.key_identifier(key.public_key).hex()
    write_file(directory.issuers / f"{waiting}.waiting", key.uri.encode() + b"\n")
    return pem(csr, "CERTIFICATE REQUEST")


async def rotation_finish(local: Local, certificate: bytes) -> Issuer:
    """Bring in the intermediate ``certificate`` (DER) whose key waits here, and issue with it from now on.

    Raises Refused naming every fault of the certificate, among them that no key here fits it.
    """
    directory = local.directory
    spki = pki_issuer.spki_of(certificate)
    waiting = directory.issuers / f"{pki_issuer.key_identifier(spki).hex()}.waiting"
    if not waiting.exists():
        raise Refused(
            Code.ISSUER_CERTIFICATE_INVALID,
            "no key that waits here belongs to this certificate, expected one for a CSR of `quicklime issuer rotate`",
        )
    signer = open_signer(waiting.read_text(encoding="utf-8").strip(), directory, local.config)
    issuer = issuer_id(certificate)
    remember(directory, issuer, signer)
    local.issuers.bring(issuer, signer)
    found = await local.founding.rotate(certificate, signer.public_key, local.requester)
    write_file(directory.issuing_certificate, pem(certificate), mode=0o644)
    waiting.unlink()
    return found


def rotation_sign(
    config: Config,
    request: bytes,
    *,
    root: bytes,
    root_key: Path,
    passphrase: bytes,
    name: str,
    days: int,
    now: Callable[[], int] = clock,
) -> bytes:
    """Sign the CSR of a next intermediate (DER) with the root's key; the certificate (PEM). Run where that key is.

    The certificate gets the root's own name constraints. Raises Refused, BrokenState, SignerUnavailable.
    """
    signer = FileSigner.load(root_key, passphrase)
    spki = pki_issuer.read_issuer_request(request)
    certificate = pki_issuer.sign_intermediate(
        signer,
        root=root,
        spki=spki,
        name=f"{name} Issuing CA",
        entropy=os.urandom,
        now=now(),
        days=days,
        urls=URLs(config.status.url),
    )
    return pem(certificate)
