"""The official `openai` package for JavaScript generates, edits and meets errors through the app."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from local.state import StackInfo
from tests.clients.javascript import KINDS, File, call, make_calls
from tests.support.model_control import ModelControl
from tests.support.peers import fetch
from tests.support.photographs import mask, photograph

PROMPT = "A lighthouse at dawn"
small = pytest.mark.usefixtures("small_images")


@pytest.fixture
def photo(tmp_path: Path) -> File:
    (tmp_path / "photo.png").write_bytes(photograph())
    return File(tmp_path / "photo.png")


@pytest.fixture
def second_photo(tmp_path: Path) -> File:
    (tmp_path / "second.jpg").write_bytes(photograph("JPEG", shade=70))
    return File(tmp_path / "second.jpg", "image/jpeg")


@pytest.fixture
def photo_mask(tmp_path: Path) -> File:
    (tmp_path / "mask.png").write_bytes(mask())
    return File(tmp_path / "mask.png")


def shown(images: list[dict[str, Any]]) -> list[str]:
    """The images the model says it made, as the program shows images."""
    return [f"sha256:{image['sha256']}" for image in images]


def sent(model_call: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(file["field"], file["sha256"], file["content_type"]) for file in model_call["files"]]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@small
@pytest.mark.parametrize("kind", KINDS)
def test_every_client_generates_and_edits(
    kind: str, stack: StackInfo, model: ModelControl, photo: File, second_photo: File, photo_mask: File
) -> None:
    generated, edited, edited_two = make_calls(
        kind,
        stack,
        call("generate", prompt=PROMPT, n=2, output_format="jpeg"),
        call("edit", prompt=PROMPT, image=photo, mask=photo_mask),
        call("edit", prompt=PROMPT, image=[photo, second_photo]),
    )

    calls = model.calls()
    for result, made in zip((generated, edited, edited_two), calls, strict=True):
        assert [item["b64_json"] for item in result["answer"]["data"]] == shown(made["images"])
        assert result["answer"]["usage"] == made["usage"]
        assert result["headers"]["x-darkroom-job"]
    assert generated["answer"]["output_format"] == "jpeg"
    assert sent(calls[1]) == [("image", sha256(photograph()), "image/png"), ("mask", sha256(mask()), "image/png")]
    assert sent(calls[2]) == [
        ("image[]", sha256(photograph()), "image/png"),
        ("image[]", sha256(photograph("JPEG", shade=70)), "image/jpeg"),
    ]


def test_refusals_are_the_clients_own_errors(stack: StackInfo, model: ModelControl) -> None:
    wrong, blocked, unknown = make_calls(
        "OpenAI",
        stack,
        call("generate", prompt=PROMPT, size="512x512"),
        call("generate", prompt=f"{PROMPT} [[moderation_blocked]]"),
        call("generate", prompt=PROMPT, model="no-such-deployment"),
    )

    told = [
        (result["error"]["name"], result["error"]["status"], result["error"]["code"]) for result in (wrong, blocked)
    ]
    assert told == [("BadRequestError", 400, "invalid_value"), ("BadRequestError", 400, "moderation_blocked")]
    assert wrong["error"]["param"] == "size"
    assert blocked["error"]["headers"]["x-should-retry"] == "false"
    assert (unknown["error"]["name"], unknown["error"]["code"]) == ("NotFoundError", "deployment_not_found")
    assert len(model.calls()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_went_wrong_is_not_made_again(kind: str, stack: StackInfo, model: ModelControl) -> None:
    model.fail({"cut_before_response": True})
    (lost,) = make_calls(kind, stack, call("generate", prompt=PROMPT))

    # The client repeats a 502 by itself, twice, where it is not told not to.
    assert (lost["error"]["name"], lost["error"]["status"]) == ("InternalServerError", 502)
    assert (lost["error"]["code"], lost["error"]["headers"]["x-should-retry"]) == ("outcome_unknown", "false")
    assert len(model.calls()) == 1


def test_an_answer_that_breaks_off_is_explained_to_who_asks_again_with_the_same_key(
    stack: StackInfo, model: ModelControl
) -> None:
    model.fail({"cut_after_bytes": 20_000})
    again = {"headers": {"Idempotency-Key": "js-broken-off"}}
    broken_off, explained = make_calls(
        "OpenAI", stack, *[call("generate", prompt=PROMPT, request=again) for _ in range(2)]
    )

    # What the client says of a body that ends too soon, whoever sent it.
    assert (broken_off["error"]["name"], broken_off["error"]["isApiError"]) == ("TypeError", False)
    assert (explained["error"]["status"], explained["error"]["code"]) == (502, "outcome_unknown")
    assert len(model.calls()) == 1


@small
def test_an_idempotency_key_makes_two_calls_one_job(stack: StackInfo, model: ModelControl) -> None:
    again = {"headers": {"Idempotency-Key": "js-order-17"}}
    first, second = make_calls("OpenAI", stack, *[call("generate", prompt=PROMPT, request=again) for _ in range(2)])

    assert first["answer"]["data"] == second["answer"]["data"]
    assert (first["headers"].get("idempotency-replayed"), second["headers"]["idempotency-replayed"]) == (None, "true")
    assert len(model.calls()) == 1


@small
def test_a_program_of_dall_e_3_gets_a_link_and_is_told_what_was_adapted(stack: StackInfo, model: ModelControl) -> None:
    (result,) = make_calls(
        "OpenAI",
        stack,
        call(
            "generate",
            model="dall-e-3",
            prompt=PROMPT,
            size="1024x1792",
            quality="hd",
            style="vivid",
            response_format="url",
        ),
    )

    (item,) = result["answer"]["data"]
    (made,) = model.calls()
    assert sha256(fetch(stack, "GET", item["url"]).content) == made["images"][0]["sha256"]
    changes = {change["field"]: change["to"] for change in result["answer"]["darkroom"]["adapted"]}
    assert changes == {
        "model": "gpt-image-1",
        "quality": "high",
        "size": "1024x1536",
        "style": "a sentence of the prompt",
    }
