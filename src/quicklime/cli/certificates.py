"""``issue``, ``renew``, ``revoke``, ``status``, ``list``, ``show``, ``lineage``: a subscriber's and an operator's daily work.

``issue`` keeps three files side by side: ``NAME.key``, ``NAME.pem`` (leaf, then intermediates) and ``NAME.json`` (serial, renewal
challenge, revocation secret). The key is on the disk before the request leaves, and ``renew`` puts new files in place of old ones
only once the new certificate is there; a crash in between leaves a pair that works.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from quicklime.cli import keys
from quicklime.cli.client import client
from quicklime.cli.output import CONTEXT, Found, Usage, safe
from quicklime.cli.token import seconds_of
from quicklime.errors import Refused
from quicklime.lifecycle.certificate import REVOCATION_REASONS, renewal_message, revocation_message
from quicklime.pki.names import canonical
from quicklime.web.render import octets_of, serial_of

Where = Annotated[str, typer.Argument(help="A certificate (PEM), the JSON file of `issue`, or a serial.")]
Passphrase = Annotated[Path | None, typer.Option(help="A file with the passphrase of the private key.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    app.command("issue")(issue)
    app.command("renew")(renew)
    app.command("revoke")(revoke)
    app.command("status")(status)
    app.command("list")(list_certificates)
    app.command("show")(show)
    app.command("lineage")(lineage)


def issue(
    names: Annotated[
        list[str], typer.Argument(help="DNS names and IP addresses; the first names the files.")
    ],
    profile: Annotated[str, typer.Option(help="server, client, peer, or one of the operator's.")] = "server",
    key_type: Annotated[
        str, typer.Option(help=f"Type of the new key: {', '.join(keys.KEY_TYPES)}.")
    ] = "ecdsa-p256",
    key: Annotated[Path | None, typer.Option(help="Use this private key instead of a new one.")] = None,
    lifetime: Annotated[
        str | None, typer.Option(help="How long it is good: 12h, 30d; by default the profile's.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Which machine or replica it is for.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for the files.")] = Path(),
    passphrase_file: Passphrase = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Get a certificate: makes the key and the request, and keeps what comes back."""
    typed = canonical(names)
    first = names[0].partition(":")[2] if names[0].startswith(("dns:", "ip:")) else names[0]
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", first.lower().replace("*", "wildcard"))
    files = {kind: out / f"{stem}.{kind}" for kind in ("key", "pem", "json")}
    if not force and (
        there := [path for kind, path in files.items() if path.exists() and (kind != "key" or key is None)]
    ):
        raise Usage(
            f"{there[0]} is there already",
            hint=f"quicklime renew {files['json']}, or --force to replace all three",
        )
    passphrase = _passphrase(passphrase_file)
    seconds = None if lifetime is None else seconds_of(lifetime)
    private = keys.load(key, passphrase) if key is not None else keys.generate(key_type)
    with client() as authority:
        out.mkdir(parents=True, exist_ok=True)
        draft = _draft(files["key"])
        if key is None:
            keys.write(draft, keys.encoded(private, passphrase), keys.KEY_MODE)
        try:
            answer = authority.post(
                "/v1/certificates",
                {
                    "csr": _pem(keys.request(private, typed)),
                    "profile": profile,
                    "validity_seconds": seconds,
                    "node": node,
                },
            )
        except Refused:
            draft.unlink(missing_ok=True)
            raise
    _keep(files, answer, draft if key is None else None)
    _told(answer, files if key is None else files | {"key": key})


def renew(
    where: Where,
    key: Annotated[
        Path | None, typer.Option(help="The old private key; by default beside the certificate.")
    ] = None,
    same_key: Annotated[
        bool, typer.Option("--same-key", help="Go on with the old key instead of a new one.")
    ] = False,
    due: Annotated[
        bool, typer.Option("--due", help="Only where it is time (two thirds of the lifetime).")
    ] = False,
    lifetime: Annotated[
        str | None, typer.Option(help="How long it is good; by default the profile's.")
    ] = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Replace a certificate by a new one, proving possession of its key; needs no token. Fit for cron and timers."""
    kept = _kept(where)
    files = _files(Path(where), key)
    passphrase = _passphrase(passphrase_file)
    seconds = None if lifetime is None else seconds_of(lifetime)
    serial = kept["serial"]
    with client() as authority:
        terms = authority.get(f"/v1/certificates/{serial}/renewals", token=False)
        if due and datetime.now(UTC) < datetime.fromisoformat(terms["due_at"]):
            content = {"serial": serial, "renewed": False, "due_at": terms["due_at"]}
            CONTEXT.result(content, lambda: print(f"not due before {terms['due_at']}"))
            return
        old = keys.load(files["key"], passphrase)
        private = old if same_key else keys.generate(keys.key_type_of(old))
        csr = keys.request(private, kept["names"])
        challenge = octets_of(terms["renewal_challenge"], "renewal_challenge")
        signature = keys.sign(old, renewal_message(challenge, csr.public_bytes(Encoding.DER)))
        draft = _draft(files["key"])
        if not same_key:
            keys.write(draft, keys.encoded(private, passphrase), keys.KEY_MODE)
        try:
            answer = authority.post(
                f"/v1/certificates/{serial}/renewals",
                {
                    "csr": _pem(csr),
                    "signature": b64encode(signature).decode(),
                    "validity_seconds": seconds,
                },
                token=False,
            )
        except Refused:
            draft.unlink(missing_ok=True)
            raise
    _keep(files, answer, None if same_key else draft)
    _told(answer, files)


def revoke(
    where: Where,
    reason: Annotated[str, typer.Option(help=f"{', '.join(REVOCATION_REASONS.values())}.")] = "unspecified",
    invalidity_date: Annotated[
        str | None, typer.Option(help="Since when the key is known or feared to be compromised (RFC 3339).")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Prove it by the certificate's private key.")] = None,
    token: Annotated[
        bool, typer.Option("--token", help="Revoke as an operator, even where a secret is at hand.")
    ] = False,
    passphrase_file: Passphrase = None,
) -> None:
    """Revoke for ever: with the secret in the JSON file, with the certificate's key, or as an operator."""
    numbers = {name: number for number, name in REVOCATION_REASONS.items()}
    if reason not in numbers:
        raise Usage(f"reason {reason!r}, expected one of {', '.join(numbers)}")
    kept = _kept(where)
    serial = kept["serial"]
    body: dict[str, object] = {"reason": reason, "invalidity_date": invalidity_date}
    with client() as authority:
        if key is not None:
            terms = authority.get(f"/v1/certificates/{serial}/renewals", token=False)
            challenge = octets_of(terms["renewal_challenge"], "renewal_challenge")
            message = revocation_message(challenge, serial, numbers[reason])
            body["signature"] = b64encode(
                keys.sign(keys.load(key, _passphrase(passphrase_file)), message)
            ).decode()
        elif "revocation_secret" in kept and not token:
            body["secret"] = kept["revocation_secret"]
        answer = authority.post(f"/v1/certificates/{serial}/revocation", body)
    was = "was revoked before" if answer["repeated"] else "revoked"
    CONTEXT.result(answer, lambda: print(f"{serial} {was} at {answer['revoked_at']} ({answer['reason']})"))


def status(where: Where) -> None:
    """good, revoked, expired or unknown. Ends with code 6 unless it is good."""
    serial = _kept(where)["serial"]
    with client() as authority:
        answer = authority.get(f"/v1/certificates/{serial}/status", token=False)

    def text() -> None:
        since = f" at {answer['revoked_at']} ({answer['reason']})" if answer["revoked_at"] else ""
        print(f"{serial} {answer['status']}{since}")

    CONTEXT.result(answer, text)
    if answer["status"] != "good":
        raise Found


def list_certificates(
    name: Annotated[str | None, typer.Option(help="Only those for this name.")] = None,
    status: Annotated[str, typer.Option(help="all, issued, revoked or expired.")] = "all",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
) -> None:
    """Certificates in the order in which they were issued."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    with client() as authority:
        while len(found) < limit:
            page = authority.get(
                "/v1/certificates", name=name, status=status, limit=min(1000, limit - len(found)), after=after
            )
            found += page["certificates"]
            after = page["next"]
            if after is None:
                break
    columns = ["serial", "status", "profile", "names", "node", "not_after"]
    rows = [[_cell(row[column]) for column in columns] for row in found]
    CONTEXT.result(found, lambda: CONTEXT.table(columns, rows))


def show(
    where: Where,
    pem: Annotated[bool, typer.Option("--pem", help="Only the chain, in PEM.")] = False,
) -> None:
    """All that is known of one certificate."""
    with client() as authority:
        answer = authority.get(f"/v1/certificates/{_kept(where)['serial']}")
    if pem:
        print(answer["chain"], end="")
        return
    facts = [(name, _cell(value)) for name, value in answer.items() if name not in {"certificate", "chain"}]
    CONTEXT.result(answer, lambda: CONTEXT.facts(facts))


def lineage(
    name: Annotated[str, typer.Argument(help="A DNS name or an IP address.")],
    at: Annotated[
        str | None, typer.Option(help="Judge what is overdue as of this moment (RFC 3339).")
    ] = None,
) -> None:
    """The certificates of a service name, node by node, each with what it replaced; what is overdue stands out."""
    with client() as authority:
        answer = authority.get("/v1/lineages", name=name, at=at)

    def text() -> None:
        print(safe(answer["name"]))
        lineages = answer["lineages"]
        for place, one in enumerate(lineages):
            last = place == len(lineages) - 1
            mark = "  OVERDUE" if one["overdue"] else ""
            print(f"{'└─' if last else '├─'} {safe(one['node'] or 'no node')}  {one['lineage'][:16]}{mark}")
            _branch(one["certificates"], "   " if last else "│  ")

    CONTEXT.result(answer, text)


def _branch(certificates: list[dict[str, Any]], indent: str) -> None:
    """The chain of one lineage: each certificate under the one that it replaced."""
    depth = {None: -1}
    for one in certificates:
        depth[one["serial"]] = depth.get(one["predecessor"], -1) + 1
        state = "overdue" if one["overdue"] else "replaced" if one["successor"] else one["status"]
        step = "  " * depth[one["serial"]]
        days = f"{one['not_before'][:10]} to {one['not_after'][:10]}"
        due = f"  due {one['due_at'][:10]}" if state in {"issued", "overdue"} else ""
        print(f"{indent}{step}└─ {one['serial'][:16]}  {days}  {safe(state)}{due}")


# --- files ----------------------------------------------------------------------------------------------------------


def _kept(where: str) -> dict[str, Any]:
    """What is known of a certificate by its file or serial: at least ``serial``; ``names`` where there is a file."""
    path = Path(where)
    if not path.is_file():
        try:
            return {"serial": serial_of(where)}
        except Refused:
            raise Usage(f"{where!r} is neither a file nor a serial of 40 hexadecimal characters") from None
    content = path.read_bytes()
    if content.lstrip().startswith(b"{"):
        try:
            kept = json.loads(content)
            return {**kept, "serial": serial_of(str(kept["serial"]))}
        except (ValueError, KeyError, Refused):
            raise Usage(f"{path} is not a file that `quicklime issue` wrote") from None
    try:
        certificate = x509.load_pem_x509_certificate(content)
    except ValueError:
        raise Usage(f"{path} holds neither a certificate in PEM nor what `quicklime issue` keeps") from None
    kept = {"serial": f"{certificate.serial_number:040x}", "names": _names_in(certificate)}
    beside = path.with_suffix(".json")
    if beside.is_file():
        other = _kept(str(beside))
        if other["serial"] == kept["serial"]:
            return other
    return kept


def _names_in(certificate: x509.Certificate) -> list[str]:
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = [f"dns:{one}" for one in san.get_values_for_type(x509.DNSName)]
    return dns + [f"ip:{one}" for one in san.get_values_for_type(x509.IPAddress)]


def _files(path: Path, key: Path | None) -> dict[str, Path]:
    if not path.is_file():
        raise Usage(
            f"{path} is not a file", hint="name the certificate or the JSON file that `quicklime issue` wrote"
        )
    return {
        "key": key or path.with_suffix(".key"),
        "pem": path.with_suffix(".pem"),
        "json": path.with_suffix(".json"),
    }


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _keep(files: dict[str, Path], answer: dict[str, Any], new_key: Path | None) -> None:
    """Put what came back in place: the JSON first, since it alone can revoke; then the key and its certificate."""
    keys.write(files["json"], json.dumps(answer, indent=2).encode() + b"\n", keys.KEY_MODE)
    if new_key is not None:
        new_key.replace(files["key"])
    keys.write(files["pem"], str(answer["chain"]).encode(), keys.CERTIFICATE_MODE)


def _told(answer: dict[str, Any], files: dict[str, Path]) -> None:
    content = {key: value for key, value in answer.items() if key not in {"certificate", "chain"}}
    content["files"] = {kind: str(path) for kind, path in files.items()}
    rows: list[tuple[str, object]] = [
        ("serial", answer["serial"]),
        ("names", ", ".join(answer["names"])),
        ("valid until", answer["not_after"]),
        ("key", files["key"]),
        ("certificate", files["pem"]),
        ("renew and revoke", files["json"]),
    ]
    if answer.get("predecessor"):
        rows.insert(1, ("replaces", answer["predecessor"]))
    CONTEXT.result(content, lambda: CONTEXT.facts(rows))


def _passphrase(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise Usage(f"can't read {path}: {error.strerror}") from None


def _pem(csr: x509.CertificateSigningRequest) -> str:
    return csr.public_bytes(Encoding.PEM).decode()


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value['kind']} {value['id']}" if isinstance(value, dict) and "kind" in value else value
