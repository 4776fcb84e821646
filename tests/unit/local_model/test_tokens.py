"""Section 6 of the API reference: tokens."""

from __future__ import annotations

import httpx
import pytest

from local.model.tokens import input_image_tokens, output_image_tokens, text_tokens
from tests.unit.local_model.support import EDITS, GENERATIONS, PROMPT, part, png


@pytest.mark.parametrize(
    ("quality", "size", "tokens"),
    [
        ("low", (1024, 1024), 272),
        ("low", (1024, 1536), 408),
        ("low", (1536, 1024), 400),
        ("medium", (1024, 1024), 1056),
        ("medium", (1024, 1536), 1584),
        ("medium", (1536, 1024), 1568),
        ("high", (1024, 1024), 4160),
        ("high", (1024, 1536), 6240),
        ("high", (1536, 1024), 6208),
    ],
)
def test_output_tokens_are_those_of_the_published_table(quality: str, size: tuple[int, int], tokens: int) -> None:
    assert output_image_tokens(quality, *size) == tokens


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((1024, 1024), 194),
        ((1024, 1536), 323),
        ((1536, 1024), 323),
        ((1920, 1080), 323),
        ((1024, 1025), 194),
        ((512, 513), 323),
        ((1, 1), 194),
        ((4096, 4096), 194),
        ((512, 2048), 581),
        ((8192, 512), 581),
    ],
)
def test_input_tokens_count_tiles_of_the_image_scaled_and_rounded_down(size: tuple[int, int], tokens: int) -> None:
    assert input_image_tokens(*size) == tokens


def test_high_input_fidelity_adds_its_price() -> None:
    assert input_image_tokens(1024, 1024, high_fidelity=True) == 194 + 4160
    assert input_image_tokens(1024, 1536, high_fidelity=True) == 323 + 6240


def test_longer_prompts_cost_more_text_tokens_in_any_script() -> None:
    assert text_tokens("a") < text_tokens("a small boat on a lake")
    assert text_tokens("海边的猫") == 7 + 4


async def test_usage_multiplies_the_table_by_the_number_of_images(client: httpx.AsyncClient) -> None:
    usage = (await client.post(GENERATIONS, json={**PROMPT, "n": 3, "size": "1024x1536"})).json()["usage"]
    assert usage["output_tokens"] == 3 * 408
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"] == {"text_tokens": usage["input_tokens"], "image_tokens": 0}


async def test_usage_of_an_edit_counts_every_source_with_its_fidelity(client: httpx.AsyncClient) -> None:
    files = [part(png(1024, 1024)), part(png(1024, 1536))]
    usage = (await client.post(EDITS, data={**PROMPT, "input_fidelity": "high"}, files=files)).json()["usage"]
    assert usage["input_tokens_details"]["image_tokens"] == 194 + 4160 + 323 + 6240


async def test_output_details_and_the_edit_surcharge_are_knobs(client: httpx.AsyncClient) -> None:
    before = (await client.post(EDITS, data=PROMPT, files=[part(png())])).json()["usage"]
    await client.put("/_local/behaviour", json={"output_details": True, "edit_text_surcharge": True})
    after = (await client.post(EDITS, data=PROMPT, files=[part(png())])).json()["usage"]
    assert after["input_tokens"] - before["input_tokens"] == 32
    assert "output_tokens_details" not in before
    assert after["output_tokens_details"] == {"image_tokens": after["output_tokens"], "text_tokens": 0}
