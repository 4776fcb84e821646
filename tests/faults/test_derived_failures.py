"""Derived images that cannot be made or signed: refused before anything is paid, or told with what was paid kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from functions import images
from shared.delivery import signing
from shared.delivery.incoming import IncomingImage
from shared.delivery.results import ResultWriter
from shared.errors import DarkroomError
from shared.jobs.files import JobFiles
from shared.jobs.job import Job
from shared.pipeline import cancel, derived, results
from shared.platform import key_vault
from tests.support.app_in_process import TAKE_OVER_SECONDS, App, deployment
from tests.support.deriving import EXACT, assert_the_models_own, rgba
from tests.support.doors import call
from tests.support.dying import DiedError
from tests.support.vault import Served

Configure = Callable[..., None]


# -- signatures that cannot be had -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "param"), [({"size": "512x512"}, "size"), (EXACT, "preserve")])
async def test_without_an_identity_nothing_is_derived_where_provenance_is_required(
    app: App, configure: Configure, fields: dict[str, Any], param: str
) -> None:
    configure([deployment(app.model.url)], SIZE_FIT="cover", REQUIRE_PROVENANCE="1")
    with pytest.raises(DarkroomError, match="REQUIRE_PROVENANCE") as refused:
        await app.submit(**fields)
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", param)
    assert (await app.run()).status == "succeeded", "what is not derived needs no identity"


async def test_an_identity_that_goes_while_a_job_waits_leaves_nothing_unsigned(
    signing_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await signing_app.submit(size="512x512")
    monkeypatch.setattr(signing, "configured", lambda: False)
    await assert_failed_with_its_images(signing_app, await signing_app.deliver(job_id), "unsupported_parameter")


async def test_a_vault_that_is_away_refuses_the_request_before_anything_is_paid(
    signing_app: App, signing_vault: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_vault, "_TRIES", 1)
    signing_vault.fail(503)
    with pytest.raises(DarkroomError) as refused:
        await signing_app.submit(size="512x512")
    assert (refused.value.code, refused.value.status) == ("signing_unavailable", 503)
    assert signing_app.model.calls() == []


async def test_a_vault_that_comes_back_is_waited_for(
    signing_app: App, signing_vault: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_vault, "_TRIES", 1)
    monkeypatch.setattr(derived, "_PAUSES", (0.0, 0.0))
    job_id = await signing_app.submit(size="512x512")
    signing_vault.fail(503)
    job = await signing_app.deliver(job_id)
    assert job.status == "succeeded"
    (image,) = (await signing_app.document(job_id))["images"]
    assert image["derived"][0]["provenance"]["state"] == "valid"


async def test_a_signature_that_cannot_be_had_fails_the_job_and_keeps_what_was_paid(
    signing_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sign(*_: Any, **__: Any) -> bytes:
        raise DarkroomError("misconfigured", "SIGNING_CERTIFICATE: the certificate is disabled in the vault.")

    monkeypatch.setattr(signing, "sign", sign)
    job = await signing_app.run(size="512x512")
    await assert_failed_with_its_images(signing_app, job, "misconfigured")


# -- failures after the call -------------------------------------------------------------------------------------------


async def assert_failed_with_its_images(app: App, job: Job, inner: str) -> None:
    document = await app.document(job.id)
    assert (document["status"], document["error"]["code"]) == ("failed", "derivation_failed")
    assert document["error"]["inner_error"] == {"code": inner}
    (image,) = document["images"]
    assert image["derived"] == []
    assert_the_models_own(app, image)
    assert document["cost"]["amount"] is not None
    assert app.storage.outcomes(job.id) == ["billed"]
    await app.deliver(job.id)
    assert len(app.model.calls()) == 1, "it is not asked for again"


async def test_an_image_that_cannot_be_made_fails_the_job_and_keeps_what_was_paid(
    fitting_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(derived, "_compose", broken)
    job = await fitting_app.run(size="512x512")
    await assert_failed_with_its_images(fitting_app, job, "internal_error")


async def test_a_synchronous_caller_is_told_not_to_ask_again(fitting_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(derived, "_compose", broken)
    body = json.dumps({"prompt": "a lighthouse", "quality": "low", "size": "512x512"}).encode()
    answer = await call(images.image_generations_v1, body, headers={"content-type": "application/json"})
    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    assert json.loads(bytes(answer.body))["error"]["code"] == "derivation_failed"


@pytest.mark.parametrize(("place", "name"), [(IncomingImage, "store"), (derived, "_sources"), (JobFiles, "put_result")])
async def test_a_successor_makes_what_a_dead_runner_did_not_and_pays_nothing(
    fitting_app: App, monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    """Death is an exception nothing catches, once the answer is stored and accounted."""
    job_id = await fitting_app.submit(size="512x512")
    alive = getattr(place, name)
    with monkeypatch.context() as patch:

        async def complete(*arguments: Any) -> Any:
            def die(*_: Any, **__: Any) -> Any:
                raise DiedError

            patch.setattr(place, name, die)
            return await derived_complete(*arguments)

        derived_complete = derived.complete
        patch.setattr(derived, "complete", complete)
        with pytest.raises(DiedError):
            await fitting_app.deliver(job_id)
    assert getattr(place, name) == alive
    assert fitting_app.storage.outcomes(job_id) == ["billed"]

    await fitting_app.put_clock_forward(TAKE_OVER_SECONDS)
    assert (await fitting_app.deliver(job_id)).status == "succeeded"

    (image,) = (await fitting_app.document(job_id))["images"]
    (made,) = image["derived"]
    assert rgba(fitting_app.storage.read(made["blob"])).size == (512, 512)
    assert_the_models_own(fitting_app, image)
    assert fitting_app.storage.outcomes(job_id) == ["billed"]


async def test_a_successor_ends_a_job_as_its_dead_runner_had_written(
    fitting_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await fitting_app.submit(size="512x512")
    with monkeypatch.context() as patch:

        def broken(*_: Any, **__: Any) -> bytes:
            raise MemoryError

        async def die(*_: Any, **__: Any) -> None:
            raise DiedError

        patch.setattr(derived, "_compose", broken)
        patch.setattr(results, "write_sidecars", die)
        with pytest.raises(DiedError):
            await fitting_app.deliver(job_id)
    await fitting_app.put_clock_forward(TAKE_OVER_SECONDS)
    await assert_failed_with_its_images(fitting_app, await fitting_app.deliver(job_id), "internal_error")


async def test_a_canceled_job_has_nothing_made_of_its_images(fitting_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await fitting_app.submit(size="512x512")
    finish = ResultWriter.finish

    async def finish_and_cancel(self: ResultWriter) -> Any:
        await cancel.cancel(await fitting_app.job(job_id))
        return await finish(self)

    monkeypatch.setattr(ResultWriter, "finish", finish_and_cancel)
    assert (await fitting_app.deliver(job_id)).status == "canceled"
    (image,) = (await fitting_app.document(job_id))["images"]
    assert image["derived"] == []
    assert_the_models_own(fitting_app, image)
