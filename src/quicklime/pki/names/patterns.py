"""Patterns of names, which grants and profiles are made of, with or without the type in front.

=====================  ==========================================================================================
``web.internal``       this name alone
``*.internal``         one label more (``web.internal``), and the literal wildcard name ``*.internal``
``**.internal``        one label or more (``a.b.internal``), wildcard names too; not ``internal`` itself
``**``                 every DNS name, meant for administrators
``ip:10.0.0.0/8``      every address of the range; ``ip:10.0.0.1`` this address alone
=====================  ==========================================================================================

Invariant: what is no pattern matches nothing.
"""

from __future__ import annotations

from functools import lru_cache

from quicklime.errors import Refused
from quicklime.pki.names.form import (
    TEXT_CHARACTERS_MAX,
    Network,
    address_of,
    malformed,
    network_of,
    parse_name,
    plain_dns,
)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> tuple[str, str | Network]:
    """What ``pattern`` means: ("name", name), ("one", ".suffix"), ("deep", ".suffix") or ("range", network)."""
    if len(pattern) > TEXT_CHARACTERS_MAX:
        raise malformed(pattern, "is too long for a pattern")
    text = pattern[4:] if pattern[:4].lower() == "dns:" else pattern
    if text == "**":
        return "deep", ""
    if text.startswith("**."):
        return "deep", "." + plain_dns(text[3:])
    if text.startswith("*."):
        return "one", "." + plain_dns(text[2:])
    bare = pattern[3:] if pattern[:3].lower() == "ip:" else pattern
    if "/" in bare:
        return "range", network_of(bare)
    return "name", parse_name(pattern)


def check_pattern(text: str) -> str:
    """``text`` where it is a pattern. Raises Refused (``name-malformed``, ``name-type-refused``)."""
    _compiled(text)
    return text


def matches(pattern: str, name: str) -> bool:
    """Whether the canonical ``name`` is one that ``pattern`` means. What is no pattern matches nothing."""
    try:
        kind, value = _compiled(pattern)
    except Refused:
        return False
    if isinstance(value, str):
        if kind == "name":
            return name == value
        if not name.startswith("dns:") or not name.endswith(value):
            return False
        first = name[4 : len(name) - len(value)]
        return bool(first) and (kind == "deep" or "." not in first)
    address = address_of(name)
    return address is not None and address in value
