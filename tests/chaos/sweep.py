"""`python -m tests.chaos.sweep`: the app's removal of leftovers, three days from now. Its environment is the app's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from shared.pipeline import leftovers
from shared.platform import clients


async def main() -> None:
    try:
        await leftovers.remove(now=datetime.now(UTC) + timedelta(days=3))
    finally:
        await clients.close()


if __name__ == "__main__":
    asyncio.run(main())
