"""What goes wrong reaches the users of the `openai` package as its own exceptions, and is not paid for twice."""

from __future__ import annotations

import openai
import pytest

from local.state import StackInfo
from tests.clients.conftest import DEPLOYMENT, Client, make_client, settled
from tests.support.model_control import ModelControl
from tests.support.photographs import mask, photograph

PROMPT = "A quiet harbour"


async def test_a_wrong_value_is_a_bad_request_that_names_the_field(client: Client, model: ModelControl) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await settled(client.images.generate(model=DEPLOYMENT, prompt=PROMPT, size="512x512"))

    error = caught.value
    assert (error.status_code, error.code, error.param, error.type) == (
        400,
        "invalid_value",
        "size",
        "invalid_request_error",
    )
    assert "1024x1024" in error.message
    assert model.calls() == []


async def test_a_refused_edit_names_the_file(either_client: Client, model: ModelControl) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await settled(
            either_client.images.edit(model=DEPLOYMENT, image=photograph(), mask=mask(side=128), prompt=PROMPT)
        )

    assert (caught.value.code, caught.value.param) == ("invalid_mask", "mask")
    assert model.calls() == []


async def test_an_unknown_deployment_is_not_found(either_client: Client, model: ModelControl) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await settled(either_client.images.generate(model="no-such-deployment", prompt=PROMPT))

    assert (caught.value.code, caught.value.param) == ("deployment_not_found", "model")
    assert model.calls() == []


async def test_a_wrong_function_key_is_an_authentication_error(stack: StackInfo, model: ModelControl) -> None:
    client = make_client("AsyncOpenAI", stack, default_headers={"x-functions-key": "wrong"})
    with pytest.raises(openai.AuthenticationError) as caught:
        await settled(client.images.generate(model=DEPLOYMENT, prompt=PROMPT))
    await settled(client.close())

    assert caught.value.response.content == b""  # the platform's answer, not the app's
    assert model.calls() == []


async def test_a_moderation_refusal_keeps_the_services_own_words(client: Client, model: ModelControl) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await settled(client.images.generate(model=DEPLOYMENT, prompt=f"{PROMPT} [[moderation_blocked]]"))

    error = caught.value
    assert (error.code, error.type) == ("moderation_blocked", "image_generation_user_error")
    assert isinstance(error.body, dict)
    assert error.body["moderation_details"] == {"moderation_stage": "input", "categories": ["violence"]}
    assert error.response.headers["x-should-retry"] == "false"
    assert len(model.calls()) == 1


async def test_a_cut_answer_is_told_and_the_client_does_not_ask_again(
    either_client: Client, model: ModelControl
) -> None:
    model.behave(faults=[{"cut_after_bytes": 20_000}])

    with pytest.raises(openai.InternalServerError) as caught:
        await settled(either_client.images.generate(model=DEPLOYMENT, prompt=PROMPT, quality="low"))

    error = caught.value
    assert (error.status_code, error.code) == (502, "outcome_unknown")
    assert isinstance(error.body, dict)
    assert error.body["inner_error"] == {"code": "response_cut"}
    assert error.response.headers["x-should-retry"] == "false"
    # The client repeats a 502 by itself, twice; the header is all that keeps it from paying three times.
    assert either_client.max_retries == 2
    assert len(model.calls()) == 1


async def test_a_service_that_failed_twice_is_not_asked_a_third_time(
    either_client: Client, model: ModelControl
) -> None:
    model.behave(faults=[{"name": "server_error", "times": 9}])

    with pytest.raises(openai.InternalServerError) as caught:
        await settled(either_client.images.generate(model=DEPLOYMENT, prompt=PROMPT, quality="low"))

    assert caught.value.code == "service_error"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(model.calls()) == 2


async def test_a_short_wait_at_the_model_is_waited_for_the_client(either_client: Client, model: ModelControl) -> None:
    model.behave(faults=[{"name": "rate_limited", "retry_after_seconds": 0.2}])

    answer = await settled(either_client.images.generate(model=DEPLOYMENT, prompt=PROMPT, quality="low"))

    assert answer.data is not None
    assert len(answer.data) == 1
    assert [call["status"] for call in model.calls()] == [429, 200]
