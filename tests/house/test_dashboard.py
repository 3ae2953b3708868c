"""The dashboard's own house: its lock holds hashes and no address, and its types are those of the program."""

from __future__ import annotations

import json
import re

from quicklime.services.monitor.api import openapi
from tests.house.tree import ROOT

DASHBOARD = ROOT / "dashboard"


def test_the_lock_holds_versions_and_hashes_and_no_address() -> None:
    lock = json.loads((DASHBOARD / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert packages
    for name, one in packages.items():
        assert "resolved" not in one, (
            f"{name} names a place to download from: npm config omit-lockfile-registry-resolved"
        )
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", one["integrity"]), name
    assert "omit-lockfile-registry-resolved=true" in (DASHBOARD / ".npmrc").read_text(encoding="utf-8")


def test_every_dependency_is_of_one_version() -> None:
    package = json.loads((DASHBOARD / "package.json").read_text(encoding="utf-8"))
    for name, version in (package["dependencies"] | package["devDependencies"]).items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name} {version}: npm install --save-exact"


def test_the_page_is_built_on_the_api_that_there_is() -> None:
    written = json.loads((DASHBOARD / "openapi.json").read_text(encoding="utf-8"))
    assert written == openapi.document(), "make docs"
