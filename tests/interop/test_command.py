"""The `quicklime` command as people and scripts have it: JSON on standard output alone, documented exit codes, no colours in
a pipe, files that only their owner reads."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack, running

OK, USAGE, REFUSED, UNREACHABLE, BROKEN, FOUND = 0, 2, 3, 4, 5, 6
ESCAPE = b"\x1b"
HOST = "web.lab.internal"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("command")) as one:
        yield one


def _run(
    stack: Stack, *arguments: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """As in a pipe, with colours allowed: there must be none all the same."""
    allowed = {name: value for name, value in stack._environment().items() if name != "NO_COLOR"}
    done = subprocess.run(
        stack._command(*map(str, arguments)),
        env=allowed | (environment or {}),
        cwd=cwd or stack.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert ESCAPE not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    return done


def _json(stack: Stack, *arguments: str | Path, code: int = OK, cwd: Path | None = None) -> Any:
    done = _run(stack, *arguments, "--output", "json", cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_certificates_whole_life(stack: Stack, tmp_path: Path) -> None:
    """Each command with JSON, as a script would use it, and once more as text."""
    told = _json(stack, "issue", HOST, "10.0.0.1", "--node", "web-1", "--out", tmp_path)
    files = {kind: Path(path) for kind, path in told["files"].items()}
    assert {kind: _mode(path) for kind, path in files.items()} == {"key": 0o600, "json": 0o600, "pem": 0o644}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files.values())
    serial = told["serial"]
    # nothing is overwritten unless it is said
    assert _run(stack, "issue", HOST, "--out", tmp_path).returncode == USAGE
    assert _json(stack, "status", serial) == {
        "serial": serial,
        "status": "good",
        "revoked_at": None,
        "reason": None,
    }
    assert _json(stack, "show", files["pem"])["names"] == [f"dns:{HOST}", "ip:10.0.0.1"]
    assert _run(stack, "show", serial, "--pem").stdout == files["pem"].read_bytes()
    assert serial in {row["serial"] for row in _json(stack, "list", "--name", HOST)}
    # not yet due
    due = _json(stack, "renew", files["pem"], "--due")
    assert (due["renewed"], due["serial"]) == (False, serial)
    before = files["key"].read_bytes()
    renewed = _json(stack, "renew", files["pem"])
    assert renewed["predecessor"] == serial
    assert files["key"].read_bytes() != before
    assert {kind: _mode(path) for kind, path in files.items()} == {"key": 0o600, "json": 0o600, "pem": 0o644}
    revoked = _json(stack, "revoke", files["json"], "--reason", "superseded")
    assert (revoked["serial"], revoked["repeated"]) == (renewed["serial"], False)
    assert _json(stack, "status", files["pem"], code=FOUND)["status"] == "revoked"
    (lineage,) = _json(stack, "lineage", HOST)["lineages"]
    assert [one["serial"] for one in lineage["certificates"]] == [serial, renewed["serial"]]
    refused = _run(stack, "renew", files["pem"], "--output", "json")
    assert refused.returncode == REFUSED
    for arguments in (("list",), ("show", serial), ("lineage", HOST), ("token", "list"), ("issuer", "list")):
        assert _run(stack, *arguments).returncode == OK


def test_what_is_overdue_stands_out(stack: Stack, tmp_path: Path) -> None:
    """Three replicas of one name; asked as of a later day, which have not been renewed."""
    for node in ("a", "b", "c"):
        _json(
            stack, "issue", "shop.lab.internal", "--node", node, "--lifetime", "6h", "--out", tmp_path / node
        )
    at = (datetime.now(UTC) + timedelta(hours=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    _json(stack, "renew", tmp_path / "b" / "shop.lab.internal.pem", "--lifetime", "1d")
    told = _json(stack, "lineage", "shop.lab.internal", "--at", at)
    assert {one["node"]: one["overdue"] for one in told["lineages"]} == {"a": True, "b": False, "c": True}
    shown = _run(stack, "lineage", "shop.lab.internal", "--at", at).stdout.decode()
    assert len(re.findall(r"─ [abc]  [0-9a-f]{16}  OVERDUE$", shown, re.MULTILINE)) == 2
    assert not any(one["overdue"] for one in _json(stack, "lineage", "shop.lab.internal")["lineages"])


def test_tokens_of_few_uses(stack: Stack, tmp_path: Path) -> None:
    made = _json(
        stack, "token", "create", "--name", "*.web.lab.internal", "--profile", "server", "--uses", "2"
    )
    mine = {"QUICKLIME_TOKEN": made["token"]}
    for number in range(2):
        done = _run(stack, "issue", f"n{number}.web.lab.internal", "--out", tmp_path, environment=mine)
        assert done.returncode == OK, done.stderr
    done = _run(
        stack, "issue", "n2.web.lab.internal", "--out", tmp_path, "--output", "json", environment=mine
    )
    assert done.returncode == REFUSED
    assert json.loads(done.stderr or done.stdout)["reasons"][0]["code"] == "token-exhausted"
    # what was refused leaves no half of a pair
    assert not list(tmp_path.glob("n2*"))
    listed = {one["id"]: one for one in _json(stack, "token", "list")}
    assert made["token"] not in json.dumps(listed)
    (one,) = [one for one in listed.values() if one["uses_max"] == 2]
    assert one["uses"] == 2
    _json(stack, "token", "revoke", one["id"])
    done = _run(
        stack, "issue", "n0.web.lab.internal", "--out", tmp_path / "x", "--output", "json", environment=mine
    )
    assert json.loads(done.stderr or done.stdout)["reasons"][0]["code"] == "token-revoked"


def test_the_log_is_read_in_every_way(stack: Stack, tmp_path: Path) -> None:
    verified = _json(stack, "log", "verify")
    assert verified["faults"] == []
    assert _json(stack, "log", "show", "0")["type"] == "quicklime.authority.founded.v1"
    lines = _run(stack, "log", "tail", "-n", "3", "--output", "json").stdout.splitlines()
    offsets = [json.loads(line)["offset"] for line in lines]
    assert len(offsets) == 3
    assert offsets == sorted(offsets)
    exported = _run(stack, "log", "export").stdout.splitlines()
    assert [json.loads(line)["offset"] for line in exported] == list(range(len(exported)))
    first = json.loads(exported[0])
    assert json.loads(b64decode(first["value"]))["type"] == first["type"]
    assert _run(stack, "log", "export", "--to", tmp_path / "all", "--from", "2").returncode == OK
    assert (tmp_path / "all").read_bytes().splitlines()[0] == exported[2]
    assert _run(stack, "log", "export", "--to", tmp_path / "all").returncode == USAGE
    assert _run(stack, "log", "show", "99999").returncode == USAGE
    # no secret stands in it in clear
    secrets = [stack.admin, (stack.data / "secrets" / "issuer-passphrase").read_text().strip()]
    octets = b"\n".join(b64decode(json.loads(line)["value"]) for line in exported)
    assert not [one for one in secrets if one.encode() in octets]


def test_views_are_made_anew_to_the_same_digest(stack: Stack) -> None:
    names = {row["view"] for row in _json(stack, "view", "list")}
    digests = {row["view"]: row["digest"] for row in _json(stack, "view", "digest")}
    assert set(digests) == names
    rebuilt = _json(stack, "view", "rebuild")
    assert {row["view"]: row["digest"] for row in rebuilt} == digests
    assert not any(row["changed"] for row in rebuilt)
    (one,) = _json(stack, "view", "digest", min(names))
    assert one["digest"] == digests[one["view"]]
    assert _run(stack, "view", "digest", "nothing").returncode == USAGE


def test_config_says_where_each_value_came_from(stack: Stack, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "pkcs11__pin").write_text("1234")
    (secrets / "cfssl__auth_keys__ci__key").write_text("00112233")
    environment = {"QUICKLIME_SECRETS_DIR": str(secrets), "QUICKLIME_LIMITS__CONNECTIONS": "77"}
    done = _run(stack, "config", "show", "--output", "json", "--log-level", "debug", environment=environment)
    assert done.returncode == OK, done.stderr
    rows = {row["key"]: (row["value"], row["from"]) for row in json.loads(done.stdout)}
    assert rows["api.port"] == (stack.api_port, str(stack.config))
    assert rows["limits.connections"] == (77, "environment")
    assert rows["logging.level"] == ("debug", "flag")
    assert rows["ocsp.validity_seconds"][1] == "default"
    assert rows["pkcs11.pin"][1] == str(secrets)
    assert b"1234" not in done.stdout
    assert b"00112233" not in done.stdout
    text = _run(stack, "config", "show", environment=environment).stdout.decode()
    assert "limits.connections\t77\tenvironment" in text
    assert _json(stack, "config", "check")["ok"] is True
    assert _json(stack, "config", "schema")["type"] == "object"
    for variable, told in (
        ("QUICKLIME_API__PORT", "api.port"),
        ("QUICKLIME_APPI__PORT", "QUICKLIME_APPI__PORT"),
        ("QUICKLIME_API__PROT", "api.prot"),
    ):
        done = _run(stack, "config", "check", environment={variable: "x"})
        assert done.returncode == USAGE
        assert told in done.stderr.decode()
        assert "environment" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nonsense",), USAGE),
        (("issue",), USAGE),
        (("issue", "web_1.lab.internal"), REFUSED),
        (("issue", "www.example.org"), REFUSED),
        (("issue", HOST, "--profile", "nobody"), REFUSED),
        (("issue", HOST, "--key-type", "dsa"), USAGE),
        (("issue", HOST, "--lifetime", "soon"), USAGE),
        (("issue", HOST, "--lifetime", "9999d"), REFUSED),
        (("show", "ab" * 20), REFUSED),
        (("show", "no-such-file"), USAGE),
        (("revoke", "ab" * 20, "--reason", "boredom"), USAGE),
        (("list", "--status", "lost"), REFUSED),
        (("--output", "yaml", "list"), USAGE),
        (("--config", "/nonexistent.toml", "list"), USAGE),
        (("--data-dir", "/nonexistent", "log", "tail"), BROKEN),
        (("token", "revoke", "nothing"), REFUSED),
        (("token", "create", "--role", "king", "--output", "json"), USAGE),
    ],
)
def test_exit_codes(stack: Stack, arguments: tuple[str, ...], code: int, tmp_path: Path) -> None:
    done = _run(stack, *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr or code == FOUND
    assert not list(tmp_path.iterdir())


def test_an_authority_that_is_not_there_or_not_ours(stack: Stack, tmp_path: Path) -> None:
    nowhere = {"QUICKLIME_SERVER__URL": "https://127.0.0.1:1"}
    assert _run(stack, "list", environment=nowhere).returncode == UNREACHABLE
    stranger = tmp_path / "stranger.pem"
    made = ("openssl", "req", "-x509", "-nodes", "-newkey", "ed25519", "-subj", "/CN=x")
    subprocess.run(
        [*made, "-keyout", os.devnull, "-out", str(stranger)], check=True, capture_output=True, timeout=60
    )
    done = _run(stack, "list", environment={"QUICKLIME_SERVER__ROOTS": str(stranger)})
    assert done.returncode == UNREACHABLE
    assert b"hint:" in done.stderr


def test_doctor_finds_the_roots_key_and_nothing_else(stack: Stack) -> None:
    findings = _json(stack, "doctor", code=_run(stack, "doctor").returncode)
    assert not [one for one in findings if one["level"] == "error"]
    (warning,) = [one for one in findings if one["level"] == "warning" and "disk" not in one["what"]]
    assert "root's key" in warning["what"]
    assert warning["hint"]
