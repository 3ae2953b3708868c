"""Which processes the settings ask for."""

from __future__ import annotations

import pytest

from quicklime.config import WorkerSettings
from quicklime.wiring.posts import ALONE, Part, Post, available_cores, posts_of


def names(api: int | str, status: int | str, cores: int) -> list[str]:
    settings = WorkerSettings.model_validate({"api": api, "status": status})
    return [post.name for post in posts_of(settings, cores)]


def test_one_core_is_one_process() -> None:
    assert posts_of(WorkerSettings(), 1) == (ALONE,)
    assert set(ALONE.parts) == set(Part)


def test_by_default_one_per_core_for_the_api_and_one_for_status() -> None:
    assert names("auto", "auto", 2) == ["upkeep 1", "api 1", "api 2", "status 1"]
    assert names("auto", 4, 2)[-4:] == ["status 1", "status 2", "status 3", "status 4"]


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_one_process_may_be_asked_for(cores: int) -> None:
    assert names(1, 0, cores) == [ALONE.name]


@pytest.mark.parametrize("cores", [1, 16])
def test_numbers_count_whatever_the_cores(cores: int) -> None:
    assert names(1, 1, cores) == ["upkeep 1", "api 1", "status 1"]
    assert names(3, 1, cores) == ["upkeep 1", "api 1", "api 2", "api 3", "status 1"]


def test_without_workers_for_status_those_of_the_api_answer() -> None:
    assert names(2, 0, 4) == ["upkeep 1", "api+status 1", "api+status 2"]


def test_exactly_one_does_the_upkeep_and_it_is_the_first() -> None:
    for api in ("auto", 1, 5):
        for status in ("auto", 0, 3):
            posts = posts_of(WorkerSettings.model_validate({"api": api, "status": status}), 4)
            assert [Part.UPKEEP in post.parts for post in posts] == [True] + [False] * (len(posts) - 1)
            assert len({post.name for post in posts}) == len(posts)


def test_only_workers_for_nothing_but_status_hold_no_issuing_key() -> None:
    assert not Post(parts=(Part.STATUS,)).holds_issuing_keys
    assert all(Post(parts=(part,)).holds_issuing_keys for part in (Part.API, Part.UPKEEP))
    assert Post(parts=(Part.API, Part.STATUS)).holds_issuing_keys


def test_there_is_a_core() -> None:
    assert available_cores() >= 1
