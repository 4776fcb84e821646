"""What DALL-E 3 clients send works through the official clients, and what was adapted is listed in the answer."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import openai
import pytest

from local.state import StackInfo
from tests.clients.conftest import DEPLOYMENT, Client, settled
from tests.clients.streams import stream
from tests.support.model_control import ModelControl
from tests.support.peers import fetch

PROMPT = "A harbour at dusk"
pytestmark = pytest.mark.usefixtures("small_images")
VIVID = f"{PROMPT}\nMake the image vivid: dramatic and hyper-real."
NATURAL = f"{PROMPT}\nMake the image natural: true to life rather than hyper-real."
STYLE = "a sentence of the prompt"


def changes(answer: Any) -> dict[str, tuple[str, str]]:
    """What the answer says was changed: field, from, to."""
    adapted = (answer.model_extra or {})["darkroom"]["adapted"]
    return {change["field"]: (change["from"], change["to"]) for change in adapted}


@pytest.mark.parametrize(
    ("response_format", "asked", "sent", "adapted"),
    [
        (
            "url",
            {"quality": "hd", "size": "1792x1024", "style": "vivid"},
            {"quality": "high", "size": "1536x1024", "prompt": VIVID},
            {"quality": ("hd", "high"), "size": ("1792x1024", "1536x1024"), "style": ("vivid", STYLE)},
        ),
        (
            "b64_json",
            {"quality": "standard", "size": "1024x1792", "style": "natural", "n": 1, "user": "somebody"},
            {"quality": "medium", "size": "1024x1536", "prompt": NATURAL, "user": "somebody"},
            {"quality": ("standard", "medium"), "size": ("1024x1792", "1024x1536"), "style": ("natural", STYLE)},
        ),
    ],
    ids=["hd", "standard"],
)
async def test_the_words_of_dall_e_3_are_understood_and_each_change_is_told(
    either_client: Client,
    stack: StackInfo,
    model: ModelControl,
    response_format: Any,
    asked: dict[str, Any],
    sent: dict[str, Any],
    adapted: dict[str, tuple[str, str]],
) -> None:
    answer = await settled(
        either_client.images.generate(model=DEPLOYMENT, prompt=PROMPT, response_format=response_format, **asked)
    )

    (call,) = model.calls()
    assert {name: call["parameters"][name] for name in sent} == sent
    assert not {"style", "response_format"} & set(call["parameters"])
    assert answer.data is not None
    (item,) = answer.data
    content = fetch(stack, "GET", item.url).content if item.url else base64.b64decode(item.b64_json or "")
    assert (item.url is None, item.b64_json is None) == (response_format != "url", response_format == "url")
    assert hashlib.sha256(content).hexdigest() == call["images"][0]["sha256"]
    assert changes(answer) == adapted


async def test_the_name_of_the_model_is_understood_in_the_body(v1_client: openai.AsyncOpenAI) -> None:
    answer = await v1_client.images.generate(model="dall-e-3", prompt=PROMPT, quality="low")

    assert changes(answer) == {"model": ("dall-e-3", DEPLOYMENT)}


async def test_a_stream_tells_what_was_adapted_with_its_last_event(either_client: Client, model: ModelControl) -> None:
    partial, completed = await stream(
        either_client, prompt=PROMPT, quality="standard", size="1792x1024", style="vivid", partial_images=1
    )

    assert set(changes(completed)) == {"quality", "size", "style"}
    assert "darkroom" not in (partial.model_extra or {})
    assert (completed.size, completed.quality) == ("1536x1024", "medium")


async def test_an_answer_to_which_nothing_was_changed_has_no_member_of_ours(either_client: Client) -> None:
    answer = await settled(either_client.images.generate(model=DEPLOYMENT, prompt=PROMPT, quality="low"))

    assert answer.model_extra == {}
