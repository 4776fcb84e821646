"""Things done at the same time, none of which may keep the others from being done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def all_of(*work: Awaitable[object]) -> None:
    """Do all of `work`, whatever fails of it; then raise the first failure."""
    done = await asyncio.gather(*work, return_exceptions=True)
    if failed := [one for one in done if isinstance(one, BaseException)]:
        raise failed[0]
