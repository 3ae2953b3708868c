"""What can't be parsed ends with the code for usage, and never as a fault of ours; help and version are no errors."""

from __future__ import annotations

import pytest

from quicklime import __version__
from quicklime.cli import run
from quicklime.cli.output import Exit, tell
from quicklime.errors import Code, Refused


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--nonsense", "No such option: --nonsense"),
        ("nonsense", "No such command 'nonsense'"),
        ("--output yaml doctor", "expected text or json"),
        ("issue", "Missing argument"),
        ("issue web.internal --out", "--out"),
        ("token create --uses some", "--uses"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_told(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == Exit.USAGE
    printed = capsys.readouterr()
    assert said in printed.err
    assert "report this" not in printed.err
    assert printed.out == ""


def test_who_has_no_token_is_told_which_setting_names_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(Refused(Code.UNAUTHENTICATED, "no bearer token and no client certificate")) == Exit.REFUSED
    printed = " ".join(capsys.readouterr().err.split())
    assert "unauthenticated: no bearer token and no client certificate" in printed
    assert "hint: set server.token_file (QUICKLIME_SERVER__TOKEN_FILE)" in printed


def test_version_needs_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == Exit.OK
    assert capsys.readouterr().out == f"quicklime {__version__}\n"


@pytest.mark.parametrize("line", ["--help", "issue --help", "token -h", "log tail --help"])
def test_help_is_no_error(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == Exit.OK
    assert "Usage" in capsys.readouterr().out
