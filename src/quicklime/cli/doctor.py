"""``doctor``: what an experienced operator would look at."""

from __future__ import annotations

from quicklime import wiring
from quicklime.cli.output import CONTEXT, Found, safe


def doctor() -> None:
    """Look at settings, data directory, log, keys, issuers, CRLs and plans; each finding says how to mend it."""
    findings = wiring.doctor(CONTEXT.config)
    content = [{"level": one.level, "what": one.what, "hint": one.hint} for one in findings]

    def text() -> None:
        for one in findings:
            print(f"{one.level:<8}{safe(one.what)}")
            if one.hint and one.level != "ok":
                print(f"{'':<8}hint: {safe(one.hint)}")

    CONTEXT.result(content, text)
    if any(one.level == "error" for one in findings):
        raise Found
