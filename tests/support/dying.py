"""The death of a process, played within one: an exception that nothing catches, raised before or after one write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.lease import Lease
from shared.jobs.ledger import Ledger
from shared.pipeline import results
from tests.support.app_in_process import TAKE_OVER_SECONDS, App

Method = Callable[..., Awaitable[Any]]

WRITES = [
    (Lease, "begin_call"),
    (Lease, "update"),
    (Lease, "uncount_call"),
    (Lease, "give_back"),
    (Lease, "finish"),
    (Ledger, "start"),
    (Ledger, "settle"),
    (JobFiles, "put_result"),
    (results, "write_sidecars"),
]
"""Everything a runner can leave behind."""


async def die_at(app: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, when: str, **fields: Any) -> str:
    """The id of a job whose runner died `when` (before, after) it did `place.name`; from there on it wrote nothing."""
    job_id = await app.submit(**fields)
    dead = []

    def mortal(method: Method, *, fatal: bool) -> Method:
        async def call_unless_dead(*args: Any, **kwargs: Any) -> Any:
            if dead:
                raise DiedError
            if fatal:
                dead.append(when)
            if not fatal or when == "after":
                answer = await method(*args, **kwargs)
            if fatal:
                raise DiedError
            return answer

        return call_unless_dead

    with monkeypatch.context() as patch:
        for owner, method in WRITES:
            fatal = (owner, method) == (place, name)
            patch.setattr(owner, method, mortal(getattr(owner, method), fatal=fatal))
        with pytest.raises(DiedError):
            await app.deliver(job_id)
    await app.put_clock_forward(TAKE_OVER_SECONDS)
    return job_id


class DiedError(BaseException):
    """The process is gone: nothing runs after it."""


async def away(*_: Any, **__: Any) -> Any:
    raise DarkroomError("storage_unavailable", "away")
