"""``issuer``: who signs, and how the next one takes over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from quicklime import wiring
from quicklime.cli.output import CONTEXT, Usage
from quicklime.lifecycle.issuer import Issuer
from quicklime.pki.certificate import IssuerFacts
from quicklime.web.render import timestamp

app = typer.Typer(help="The authority's issuers.", no_args_is_help=True)


@app.command("list")
def list_issuers() -> None:
    """Every root and intermediate, and which one issues now."""

    async def read() -> list[Issuer]:
        async with wiring.open_local(CONTEXT.config, progress=CONTEXT.progress) as local:
            return list(local.issuers.authority().issuers)

    rows = [_row(one) for one in asyncio.run(read())]
    columns = ["issuer", "role", "status", "key_type", "not_after"]
    CONTEXT.result(
        rows, lambda: CONTEXT.table(columns, [[row[column] for column in columns] for row in rows])
    )


@app.command("rotate")
def rotate(
    csr_out: Annotated[
        Path | None, typer.Option(help="First: make the next key, and write its CSR here.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Then: the certificate that the root signed; issue with it from now on."),
    ] = None,
    key_type: Annotated[str, typer.Option(help="Type of the next key.")] = "ecdsa-p256",
    signer: Annotated[
        str | None, typer.Option(help="Where the next key is made: file, or pkcs11:...")
    ] = None,
) -> None:
    """Bring in a new intermediate, in two steps: a CSR out, a certificate in. The old one stays answerable.

    A running server takes it up within seconds.
    """
    if (csr_out is None) == (certificate is None):
        raise Usage(
            "rotate is one of two steps",
            hint="quicklime issuer rotate --csr-out next.csr, and after the root signed: --certificate next.pem",
        )
    if csr_out is not None:
        if csr_out.exists():
            raise Usage(f"{csr_out} is there already", hint="name another file")
        name = asyncio.run(_name())
        csr_out.write_bytes(wiring.rotation_request(CONTEXT.config, key_type, signer, name))
        hint = f"quicklime issuer sign-csr {csr_out} --root-key ROOT-KEY --passphrase-file FILE, where the root's key is"
        CONTEXT.result(
            {"csr": csr_out, "next": hint}, lambda: CONTEXT.facts([("CSR", csr_out), ("next", hint)])
        )
        return
    assert certificate is not None
    found = asyncio.run(_finish(_certificate(certificate)))
    CONTEXT.result(_row(found), lambda: CONTEXT.facts(list(_row(found).items())))


@app.command("sign-csr")
def sign_csr(
    csr: Annotated[Path, typer.Argument(help="The CSR of `issuer rotate`.")],
    root_key: Annotated[Path, typer.Option(help="The root's encrypted key.")],
    passphrase_file: Annotated[Path, typer.Option(help="The file that holds its passphrase.")],
    out: Annotated[Path, typer.Option(help="Where the certificate is written.")] = Path("next.pem"),
    root: Annotated[
        Path | None, typer.Option(help="The root's certificate; by default the data directory's.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the intermediate is named after.")] = "Quicklime",
    days: Annotated[int, typer.Option(help="Its lifetime, in days.")] = 1095,
) -> None:
    """Sign the CSR of a next intermediate with the root's key. Run it where that key is, best offline."""
    request = x509.load_pem_x509_csr(_read(csr))
    from cryptography.hazmat.primitives.serialization import Encoding

    config = CONTEXT.config
    root_file = root or wiring.DataDirectory(config.data_dir).root_certificate
    certificate = wiring.rotation_sign(
        config,
        request.public_bytes(Encoding.DER),
        root=_certificate(root_file),
        root_key=root_key,
        passphrase=_read(passphrase_file).strip(),
        name=name,
        days=days,
    )
    out.write_bytes(certificate)
    hint = f"quicklime issuer rotate --certificate {out}"
    CONTEXT.result(
        {"certificate": out, "next": hint}, lambda: CONTEXT.facts([("certificate", out), ("next", hint)])
    )


# Without the keys there are: a new one is brought in just where the old one is lost.
async def _name() -> str:
    async with wiring.open_local(CONTEXT.config, progress=CONTEXT.progress, keys=False) as local:
        return local.issuers.authority().name


async def _finish(certificate: bytes) -> Issuer:
    async with wiring.open_local(CONTEXT.config, progress=CONTEXT.progress, keys=False) as local:
        return await wiring.rotation_finish(local, certificate)


def _row(issuer: Issuer) -> dict[str, object]:
    facts = IssuerFacts.of(issuer.certificate)
    return {
        "issuer": issuer.issuer,
        "role": issuer.role,
        "status": issuer.status,
        "key_type": facts.key_type,
        "not_before": timestamp(facts.not_before),
        "not_after": timestamp(facts.not_after),
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Usage(f"can't read {path}: {error.strerror}") from None


def _certificate(path: Path) -> bytes:
    """One certificate, DER, from a file in PEM or DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    data = _read(path)
    try:
        found = (
            x509.load_pem_x509_certificate(data)
            if b"-----BEGIN" in data
            else x509.load_der_x509_certificate(data)
        )
    except ValueError:
        raise Usage(f"{path} holds no certificate in PEM or DER") from None
    return found.public_bytes(Encoding.DER)
