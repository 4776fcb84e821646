"""The local host's worker with pacing off: every call has its turn at once, and no pacing row is read or written.

Started by `functions_host.py`. Pacing is what Darkroom is slow on purpose for; `bench.pacing` measures it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from local.host import worker
from shared.jobs.pacing import Pacer
from shared.jobs.rate import Slot
from shared.model import deployments
from shared.settings import Deployment

PLAIN_MODEL = "BENCH_PLAIN_MODEL"
"""Set where the model is asked without TLS, which Darkroom's settings refuse."""
_MOMENT = timedelta(seconds=1)


class _Unpaced(Pacer):
    async def reserve(
        self, deployments: Sequence[Deployment], *, images: int = 1, horizon: timedelta = _MOMENT
    ) -> Slot:
        del horizon
        return Slot(deployments[0].name, datetime.now(UTC), _MOMENT, _MOMENT, images)

    async def take_turn(self, slot: Slot) -> bool:
        del slot
        return True

    async def estimate_wait(self, deployments: Sequence[Deployment]) -> timedelta:
        del deployments
        return timedelta()


def main() -> None:
    for method in ("reserve", "take_turn", "estimate_wait"):
        setattr(Pacer, method, getattr(_Unpaced, method))
    if PLAIN_MODEL in os.environ:
        https = deployments.url
        deployments.url = lambda *which: https(*which).replace("https://", "http://", 1)
    worker.main()


if __name__ == "__main__":
    main()
