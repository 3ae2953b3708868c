"""A log that somebody wrote to by hand: what `quicklime log verify` finds of it. What it can't find is in docs/trust.md."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack

Fact = dict[str, Any]
PLANNED, ISSUED, REVOKED = (f"quicklime.certificate.{one}.v1" for one in ("planned", "issued", "revoked"))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """An authority that has issued and revoked, and is not running."""
    stack = Stack(folder=tmp_path_factory.mktemp("quiet"))
    stack.found()
    stack.start()
    for name in ("one", "two"):
        stack.quicklime("issue", f"{name}.lab.internal", "--out", str(stack.folder))
    stack.quicklime("revoke", str(stack.folder / "one.lab.internal.pem"))
    stack.stop()
    return stack


@pytest.fixture
def copied(quiet: Stack, tmp_path: Path) -> Stack:
    shutil.copytree(quiet.data, tmp_path / "data")
    stack = Stack(folder=tmp_path)
    stack.config.write_text(quiet.config.read_text().replace(str(quiet.data), str(stack.data)))
    return stack


def change(stack: Stack, kind: str, edit: Callable[[Fact], None]) -> int:
    """Edit the last fact of ``kind`` where it stands; its offset."""
    log = sqlite3.connect(stack.data / "log.sqlite")
    log.execute("DROP TRIGGER records_never_change")
    found = log.execute(
        "SELECT offset, value FROM records WHERE type = ? ORDER BY offset DESC LIMIT 1", (kind,)
    ).fetchone()
    fact = json.loads(found[1])
    edit(fact)
    log.execute("UPDATE records SET value = ? WHERE offset = ?", (json.dumps(fact).encode(), found[0]))
    log.commit()
    log.close()
    return int(found[0])


def append(stack: Stack, kind: str, edit: Callable[[Fact], None]) -> int:
    """Append a changed copy of the last fact of ``kind``; its offset."""
    log = sqlite3.connect(stack.data / "log.sqlite")
    (head,) = log.execute("SELECT count(*) FROM records").fetchone()
    (value,) = log.execute(
        "SELECT value FROM records WHERE type = ? ORDER BY offset DESC LIMIT 1", (kind,)
    ).fetchone()
    fact = json.loads(value)
    fact["id"] = secrets.token_hex(16)
    edit(fact)
    log.execute("INSERT INTO records VALUES (?, ?, ?)", (head, kind, json.dumps(fact).encode()))
    log.commit()
    log.close()
    return int(head)


def faults(stack: Stack) -> dict[int, str]:
    """By offset, what is said of it; the command must end with the code for what needs a person."""
    said = json.loads(stack.quicklime("--output", "json", "log", "verify", fails=True))
    return {fault["offset"]: fault["fault"] for fault in said["faults"]}


def turned(octets: str, place: int) -> str:
    changed = bytearray(b64decode(octets))
    changed[place] ^= 1
    return b64encode(changed).decode()


def test_one_bit_of_a_signature(copied: Stack) -> None:
    def edit(fact: Fact) -> None:
        fact["data"]["certificate"] = turned(fact["data"]["certificate"], -3)

    assert set(faults_after(copied, change(copied, ISSUED, edit))) == {"the only one"}


def faults_after(stack: Stack, offset: int) -> dict[str, str]:
    """The fault at ``offset``, which must be alone."""
    found = faults(stack)
    assert set(found) == {offset}, found
    return {"the only one": found[offset]}


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("names", ["dns:three.lab.internal"], "the plan says names"),
        ("public_key", None, "the plan says key"),
        ("not_after", 4_000_000_000, "the plan says notAfter"),
    ],
)
def test_a_true_certificate_under_a_plan_that_lies_of_it(
    copied: Stack, member: str, value: object, said: str
) -> None:
    """With a key of his own in the plan somebody could renew what was never his."""

    def edit(fact: Fact) -> None:
        data = fact["data"]
        data[member] = turned(data["public_key"], -1) if value is None else value

    change(copied, PLANNED, edit)
    (fault,) = faults(copied).values()
    assert said in fault


def test_a_certificate_that_was_copied_under_another_serial(copied: Stack) -> None:
    serial = "4f" + "00" * 19

    def edit(fact: Fact) -> None:
        fact["data"]["serial"] = serial
        for member in ("idempotency_sha256", "request_sha256"):
            fact["data"].pop(member, None)

    append(copied, PLANNED, edit)
    offset = append(copied, ISSUED, edit)
    assert f"the plan says serial '{serial}'" in faults_after(copied, offset)["the only one"]


def test_a_fact_that_is_not_signed_is_believed(copied: Stack) -> None:
    """What docs/trust.md says can't be seen without a copy of the log: this must change with that page."""

    def edit(fact: Fact) -> None:
        fact["data"]["serial"] = "4f" + "00" * 19

    change(copied, REVOKED, edit)
    assert copied.told("log", "verify")["faults"] == []
