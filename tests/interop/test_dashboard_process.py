"""The process that fills the dashboard's view, from outside: it is one, it comes back, and what is deleted is made anew."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import SETTINGS, Stack, running

pytestmark = pytest.mark.peers

SECONDS_MAX = 40.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("home")) as stack:
        yield stack


def filling(stack: Stack) -> list[int]:
    """The processes that hold the lock's file of the view open: the one that fills it."""
    lock = stack.data / "dashboard" / "lock"
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                targets = {str(one.readlink()) for one in (entry / "fd").iterdir()}
            except OSError:
                continue
            if str(lock) in targets:
                found.append(int(entry.name))
    return found


def comes_to(stack: Stack, count: int) -> list[int]:
    """The processes that fill the view, once there are ``count``."""
    end = time.monotonic() + SECONDS_MAX
    while len(filling(stack)) != count and time.monotonic() < end:
        time.sleep(0.1)
    return filling(stack)


def seen(stack: Stack, name: str) -> dict[str, Any]:
    """The overview once the view knows a certificate for ``name``."""
    end = time.monotonic() + SECONDS_MAX
    with stack.client() as client:
        while time.monotonic() < end:
            found = client.get("/v1/monitor/certificates", params={"q": name})
            if found.status_code == 200 and found.json()["certificates"]:
                overview: dict[str, Any] = client.get("/v1/monitor/overview").json()
                return overview
            assert found.status_code in (200, 503), found.text
            time.sleep(0.1)
    raise AssertionError(f"{name} was not seen in {SECONDS_MAX} s\n{stack.tail()}")


def issue(stack: Stack, name: str, folder: Path) -> None:
    stack.quicklime("issue", name, "--out", str(folder))


def test_it_is_one_process_and_comes_back_when_it_dies(home: Stack, tmp_path: Path) -> None:
    issue(home, "one.lab.internal", tmp_path)
    seen(home, "one.lab")
    before = filling(home)
    assert len(before) == 1
    os.kill(before[0], signal.SIGKILL)
    issue(home, "two.lab.internal", tmp_path)
    assert seen(home, "two.lab")["counts"]["certificates"] >= 3
    after = filling(home)
    assert len(after) == 1
    assert after != before
    assert home.is_alive()
    assert "dashboard" in home.tail(400)


def test_a_view_that_was_deleted_is_made_anew_and_the_same(home: Stack, tmp_path: Path) -> None:
    issue(home, "three.lab.internal", tmp_path)
    before = seen(home, "three.lab")["counts"]
    home.stop()
    assert filling(home) == []
    shutil.rmtree(home.data / "dashboard")
    home.start()
    issue(home, "four.lab.internal", tmp_path)
    after = seen(home, "four.lab")["counts"]
    # the restart got certificates of its own too
    assert after["certificates"] > before["certificates"]
    assert after["revoked"] == before["revoked"]


def test_it_ends_with_the_server_even_where_that_is_killed(home: Stack) -> None:
    assert len(comes_to(home, 1)) == 1
    home.kill()
    assert comes_to(home, 0) == []
    home.start()
    assert len(comes_to(home, 1)) == 1


def test_where_it_is_switched_off_nothing_of_it_is_there(tmp_path: Path) -> None:
    settings = SETTINGS + "\n[dashboard]\nenabled = false\n"
    with running(tmp_path / "plain", settings=settings) as stack, stack.client() as client:
        assert client.get("/v1/monitor/overview").status_code == 404
        assert client.get("/dashboard/").status_code == 404
        assert client.get("/v1/certificates").status_code == 200
        assert not (stack.data / "dashboard").exists()
