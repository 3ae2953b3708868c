"""Certificates a second and CPU per certificate: Quicklime over HTTPS with durable recording, the raw limit, and its peers.

The raw limit is what cannot be left out: one P-256 signature, and one verification with a key not seen before. CPU is that of
each system's processes, kernel's part included, from /proc. Servers have one core, the load the other. Rounds alternate between
the subjects, so that a machine that slows down slows them all.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from bench import load, peers, plot
from bench.table import show

SECONDS = 3.0
ALGORITHM = ec.ECDSA(hashes.SHA256())
OURS = "quicklime"


def run(rounds: int, certificates: int) -> None:
    csrs = [csr() for _ in range(certificates)]
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-", dir=".") as name:
        folder = Path(name).resolve()
        subjects = [stack.enter_context(peers.quicklime(folder / "quicklime", name=OURS))]
        if shutil.which("cfssl"):
            subjects.append(stack.enter_context(peers.cfssl(folder / "cfssl", store=False)))
            subjects.append(stack.enter_context(peers.cfssl(folder / "cfssl-store", store=True)))
        else:
            print("cfssl is not installed (make services): measured without it\n")
        if (bao := peers.openbao_program()) is not None:
            subjects.append(stack.enter_context(peers.openbao(folder / "openbao", bao)))
        else:
            print("OpenBao is not installed (make bench does it): measured without it\n")
        requests = {subject.name: [subject.request(one) for one in csrs] for subject in subjects}
        raws: list[float] = []
        figures: dict[str, list[load.Measured]] = {subject.name: [] for subject in subjects}
        for number in range(rounds + 1):
            raw_seconds = raw()
            for subject in subjects:
                measured = load.measure(
                    subject.url,
                    requests[subject.name],
                    pid=subject.pid,
                    connections=subject.connections,
                    seconds=SECONDS if number else 1,
                )
                if number:  # the first round warms up
                    figures[subject.name].append(measured)
            if number:
                raws.append(raw_seconds)
    _tell(rounds, subjects, raws, figures)


def _tell(
    rounds: int, subjects: list[peers.Subject], raws: list[float], figures: dict[str, list[load.Measured]]
) -> None:
    limit = statistics.median(raws)
    cpu = {name: statistics.median(one.cpu_seconds for one in found) for name, found in figures.items()}
    rate = {name: statistics.median(one.per_second for one in found) for name, found in figures.items()}
    rows = [
        ["raw limit: sign, verify a fresh key", f"{1 / limit:.0f}", f"{limit * 1e6:.0f}", "1.000", "", ""]
    ]
    rows += [
        [
            one.name,
            f"{rate[one.name]:.0f}",
            f"{cpu[one.name] * 1e6:.0f}",
            f"{limit / cpu[one.name]:.3f}",
            f"{cpu[OURS] / cpu[one.name]:.2f}",
            one.durability,
        ]
        for one in subjects
    ]
    print(
        f"{rounds} rounds of {SECONDS:.0f} s, {peers.CONNECTIONS} connections (cfssl with store: 1), P-256; "
        "the server on one core, the load on the other\n"
    )
    show(
        [
            "subject",
            "per second",
            "server CPU µs each",
            "share of the raw limit",
            "our CPU against its",
            "durable when answered",
        ],
        rows,
    )
    plot.bars(
        "issuance",
        "CPU per certificate",
        "µs, less is better",
        [
            ("raw limit", round(limit * 1e6)),
            *((one.name, round(cpu[one.name] * 1e6)) for one in subjects),
        ],
    )


def raw(count: int = 500) -> float:
    """CPU seconds for one signature and one verification with a fresh key."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]
    message = bytes(600)
    signed = [
        (
            key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key.sign(message, ALGORITHM),
        )
        for key in keys
    ]
    began = time.process_time()
    for spki, signature in signed:
        key = load_der_public_key(spki)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, message, ALGORITHM)
    for one in keys:
        one.sign(message, ALGORITHM)
    return (time.process_time() - began) / count


def csr() -> bytes:
    """A request (DER) for one name, with a key of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    san = x509.SubjectAlternativeName([x509.DNSName("web.internal")])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(san, critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
