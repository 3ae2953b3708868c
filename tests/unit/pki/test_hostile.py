"""Every request of the corpus is refused with exactly its documented codes, quickly, and says nothing that could do harm."""

from __future__ import annotations

import time

import pytest

from quicklime.errors import Refused
from quicklime.pki.csr import parse
from tests.support.hostile import CORPUS, Case, load_cases
from vectors import make_hostile, requests

CASES_MIN = 100
SECONDS_MAX = 1.0  # generous for a busy machine: the slowest takes a few milliseconds
DETAIL_CHARACTERS_MAX = 600


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_each_is_refused_with_its_code(case: Case) -> None:
    start = time.process_time()
    with pytest.raises(Refused) as caught:
        parse(case.data)
    assert time.process_time() - start < SECONDS_MAX
    assert tuple(reason.code for reason in caught.value.reasons) == case.codes
    for reason in caught.value.reasons:
        assert reason.field
        assert reason.detail.isascii()
        assert reason.detail.isprintable()
        assert len(reason.detail) < DETAIL_CHARACTERS_MAX


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    cases = load_cases()
    assert len(cases) >= CASES_MIN
    assert len({case.name for case in cases}) == len(cases)
    assert len({case.data for case in cases}) == len(cases)


def test_what_the_corpus_is_made_from_is_sound() -> None:
    # else each case might be refused for another reason than its own
    assert parse(requests.request()).names == ("dns:web.internal",)
    assert parse(requests.pem(requests.request())).names == ("dns:web.internal",)
    assert (
        parse(requests.for_subject(requests.subject(requests.attribute(b"web.internal")))).key_type
        == "ecdsa-p256"
    )


def test_the_file_is_what_its_script_makes() -> None:
    assert make_hostile.render() == CORPUS.read_text(encoding="utf-8")
