"""The signer's contract, over every adapter: files, and a real PKCS #11 token in software (SoftHSM)."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pkcs11
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
    load_pem_private_key,
)

from quicklime.adapters import pkcs11_signer
from quicklime.adapters.file_signer import FileSigner, generate
from quicklime.adapters.pkcs11_signer import PKCS11Signer
from quicklime.adapters.pkcs11_signer.uri import KeyURI
from quicklime.errors import BrokenState, Code, Refused
from quicklime.pki import algorithms
from quicklime.pki import issuer as pki_issuer
from quicklime.pki.certificate import IssuerFacts, Template, assemble_certificate, check_issued
from quicklime.pki.lint import lint
from quicklime.pki.profile import SERVER
from quicklime.pki.signer import Signer, SignerUnavailable
from tests.support.lab import NOW, URLS, entropy, lab

PASSPHRASE = b"correct horse battery staple"
PIN = "91827364"
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
FILE_TYPES = algorithms.KEY_TYPES
TOKEN_TYPES = ("ecdsa-p256", "ecdsa-p384", "rsa-3072")


class Token:
    """A SoftHSM token in a temporary directory."""

    def __init__(self, folder: Path) -> None:
        self.module = next(path for path in MODULES if Path(path).exists())
        self.folder = folder
        (folder / "tokens").mkdir()
        configuration = folder / "softhsm2.conf"
        configuration.write_text(
            f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        os.environ["SOFTHSM2_CONF"] = str(configuration)
        subprocess.run(
            [
                "softhsm2-util",
                "--init-token",
                "--free",
                "--label",
                "ca one",
                "--pin",
                PIN,
                "--so-pin",
                "5555",
            ],
            check=True,
            capture_output=True,
        )

    def uri(self, name: str) -> str:
        return f"pkcs11:token=ca%20one;object={name}?module-path={self.module}"

    def log_out(self) -> None:
        """Every session is gone, and with it the login: what a token that was pulled and put back does."""
        pkcs11.lib(self.module).finalize()


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    if shutil.which("softhsm2-util", path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
        pytest.skip("softhsm2-util is missing: tests/services.sh installs it")
    before = os.environ.get("SOFTHSM2_CONF")
    made = Token(tmp_path_factory.mktemp("softhsm"))
    yield made
    pkcs11.unload(made.module)
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


CASES = [pytest.param(("file", one), id=f"file-{one}") for one in FILE_TYPES] + [
    pytest.param(("pkcs11", one), id=f"pkcs11-{one}", marks=pytest.mark.peers) for one in TOKEN_TYPES
]


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Signer, Callable[[], Signer], str]:
    """A new key, a way to open it again, and its type."""
    where, key_type = request.param
    if where == "file":
        path = tmp_path_factory.mktemp("keys") / "issuing.pem"
        return (
            FileSigner.create(path, key_type, PASSPHRASE),
            lambda: FileSigner.load(path, PASSPHRASE),
            key_type,
        )
    token: Token = request.getfixturevalue("token")
    uri = token.uri(f"issuing-{key_type}")
    return PKCS11Signer.create(uri, key_type, pin=PIN), lambda: PKCS11Signer(uri, pin=PIN), key_type


Case = tuple[Signer, Callable[[], Signer], str]


@pytest.mark.parametrize(
    "data", [b"", b"x", b"tbs" * 300, bytes(70_000)], ids=["none", "one", "usual", "large"]
)
def test_a_signature_is_over_exactly_the_data(case: Case, data: bytes) -> None:
    signer, _, _ = case
    public_key = load_der_public_key(signer.public_key)
    signature = signer.sign(data)
    algorithms.verify(public_key, signature, data, signer.algorithm)
    with pytest.raises(InvalidSignature):
        algorithms.verify(public_key, signature, data + b"x", signer.algorithm)


def test_key_type_and_algorithm_belong_together(case: Case) -> None:
    signer, _, key_type = case
    kind = algorithms.kind_of(load_der_public_key(signer.public_key))
    assert kind.key_type == key_type
    assert kind.algorithm == signer.algorithm


def test_what_was_made_is_found_again(case: Case) -> None:
    signer, again, _ = case
    second = again()
    assert second.public_key == signer.public_key
    assert second.uri == signer.uri
    algorithms.verify(
        load_der_public_key(signer.public_key), second.sign(b"hello"), b"hello", signer.algorithm
    )


def test_it_says_nothing_of_its_secrets(case: Case) -> None:
    signer, _, _ = case
    for text in (repr(signer), signer.uri):
        assert PIN not in text
        assert PASSPHRASE.decode() not in text
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(signer)


def test_threads_share_it(case: Case) -> None:
    signer, _, _ = case
    public_key = load_der_public_key(signer.public_key)
    messages = [f"message {number}".encode() for number in range(24)]
    with ThreadPoolExecutor(4) as threads:
        for message, signature in zip(messages, threads.map(signer.sign, messages), strict=True):
            algorithms.verify(public_key, signature, message, signer.algorithm)


def test_only_quick_keys_are_asked_on_the_event_loop(case: Case) -> None:
    signer, _, key_type = case
    quick = isinstance(signer, FileSigner) and key_type in {"ecdsa-p256", "ed25519"}
    assert signer.blocking is not quick


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "issuing.pem"
    FileSigner.create(path, "ecdsa-p256", PASSPHRASE)
    return path


def test_a_key_file_is_its_owners_alone_and_encrypted(key_file: Path) -> None:
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert key_file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert [path.name for path in key_file.parent.iterdir()] == ["issuing.pem"]


def test_openssl_opens_the_key_file_and_agrees(key_file: Path) -> None:
    done = subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            str(key_file),
            "-passin",
            f"pass:{PASSPHRASE.decode()}",
            "-pubout",
            "-outform",
            "DER",
        ],
        check=True,
        capture_output=True,
    )
    assert done.stdout == FileSigner.load(key_file, PASSPHRASE).public_key


def test_a_key_is_never_replaced(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(BrokenState, match="exists already"):
        FileSigner.create(key_file, "ecdsa-p256", PASSPHRASE)
    assert key_file.read_bytes() == before
    assert [path.name for path in key_file.parent.iterdir()] == ["issuing.pem"]


def test_a_key_is_made_safe_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FileSigner.create(tmp_path / "open.pem", "ed25519", PASSPHRASE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_reach_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(BrokenState, match=f"{mode:04o}") as caught:
        FileSigner.load(key_file, PASSPHRASE)
    assert f"chmod 600 {key_file}" in caught.value.hint


def test_a_wrong_passphrase_is_not_repeated_to_anybody(key_file: Path) -> None:
    with pytest.raises(SignerUnavailable) as caught:
        FileSigner.load(key_file, b"hunter2hunter2")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def _write(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    path.chmod(0o600)
    return path


def test_a_key_in_clear_is_refused(key_file: Path) -> None:
    key = load_pem_private_key(key_file.read_bytes(), PASSPHRASE)
    clear = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(BrokenState, match="not encrypted"):
        FileSigner.load(_write(key_file.with_name("clear.pem"), clear), PASSPHRASE)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenState, match="missing"):
        FileSigner.load(tmp_path / "nowhere.pem", PASSPHRASE)
    with pytest.raises(BrokenState, match="no regular file"):
        FileSigner.load(tmp_path, PASSPHRASE)
    with pytest.raises(BrokenState, match="larger"):
        FileSigner.load(_write(tmp_path / "large", bytes(70_000)), PASSPHRASE)
    with pytest.raises(SignerUnavailable, match="damaged"):
        FileSigner.load(_write(tmp_path / "noise", b"\x00\xff" * 50), PASSPHRASE)


def test_a_fifo_does_not_hang_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(BrokenState, match="no regular file"):
        FileSigner.load(tmp_path / "pipe", PASSPHRASE)


def test_a_truncated_key_file_is_refused(key_file: Path) -> None:
    whole = key_file.read_bytes()
    for length in range(0, len(whole) - 30, 25):
        with pytest.raises((SignerUnavailable, BrokenState)):
            FileSigner.load(_write(key_file, whole[:length]), PASSPHRASE)


def test_a_key_on_another_curve_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

    key = ec.generate_private_key(ec.SECP521R1())
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE))
    with pytest.raises(BrokenState, match="unsupported"):
        FileSigner.load(_write(tmp_path / "p521.pem", encoded), PASSPHRASE)


def test_unknown_key_types_and_empty_passphrases_make_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        FileSigner.create(tmp_path / "x.pem", "dsa-1024", PASSPHRASE)
    assert caught.value.code is Code.KEY_TYPE_NOT_ALLOWED
    with pytest.raises(BrokenState, match="passphrase"):
        FileSigner.create(tmp_path / "x.pem", "ed25519", b"")
    with pytest.raises(BrokenState, match="can't be written"):
        FileSigner.create(tmp_path / "no" / "folder.pem", "ed25519", PASSPHRASE)
    assert not list(tmp_path.iterdir())


def test_a_wrong_rsa_signature_is_thrown_away(tmp_path: Path) -> None:
    signer = FileSigner.create(tmp_path / "rsa.pem", "rsa-2048", PASSPHRASE)
    signer._key = generate("rsa-2048")  # computes something else than the public key expects
    with pytest.raises(SignerUnavailable, match="wrong signature"):
        signer.sign(b"x")


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_token(token: Token) -> PKCS11Signer:
    return PKCS11Signer.create(token.uri("shared"), "ecdsa-p256", pin=PIN)


@pytest.mark.peers
def test_a_lost_session_is_opened_anew(token: Token, in_token: PKCS11Signer) -> None:
    in_token.sign(b"before")
    token.log_out()
    algorithms.verify(
        load_der_public_key(in_token.public_key), in_token.sign(b"after"), b"after", in_token.algorithm
    )


@pytest.mark.peers
def test_one_signer_that_closes_does_not_stop_another(token: Token, in_token: PKCS11Signer) -> None:
    other = PKCS11Signer(token.uri("shared"), pin=PIN)
    in_token.close()
    assert other.sign(b"x")
    assert in_token.sign(b"x")


@pytest.mark.peers
def test_a_token_that_is_gone_makes_the_signer_unavailable_and_its_return_mends_it(
    token: Token, in_token: PKCS11Signer
) -> None:
    tokens, away = token.folder / "tokens", token.folder / "away"
    tokens.rename(away)
    tokens.mkdir()
    try:
        with pytest.raises(SignerUnavailable) as caught:
            in_token.sign(b"x")
        assert PIN not in str(caught.value)
    finally:
        tokens.rmdir()
        away.rename(tokens)
    assert in_token.sign(b"x")


@pytest.mark.peers
def test_a_key_in_a_token_can_not_be_taken_out(token: Token, in_token: PKCS11Signer) -> None:
    session = pkcs11.lib(token.module).get_token(token_label="ca one").open()
    (key,) = session.get_objects(
        {pkcs11.Attribute.LABEL: "shared", pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}
    )
    assert key[pkcs11.Attribute.SENSITIVE] is True
    assert key[pkcs11.Attribute.EXTRACTABLE] is False
    with pytest.raises(pkcs11.AttributeSensitive):
        _ = key[pkcs11.Attribute.VALUE]


@pytest.mark.peers
@pytest.mark.parametrize("key_type", TOKEN_TYPES)
def test_an_issuer_whose_key_is_in_a_token_issues(token: Token, key_type: str) -> None:
    root = lab()
    signer = PKCS11Signer.create(token.uri(f"issuer-{key_type}"), key_type, pin=PIN)
    intermediate = pki_issuer.sign_intermediate(
        root.root_signer,
        root=root.root,
        spki=pki_issuer.read_issuer_request(pki_issuer.request_intermediate(signer, name="Token CA")),
        name="Token CA",
        entropy=entropy,
        now=NOW,
        days=30,
    )
    facts = IssuerFacts.of(intermediate)
    tbs = Template(facts, SERVER, URLS).tbs(
        serial="41" * 20,
        not_before=NOW,
        not_after=NOW + 60,
        spki=root.signer.public_key,
        names=("dns:a.lab.internal",),
    )
    assert not lint(tbs, facts)
    check_issued(assemble_certificate(tbs, signer.algorithm, signer.sign(tbs)), tbs, facts)


@pytest.mark.peers
def test_a_second_key_of_a_name_is_refused(token: Token, in_token: PKCS11Signer) -> None:
    with pytest.raises(BrokenState, match="exists already"):
        PKCS11Signer.create(token.uri("shared"), "ecdsa-p256", pin=PIN)


@pytest.mark.peers
def test_a_wrong_pin_is_tried_once(token: Token, in_token: PKCS11Signer) -> None:
    token.log_out()
    way = pkcs11_signer._Token(KeyURI.parse(token.uri("shared")), "wrong", None)
    with pytest.raises(SignerUnavailable, match="refuses the PIN"):
        way.open(rw=False)
    with pytest.raises(SignerUnavailable, match="not tried again"):
        way.open(rw=False)
    assert in_token.sign(b"x")


@pytest.mark.peers
def test_the_pin_comes_from_a_file_of_the_owner(token: Token, in_token: PKCS11Signer, tmp_path: Path) -> None:
    source = _write(tmp_path / "pin", f"{PIN}\n".encode())
    uri = f"{token.uri('shared')}&pin-source=file:{source}"
    token.log_out()
    assert PKCS11Signer(uri).sign(b"x")
    source.chmod(0o644)
    with pytest.raises(BrokenState, match="readable by others"):
        PKCS11Signer(uri)
    source.unlink()
    with pytest.raises(BrokenState, match="can't be read"):
        PKCS11Signer(uri)


@pytest.mark.peers
def test_keys_and_tokens_that_are_not_there(token: Token, in_token: PKCS11Signer) -> None:
    with pytest.raises(BrokenState, match="0 private keys"):
        PKCS11Signer(token.uri("nobody"), pin=PIN)
    with pytest.raises(SignerUnavailable, match="0 tokens"):
        PKCS11Signer(token.uri("shared").replace("ca%20one", "other"), pin=PIN)
    with pytest.raises(SignerUnavailable):
        PKCS11Signer("pkcs11:token=a;object=b?module-path=/nowhere/lib.so", pin=PIN)
    with pytest.raises(Refused) as caught:
        PKCS11Signer.create(token.uri("new"), "ml-dsa-65", pin=PIN)
    assert caught.value.code is Code.KEY_TYPE_NOT_ALLOWED


@pytest.mark.peers
def test_a_token_that_signs_wrongly_is_noticed(
    token: Token, in_token: PKCS11Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = in_token._ask
    monkeypatch.setattr(in_token, "_ask", lambda data: right(data + b"a bit flipped on the way"))
    with pytest.raises(SignerUnavailable, match="wrong signature"):
        in_token.sign(b"x")


@pytest.mark.peers
def test_losing_the_session_under_many_threads_loses_no_signature(
    token: Token, in_token: PKCS11Signer
) -> None:
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(0.01):
            session = in_token._session
            if session is not None:
                with in_token._lock:
                    session.close()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with ThreadPoolExecutor(3) as threads:
            assert all(threads.map(in_token.sign, [b"x"] * 60))
    finally:
        stop.set()
        disturber.join()


# --- URIs (RFC 7512) ------------------------------------------------------------------------------------------------


def test_a_uri_is_percent_decoded() -> None:
    uri = KeyURI.parse("pkcs11:token=My%20CA%3b1;object=issuing;id=%00%ff;type=private?module-path=/lib/x.so")
    assert uri.path["token"] == "My CA;1"
    assert uri.label == "issuing"
    assert uri.key_id == b"\x00\xff"
    assert uri.module_path == "/lib/x.so"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:x", "expected pkcs11:"),
        ("pkcs11", "expected pkcs11:"),
        ("pkcs11:", "names no key"),
        ("pkcs11:object=a", "names no token"),
        ("pkcs11:token=a", "names no key"),
        ("pkcs11:token=a;object=b;object=c", "twice"),
        ("pkcs11:token=a;object=b;slot-id=3", "'slot-id'"),
        ("pkcs11:token=a;object=b;type=public", "expected private"),
        ("pkcs11:token=a;object=b?module-name=x", "'module-name'"),
        ("pkcs11:token=a;object=b?pin-value=91827364", "'pin-value'"),
        ("pkcs11:token=a;pin-value=91827364;object=b", "'pin-value'"),
        ("pkcs11:token=a;object", "'object'"),
        ("pkcs11:token=%ff;object=b", "UTF-8"),
        ("pkcs11:token=a;object=b\n", "expected pkcs11:"),
        ("pkcs11:token=\u00e9;object=b", "expected pkcs11:"),
        ("pkcs11:token=a;object=" + "b" * 3000, "expected pkcs11:"),
        ("pkcs11:token=a;object=b", "'module-path' is missing"),
        ("pkcs11:token=a;object=b?module-path=/x&pin-source=%7Ccat%20/etc/pin", "expected file:/PATH"),
        ("pkcs11:token=a;object=b?module-path=/x&pin-source=pin", "expected file:/PATH"),
    ],
)
def test_a_uri_that_is_not_understood_is_refused(uri: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as caught:
        PKCS11Signer(uri)
    assert caught.value.code is Code.REQUEST_MALFORMED
    assert "91827364" not in str(caught.value)
