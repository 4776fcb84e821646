"""Proxy settings of the machine are for others: Storage and the tokens are asked directly, by the SDKs too."""

from __future__ import annotations

import pytest

from shared.pipeline.rooms import rooms
from shared.platform import clients
from tests.support.app_in_process import App


async def test_a_job_runs_and_is_cleared_away_beside_a_proxy_that_takes_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clients.close()  # so that new ones would meet the proxy
    with monkeypatch.context() as patch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.setenv(name, "http://127.0.0.1:1")
            patch.setenv(name.lower(), "http://127.0.0.1:1")
        for name in ("NO_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        job_id = await app.submit()
        await (await rooms()).queue.submit(job_id)
        job = await app.deliver(job_id)
        await (await rooms()).files(job_id).discard()

    assert job.status == "succeeded"
    assert app.storage.requests_of(job_id) == []
