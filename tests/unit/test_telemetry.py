"""What is logged: one line per event, and nothing that is secret, whatever comes this far."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from quicklime.telemetry import HIDDEN, Metrics, redact

TOKEN = "ql_mfzwizlnmfzwizln_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v"

# In a process of its own: logging is set up once for a process.
SCRIPT = """
import sys
from quicklime.telemetry import Lines, configure
configure("info", sys.argv[1])
def fails(revocation_secret, token):
    raise RuntimeError("it failed for " + token)
try:
    fails("do-not-tell-me", sys.argv[2])
except RuntimeError as error:
    Lines().request_failed("r1", "issue", error)
Lines().request_refused("r2", "issue", "name-not-allowed", "name 'a\\x1b[31m\\nb' is not granted")
"""


def lines(form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, form, TOKEN], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_failure_is_told_with_its_place_and_without_what_its_functions_held(form: str) -> None:
    said = lines(form)
    assert "RuntimeError: it failed for" in said
    assert HIDDEN in said
    assert TOKEN not in said
    assert "do-not-tell-me" not in said


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_requesters_words_make_no_line_and_no_colour_of_their_own(form: str) -> None:
    said = lines(form)
    assert "\x1b[31m" not in said
    assert not [line for line in said.splitlines() if line.startswith("b' is not granted")]


def test_json_is_one_object_a_line() -> None:
    found = [json.loads(line) for line in lines("json").splitlines()]
    assert [one["event"] for one in found] == ["request failed", "request refused"]
    assert {one["level"] for one in found} == {"error", "info"}
    assert all(one["timestamp"].endswith("Z") for one in found)


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("token", "anything", True),
        ("authorization", "Bearer x", True),
        ("revocation_secret", "x", True),
        ("data", b"octets", True),
        ("detail", "said " + TOKEN, True),
        ("detail", "ql_short_x", False),
        ("serial", "40" * 20, False),
    ],
)
def test_what_is_secret_by_name_kind_or_look_is_hidden(name: str, value: object, *, hidden: bool) -> None:
    after = redact(None, "info", {name: value})[name]
    assert (HIDDEN in str(after)) is hidden
    if not hidden:
        assert after == value


def test_metrics_have_one_prefix_and_no_label_that_a_client_chooses() -> None:
    metrics = Metrics()
    families = list(metrics.registry.collect())
    assert families
    assert all(family.name.startswith("quicklime_") for family in families)
    metrics.refusals.labels("name-not-allowed").inc()
    assert b'quicklime_refusals_total{code="name-not-allowed"} 1.0' in metrics.exposition()
