"""Requests written for DALL-E 3 are understood, and what was changed is told."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import DarkroomError
from shared.images.request import ImageRequest, parse

DEPLOYMENTS = {"main": "gpt-image-1", "two": "gpt-image-2"}


def ask(**fields: Any) -> ImageRequest:
    return parse({"prompt": "a heron", **fields}, kind="generate", deployments=DEPLOYMENTS)


@pytest.mark.parametrize(("old", "new"), [("hd", "high"), ("standard", "medium")])
def test_the_old_qualities_become_new_ones(old: str, new: str):
    request = ask(quality=old)
    assert request.quality == new
    assert request.adapted == ({"field": "quality", "from": old, "to": new},)


@pytest.mark.parametrize(("old", "new"), [("1792x1024", "1536x1024"), ("1024x1792", "1024x1536")])
def test_the_old_sizes_become_the_nearest_the_model_has(old: str, new: str):
    request = ask(size=old)
    assert request.size == new
    assert request.adapted == ({"field": "size", "from": old, "to": new},)


def test_a_model_of_free_sizes_keeps_the_old_size():
    request = ask(model="two", size="1792x1024")
    assert (request.size, request.adapted) == ("1792x1024", ())


@pytest.mark.parametrize("style", ["vivid", "natural"])
def test_a_style_becomes_a_sentence_of_the_prompt(style: str):
    request = ask(style=style)
    assert request.prompt.startswith("a heron\nMake the image ")
    assert style in request.prompt
    assert request.adapted == ({"field": "style", "from": style, "to": "a sentence of the prompt"},)


def test_a_style_cannot_push_the_prompt_over_the_limit():
    with pytest.raises(DarkroomError) as caught:
        ask(prompt="x" * 4_000, style="vivid")
    assert caught.value.param == "prompt"


def test_a_style_alone_is_no_prompt():
    with pytest.raises(DarkroomError) as caught:
        parse({"prompt": "", "style": "vivid"}, kind="generate", deployments=DEPLOYMENTS)
    assert caught.value.param == "prompt"


def test_the_old_models_name_means_the_default_deployment():
    request = ask(model="dall-e-3")
    assert request.model == "main"
    assert request.adapted == ({"field": "model", "from": "dall-e-3", "to": "main"},)


def test_response_format_is_an_option_and_no_adaptation():
    assert (ask(response_format="url").response_format, ask(response_format="url").adapted) == ("url", ())
    assert ask(response_format="b64_json").adapted == ()


def test_a_whole_old_request_is_understood_in_one_go():
    request = ask(model="dall-e-3", size="1792x1024", quality="hd", style="natural", response_format="url", n=1)
    assert [change["field"] for change in request.adapted] == ["model", "quality", "size", "style"]


@pytest.mark.parametrize(("field", "value"), [("style", "baroque"), ("quality", "HD"), ("size", "256x256")])
def test_words_that_never_existed_are_refused(field: str, value: str):
    with pytest.raises(DarkroomError) as caught:
        ask(**{field: value})
    assert caught.value.param == field
