"""Starts: the second finds what the first made; each state that is not as it must be is told, with how to mend it and the
documented exit code, and mended as told it goes on with nothing lost."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.clients import Bearer, certified
from tests.support.stack import Stack, program, run

pytestmark = pytest.mark.peers

UNREACHABLE = 4
BROKEN = 5
FOUND = 6


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stack, Bearer]:
    """An authority that has served, issued, and was stopped; tests work on copies of it."""
    stack = Stack(folder=tmp_path_factory.mktemp("stopped"))
    stack.found()
    stack.start()
    bearer = certified(stack, stack.folder / "web", "DNS:web.lab.internal")
    stack.stop()
    return stack, bearer


@pytest.fixture
def copy(stopped: tuple[Stack, Bearer], tmp_path: Path) -> Iterator[Stack]:
    """A copy of the data directory, with ports and settings of its own; a server that a test left running is ended."""
    before, _ = stopped
    stack = Stack(folder=tmp_path)
    shutil.copytree(before.data, stack.data)
    text = before.config.read_text().replace(str(before.data), str(stack.data))
    text = text.replace(str(before.api_port), str(stack.api_port))
    stack.config.write_text(text.replace(str(before.status_port), str(stack.status_port)))
    yield stack
    if stack.process is not None:
        stack.process.kill()
        stack.process.wait()


def _serve(stack: Stack, *, prefix: Sequence[str] = (), command: str = "serve") -> tuple[int, str, str]:
    """(exit code, message, hint) of a server that does not start."""
    done = subprocess.run(
        [*prefix, *stack._command("--output", "json", command)],
        env=stack._environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    told = json.loads(done.stderr[done.stderr.index("{") :] if done.stderr else done.stdout)
    return done.returncode, str(told["error"]), str(told.get("hint", ""))


def _goes_on(stack: Stack, bearer: Bearer) -> None:
    """Everything answered before is known, and more can be had."""
    stack.start()
    with stack.client() as client:
        assert client.get(f"/v1/certificates/{bearer.serial}/status").json()["status"] == "good"
    certified(stack, stack.folder / "more", "DNS:more.lab.internal")
    stack.stop()
    assert stack.told("log", "verify")["faults"] == []


def test_a_second_start_finds_its_state(copy: Stack, stopped: tuple[Stack, Bearer]) -> None:
    before, bearer = stopped
    records = len(before.events())
    _goes_on(copy, bearer)
    assert [event["value"] for event in copy.events()[:records]] == [
        event["value"] for event in before.events()
    ]
    # and the same by `init`, which founds nothing where something is
    done = copy.quicklime("init", fails=True)
    assert done == b""
    assert len(copy.events()) > records


def _flip(path: Path, where: bytes) -> None:
    octets = bytearray(path.read_bytes())
    place = octets.index(where)
    octets[place] ^= 1
    path.write_bytes(octets)


LOOSE: dict[str, tuple[Callable[[Stack], object], int, str, str]] = {
    # what was done, exit code, a part of the message, a part of the hint
    "log missing": (lambda one: (one.data / "log.sqlite").unlink(), BROKEN, "has no log", "backup"),
    "log empty": (lambda one: (one.data / "log.sqlite").write_bytes(b""), BROKEN, "is not a log", ""),
    "log of another program": (
        lambda one: (one.data / "log.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000),
        BROKEN,
        "log.sqlite",
        "",
    ),
    "log cut off": (
        lambda one: (one.data / "log.sqlite").write_bytes((one.data / "log.sqlite").read_bytes()[:9000]),
        BROKEN,
        "damaged",
        "backup",
    ),
    "key missing": (
        lambda one: (one.data / "issuers" / "issuing.pem").unlink(),
        BROKEN,
        "is not here",
        "backup",
    ),
    "key of others": (
        lambda one: (one.data / "issuers" / "issuing.pem").chmod(0o644),
        BROKEN,
        "issuing.pem",
        "chmod 600",
    ),
    "key damaged": (
        lambda one: _flip(one.data / "issuers" / "issuing.pem", b"MI"),
        BROKEN,
        "does not open",
        "backup",
    ),
    "wrong passphrase": (
        lambda one: (one.data / "secrets" / "issuer-passphrase").write_text("wrong\n"),
        BROKEN,
        "does not open",
        "issuer-passphrase",
    ),
    "no passphrase": (
        lambda one: (one.data / "secrets" / "issuer-passphrase").unlink(),
        BROKEN,
        "issuer-passphrase is missing",
        "backup",
    ),
    "no secrets": (lambda one: shutil.rmtree(one.data / "secrets"), BROKEN, "secrets is missing", "backup"),
    "open to others": (lambda one: one.data.chmod(0o755), BROKEN, "read by others", "chmod 700"),
    "secrets open": (lambda one: (one.data / "secrets").chmod(0o750), BROKEN, "read by others", "chmod 700"),
    "no format": (lambda one: (one.data / "format").unlink(), BROKEN, "no file 'format'", "not"),
    "format of the future": (
        lambda one: (one.data / "format").write_text("quicklime-data 99\n"),
        BROKEN,
        "format 99",
        "newer version",
    ),
    "no directory": (lambda one: shutil.rmtree(one.data), BROKEN, "no authority", "quicklime init"),
    "a file for a directory": (
        lambda one: one.data.rename(one.folder / "away").parent.joinpath("data").write_text("x"),
        BROKEN,
        "not a directory",
        "--data-dir",
    ),
}


@pytest.mark.parametrize("name", LOOSE)
def test_what_is_not_as_it_must_be_is_told(
    copy: Stack, stopped: tuple[Stack, Bearer], name: str, tmp_path: Path
) -> None:
    harm, code, message, hint = LOOSE[name]
    harm(copy)
    shown = _tree(copy.data)
    found = _serve(copy)
    assert found[0] == code
    assert message in found[1]
    assert hint in found[2]
    # looking changed nothing
    assert _tree(copy.data) == shown
    # brought back from the backup, it goes on
    if name in {"log missing", "log cut off", "wrong passphrase", "no directory"}:
        shutil.rmtree(copy.data, ignore_errors=True)
        shutil.copytree(stopped[0].data, copy.data)
        _goes_on(copy, stopped[1])


def _tree(path: Path) -> dict[str, bytes]:
    """Every file with its octets; what LMDB and the lock of the server keep for themselves is left out."""
    return {
        str(one.relative_to(path)): one.read_bytes()
        for one in path.rglob("*")
        if one.is_file()
        and "views" not in one.parts
        and one.name not in {"serve.lock", "log.sqlite-shm", "log.sqlite-wal"}
    }


def test_a_strangers_directory_is_left_alone(copy: Stack) -> None:
    shutil.rmtree(copy.data)
    copy.data.mkdir()
    (copy.data / "thesis.tex").write_text("years of work")
    for command in ("serve", "up", "init"):
        code, message, hint = _serve(copy, command=command)
        assert (code, "thesis.tex" in message, "nothing in this one was touched" in hint) == (
            BROKEN,
            True,
            True,
        )
    assert _tree(copy.data) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize(
    "where", [b'"names":["dns:web', b'"public_key":"MFk', b'"tbs":"MII', b'"certificate":"MII']
)
def test_a_flipped_bit_in_the_log_is_found(copy: Stack, where: bytes) -> None:
    octets = bytearray((copy.data / "log.sqlite").read_bytes())
    place = octets.index(where) + len(where) - 1
    octets[place] ^= 1
    (copy.data / "log.sqlite").write_bytes(octets)
    done = subprocess.run(
        copy._command("--output", "json", "log", "verify"),
        env=copy._environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == FOUND, done.stdout + done.stderr
    assert json.loads(done.stdout)["faults"]


def test_deleted_views_are_made_again(copy: Stack, stopped: tuple[Stack, Bearer]) -> None:
    before = {row["view"]: row["digest"] for row in copy.told("view", "digest")}
    shutil.rmtree(copy.data / "views")
    assert {row["view"]: row["digest"] for row in copy.told("view", "digest")} == before
    _goes_on(copy, stopped[1])


@pytest.mark.parametrize("which", ["api", "status"])
def test_a_port_that_is_taken(copy: Stack, which: str) -> None:
    port = copy.api_port if which == "api" else copy.status_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        code, message, hint = _serve(copy)
    assert (code, f"port {port}" in message) == (BROKEN, True)
    assert f"QUICKLIME_{which.upper()}__PORT" in hint


def test_a_second_server_on_the_same_directory(copy: Stack, stopped: tuple[Stack, Bearer]) -> None:
    copy.start()
    assert copy.process is not None
    code, message, hint = _serve(copy)
    assert code == BROKEN
    assert f"process {copy.process.pid}" in message
    assert "--data-dir" in hint
    # the first never noticed
    certified(copy, copy.folder / "still", "DNS:still.lab.internal")
    copy.stop()


def test_a_disk_that_is_full(copy: Stack, stopped: tuple[Stack, Bearer]) -> None:
    """Files that may not grow, as on a full disk: no certificate is answered that the log does not hold, and nothing is lost."""
    size = max(one.stat().st_size for one in copy.data.glob("log.sqlite*"))
    limit = max(size, 256 << 10) + (64 << 10)

    # Python passes over the signal, so that the file's end is an error as on a full disk
    full = replace(copy, prefix=("prlimit", f"--fsize={limit}"), process=None)
    full.start()
    answered, refused = [], 0
    with full.client() as client:
        body = {"csr": stopped[1].leaf.with_name("request.pem").read_text()}
        for _ in range(400):
            answer = client.post("/v1/certificates", json=body)
            if answer.status_code == 201:
                answered.append(answer.json()["serial"])
                continue
            assert answer.status_code == 503, answer.text
            assert answer.json()["reasons"][0]["code"] == "log-unavailable"
            assert "retry-after" in answer.headers
            refused += 1
            if refused == 5:
                break
    assert answered
    assert refused == 5
    assert full.is_alive()
    full.stop()
    # room was made
    _goes_on(copy, stopped[1])
    known = {row["serial"] for row in _list(copy)}
    assert set(answered) <= known


def _list(stack: Stack) -> list[dict[str, object]]:
    stack.start()
    try:
        found = stack.told("list", "--limit", "1000")
    finally:
        stack.stop()
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_an_hour_off(copy: Stack, stopped: tuple[Stack, Bearer], hours: int) -> None:
    """It starts, issues and answers for who has the same clock, and is good again when the clock is."""
    # the environment that `faketime` makes; the program itself would stand between us and the server's signals
    printed = run(program("faketime"), "-f", f"{hours:+d}h", "env").decode().splitlines()
    shift = [line for line in printed if line.startswith(("LD_PRELOAD=", "FAKETIME"))]
    shifted = replace(copy, prefix=("env", *shift), process=None)
    shifted.start()
    try:
        if hours < 0:
            # before its issuer began nothing of it can be good, and the client says why
            assert b"not yet valid" in _refused(shifted, "issue", "made.lab.internal")
        else:
            shifted.quicklime("issue", "made.lab.internal", "--out", str(copy.folder))
            assert shifted.told("status", str(copy.folder / "made.lab.internal.pem"))["status"] == "good"
            assert shifted.told("show", stopped[1].serial)["status"] == "issued"
    finally:
        shifted.stop()
    _goes_on(copy, stopped[1])
    if hours > 0:
        serial = json.loads((copy.folder / "made.lab.internal.json").read_text())["serial"]
        assert {row["serial"]: row["status"] for row in _list(copy)}[serial] == "issued"
    # lists go on rising, whatever the clock said
    kind = "quicklime.crl.published.v1"
    numbers = [copy.data_of(event)["number"] for event in copy.events() if event["type"] == kind]
    assert numbers == sorted(set(numbers))


def _refused(stack: Stack, *arguments: str) -> bytes:
    done = subprocess.run(
        stack._command(*arguments),
        cwd=stack.folder,
        env=stack._environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == UNREACHABLE
    return done.stderr
