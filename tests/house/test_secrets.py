"""What is secret is compared in constant time, by construction: the operators that stop at the first difference are not used on it.

A bearer token is not compared at all: it is looked up by its SHA-256. Signatures are verified with public keys.
"""

from __future__ import annotations

import ast

import pytest

from tests.house.tree import modules, place

SECRET_WORDS = ("secret", "hmac", "passphrase", "token_sha256", "password", "pin")
COMPARED_IN = {
    "lifecycle/certificate.py": "knows_secret",
    "services/cfssl/wire.py": "hmac.new",
    "services/acme/nonces.py": "_mac",
    "pki/jws.py": "verify_mac",
    "validation.py": "why_not_body",
    "web/session.py": "_seal",
}


def _words(node: ast.expr) -> set[str]:
    """The names in an operand, apart from what it is only measured by: `len(secret) == 32` tells nothing of it."""
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"len", "set", "type"}
    ):
        return set()
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            found.add(one.id)
        elif isinstance(one, ast.Attribute):
            found.add(one.attr)
    return found


def _leaks(source: str) -> list[int]:
    """Lines that compare a secret with `==`, `!=` or `in`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(one, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for one in node.ops):
            continue
        words = set[str]().union(*(_words(one) for one in (node.left, *node.comparators)))
        # a constant of a module is a table of words, not a secret
        words = {word for word in words if not word.isupper()}
        if any(part in SECRET_WORDS for word in words for part in (word, *word.lower().split("_"))):
            found.append(node.lineno)
    return found


def test_no_secret_is_compared_by_an_operator_that_stops_at_the_first_difference() -> None:
    found = [place(path, line) for path, source in modules() for line in _leaks(source)]
    assert not found, f"use hmac.compare_digest: {found}"


def test_each_secret_that_is_compared_goes_through_compare_digest() -> None:
    found = {
        path.as_posix().rpartition("quicklime/")[2]: source
        for path, source in modules()
        if "compare_digest(" in source
    }
    assert set(found) == set(COMPARED_IN)
    assert all(word in found[path] for path, word in COMPARED_IN.items())


@pytest.mark.parametrize(
    ("line", "leaks"),
    [
        ("given == certificate.revocation_secret", True),
        ("sha256(secret).digest() in known", True),
        ("asked != token.token_sha256", True),
        ("len(secret) == 32", False),
        ("secret is None", False),
        ("hmac.compare_digest(secret, known)", False),
    ],
)
def test_the_rule_sees_what_it_should(line: str, *, leaks: bool) -> None:
    assert bool(_leaks(line)) is leaks
