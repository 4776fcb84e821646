"""`python -m tests.support.pacing_process RPM COUNT`: an instance that reserves COUNT slots of two deployments at once.

Writes them as JSON: name and time of each. With COUNT 0 it says of the first deployment that it is out, and of the
second that it is blocked for half a minute, and writes nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta

from shared.jobs.pacing import Pacer, Slot
from shared.jobs.rows import utc_now
from shared.platform import clients
from shared.settings import Deployment


def deployments(rpm: float) -> list[Deployment]:
    return [
        Deployment(name=name, endpoint="https://example.com", deployment=name, requests_per_minute=rpm)
        for name in ("first", "second")
    ]


async def main(rpm: str, count: str) -> None:
    await clients.warm()
    pacer = Pacer(clients.tables().get_table_client("pacing"))
    first, second = deployments(float(rpm))
    if int(count) == 0:
        await pacer.out(first, "HTTP 401")
        await pacer.blocked(second, utc_now() + timedelta(seconds=30))
    else:
        slots = await asyncio.gather(*(pacer.reserve([first, second]) for _ in range(int(count))))
        found = [(slot.deployment, slot.at.timestamp()) for slot in slots if isinstance(slot, Slot)]
        sys.stdout.write(json.dumps(found))
    await clients.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
