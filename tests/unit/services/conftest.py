"""One authority per test, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.authority import Authority, running


@pytest_asyncio.fixture
async def authority() -> AsyncIterator[Authority]:
    async with running() as found:
        yield found
