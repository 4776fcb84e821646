"""Section 2 of the API reference: every parameter, its default, its refusals."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from local.model.encoding import padded
from tests.unit.local_model.support import EDITS, GENERATIONS, PROMPT, encoded, first_bytes, mask, opened, part, png


def deployment(name: str, url: str = GENERATIONS) -> str:
    return url.replace("deployments/gpt-image-1", f"deployments/{name}")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"prompt": None}, "missing_required_parameter", "prompt"),
        ({"prompt": ""}, "empty_string", "prompt"),
        ({"prompt": "x" * 32001}, "string_above_max_length", "prompt"),
        ({"prompt": 7}, "invalid_type", "prompt"),
        ({"n": 0}, "integer_below_min_value", "n"),
        ({"n": 11}, "integer_above_max_value", "n"),
        ({"n": "2"}, "invalid_type", "n"),
        ({"n": True}, "invalid_type", "n"),
        ({"n": 1.5}, "invalid_type", "n"),
        ({"size": "512x512"}, "invalid_value", "size"),
        ({"size": 1024}, "invalid_type", "size"),
        ({"quality": "hd"}, "invalid_value", "quality"),
        ({"quality": "standard"}, "invalid_value", "quality"),
        ({"output_format": "webp"}, "invalid_value", "output_format"),
        ({"output_format": "gif"}, "invalid_value", "output_format"),
        ({"output_format": "jpeg", "output_compression": 101}, "integer_above_max_value", "output_compression"),
        ({"output_compression": 50}, "invalid_value", "output_compression"),
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value", "background"),
        ({"background": "none"}, "invalid_value", "background"),
        ({"moderation": "off"}, "invalid_value", "moderation"),
        ({"user": 5}, "invalid_type", "user"),
        ({"stream": "true"}, "invalid_type", "stream"),
        ({"partial_images": 4}, "integer_above_max_value", "partial_images"),
        ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
        ({"style": "vivid"}, "unknown_parameter", "style"),
        ({"seed": 1}, "unknown_parameter", "seed"),
        ({"input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
        ({"image": "abc"}, "unknown_parameter", "image"),
    ],
    ids=str,
)
async def test_a_bad_generation_is_refused_by_the_name_of_its_field(
    client: httpx.AsyncClient, body: dict[str, Any], code: str, param: str
) -> None:
    answer = await client.post(GENERATIONS, json={**PROMPT, **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["type"] == "invalid_request_error"


async def test_the_four_sizes_are_listed_to_whom_asks_for_another(client: httpx.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, json={**PROMPT, "size": "512x512"})
    assert answer.json()["error"]["message"] == (
        "Invalid value: '512x512'. Supported values are: '1024x1024', '1024x1536', '1536x1024', and 'auto'."
    )


@pytest.mark.parametrize("size", ["1024x1024", "1024x1536", "1536x1024"])
@pytest.mark.parametrize("output_format", ["png", "jpeg"])
async def test_pictures_have_the_size_and_format_asked_for(
    client: httpx.AsyncClient, size: str, output_format: str
) -> None:
    answer = await client.post(GENERATIONS, json={**PROMPT, "size": size, "output_format": output_format})
    image = opened(first_bytes(answer))
    assert f"{image.width}x{image.height}" == size == answer.json()["size"]
    assert image.format == output_format.upper()


async def test_echoes_are_concrete_and_never_auto(client: httpx.AsyncClient) -> None:
    auto = {"size": "auto", "quality": "auto", "background": "auto", "output_format": "jpeg"}
    answer = (await client.post(GENERATIONS, json={"prompt": "x", **auto})).json()
    echoed = {name: answer[name] for name in ("size", "quality", "background", "output_format")}
    assert echoed == {"size": "1024x1024", "quality": "high", "background": "opaque", "output_format": "jpeg"}


async def test_mini_defaults_to_medium_and_has_no_input_fidelity(client: httpx.AsyncClient) -> None:
    answer = await client.post(deployment("mini"), json={"prompt": "x"})
    refused = await client.post(
        deployment("mini", EDITS), data={**PROMPT, "input_fidelity": "high"}, files=[part(png())]
    )
    assert answer.json()["quality"] == "medium"
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input_fidelity")


@pytest.mark.parametrize(
    ("size", "status"), [("512x1024", 200), ("1000x1000", 400), ("512x2048", 400), ("4096x4096", 400), ("512X512", 400)]
)
async def test_gpt_image_2_takes_free_sizes_within_its_rules(client: httpx.AsyncClient, size: str, status: int) -> None:
    answer = await client.post(deployment("two"), json={**PROMPT, "size": size})
    assert answer.status_code == status
    if status == 200:
        assert "x".join(map(str, opened(first_bytes(answer)).size)) == size


async def test_gpt_image_2_has_no_transparent_background_until_the_knob_says_so(client: httpx.AsyncClient) -> None:
    body = {**PROMPT, "background": "transparent"}
    assert (await client.post(deployment("two"), json=body)).status_code == 400
    await client.put("/_local/behaviour", json={"transparent_everywhere": True})
    assert (await client.post(deployment("two"), json=body)).status_code == 200


async def test_the_newest_models_add_qualities(client: httpx.AsyncClient) -> None:
    answer = await client.post(deployment("flare"), json={"prompt": "x", "quality": "max", "size": "256x256"})
    older = await client.post(GENERATIONS, json={"prompt": "x", "quality": "max"})
    assert (answer.json()["quality"], older.status_code) == ("max", 400)


async def test_lower_output_compression_makes_a_smaller_jpeg(client: httpx.AsyncClient) -> None:
    jpeg = {**PROMPT, "output_format": "jpeg"}
    best, small = [
        len(first_bytes(await client.post(GENERATIONS, json={**jpeg, "output_compression": value})))
        for value in (100, 30)
    ]
    assert small < best / 2


@pytest.mark.parametrize("field", ["image", "image[]"])
@pytest.mark.parametrize("count", [1, 2, 16])
async def test_edits_take_one_to_sixteen_images_under_either_name(
    client: httpx.AsyncClient, field: str, count: int
) -> None:
    answer = await client.post(EDITS, data=PROMPT, files=[part(png(), field)] * count)
    assert answer.status_code == 200
    assert answer.json()["usage"]["input_tokens_details"]["image_tokens"] == count * 194


@pytest.mark.parametrize(
    ("data", "files", "code", "param"),
    [
        ({}, [part(png(), "mask")], "missing_required_parameter", "image"),
        ({}, [part(png())] * 17, "array_above_max_length", "image"),
        ({}, [part(png(), content_type="application/octet-stream")], "unsupported_file_mimetype", "image"),
        (
            {},
            [part(encoded(Image.new("RGB", (8, 8)), "WEBP"), content_type="image/webp")],
            "unsupported_file_mimetype",
            "image",
        ),
        ({}, [part(b"no picture at all")], "invalid_image_file", "image"),
        ({}, [part(png()[:60])], "invalid_image_file", "image"),
        ({}, [part(png(), "picture")], "unknown_parameter", "picture"),
        ({"image": "aGVsbG8="}, [part(png(), "mask")], "invalid_type", "image"),
        ({"n": "two"}, [part(png())], "invalid_type", "n"),
        ({"n": "11"}, [part(png())], "integer_above_max_value", "n"),
        ({"stream": "yes"}, [part(png())], "invalid_type", "stream"),
        ({"moderation": "low"}, [part(png())], "unknown_parameter", "moderation"),
        ({"input_fidelity": "medium"}, [part(png())], "invalid_value", "input_fidelity"),
        ({}, [part(png()), part(png(32, 64, mode="RGBA"), "mask")], "invalid_value", "mask"),
        ({}, [part(png()), part(png(), "mask")], "invalid_value", "mask"),
        ({}, [part(png()), part(png(), "mask", "image/jpeg")], "unsupported_file_mimetype", "mask"),
        ({}, [part(png()), *[part(png(mode="RGBA"), "mask")] * 2], "duplicate_parameter", "mask"),
    ],
)
async def test_a_bad_edit_is_refused_by_the_name_of_its_field(
    client: httpx.AsyncClient, data: dict[str, str], files: list[Any], code: str, param: str
) -> None:
    answer = await client.post(EDITS, data={**PROMPT, **data}, files=files)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


async def test_a_file_part_without_a_type_is_told_to_name_it(client: httpx.AsyncClient) -> None:
    boundary = "b0undary"
    body = (
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        ).encode()
        + png()
        + f"\r\n--{boundary}--\r\n".encode()
    )
    answer = await client.post(
        EDITS, content=body, headers={"content-type": f"multipart/form-data; boundary={boundary}"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "missing_file_mimetype")


async def test_a_mask_of_four_megabytes_is_too_large(client: httpx.AsyncClient) -> None:
    big = padded(png(mode="RGBA"), "png", 4 * 1024 * 1024)
    answer = await client.post(EDITS, data=PROMPT, files=[part(png()), part(big, "mask")])
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("file_too_large", "mask")


@pytest.mark.parametrize(
    ("knob", "data", "files"),
    [
        ("moderation_in_edits", {"moderation": "low"}, [part(png())]),
        ("webp_input", {}, [part(encoded(Image.new("RGB", (8, 8)), "WEBP"), content_type="image/webp")]),
        ("webp_output", {"output_format": "webp"}, [part(png())]),
    ],
)
async def test_what_the_documents_leave_open_is_taken_when_its_knob_is_on(
    client: httpx.AsyncClient, knob: str, data: dict[str, str], files: list[Any]
) -> None:
    refused = await client.post(EDITS, data={**PROMPT, **data}, files=files)
    await client.put("/_local/behaviour", json={knob: True})
    taken = await client.post(EDITS, data={**PROMPT, **data}, files=files)
    assert (refused.status_code, taken.status_code) == (400, 200)


async def test_json_edits_and_form_generations_are_told_the_right_content_type(client: httpx.AsyncClient) -> None:
    edit = await client.post(EDITS, json=PROMPT)
    generation = await client.post(GENERATIONS, data=PROMPT)
    assert [answer.json()["error"]["code"] for answer in (edit, generation)] == ["unsupported_content_type"] * 2


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 200_000, b'"text"', b"null"])
async def test_a_body_that_is_no_json_object_is_a_400(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post(GENERATIONS, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_form_cut_short_is_a_400(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await client.post(
        EDITS, content=b'--b\r\nContent-Disposition: form-data; name="prompt"\r\nbroken', headers=headers
    )
    assert answer.status_code == 400


async def test_json_beyond_two_megabytes_is_a_413(client: httpx.AsyncClient) -> None:
    assert (await client.post(GENERATIONS, json={"prompt": "x" * 3_000_000})).status_code == 413


async def test_auto_size_of_an_edit_follows_the_first_image(client: httpx.AsyncClient) -> None:
    tall = await client.post(EDITS, data=PROMPT, files=[part(png(40, 90)), part(png(90, 40))])
    wide = await client.post(EDITS, data=PROMPT, files=[part(png(90, 40))])
    assert [answer.json()["size"] for answer in (tall, wide)] == ["1024x1536", "1536x1024"]


async def test_transparent_background_has_real_alpha(client: httpx.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, json={"prompt": "a robot", "quality": "low", "background": "transparent"})
    image = opened(first_bytes(answer))
    lowest, highest = image.getchannel("A").getextrema()
    assert (image.mode, lowest, highest) == ("RGBA", 0, 255)
    assert image.getpixel((2, 2))[3] == 0
    assert answer.json()["background"] == "transparent"


async def test_a_mask_edit_keeps_every_pixel_outside_and_changes_those_inside(client: httpx.AsyncClient) -> None:
    source = Image.effect_noise((300, 200), 90).convert("RGB")
    hole = (150, 50, 280, 180)
    files = [part(encoded(source)), part(mask(300, 200, hole), "mask")]
    answer = await client.post(EDITS, data={**PROMPT, "size": "1536x1024"}, files=files)
    edited, before = opened(first_bytes(answer)).convert("RGB"), source.resize((1536, 1024), Image.Resampling.LANCZOS)
    holes = opened(mask(300, 200, hole)).getchannel("A").resize((1536, 1024), Image.Resampling.NEAREST)
    changed = Image.merge("L", [_difference(edited, before)])
    outside = Image.composite(changed, Image.new("L", changed.size), holes)
    inside = changed.crop((800, 300, 1400, 900))
    assert outside.getextrema() == (0, 0)
    assert sum(inside.histogram()[8:]) > 0.9 * 600 * 600


def _difference(first: Image.Image, second: Image.Image) -> Image.Image:
    red, green, blue = ImageChops.difference(first, second).split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


async def test_a_mask_without_a_hole_changes_nothing(client: httpx.AsyncClient) -> None:
    source = encoded(Image.effect_noise((1024, 1024), 90).convert("RGB"))
    files = [part(source), part(mask(1024, 1024, (0, 0, 0, 0)), "mask")]
    answer = await client.post(EDITS, data=PROMPT, files=files)
    assert opened(first_bytes(answer)).tobytes() == Image.open(io.BytesIO(source)).tobytes()


async def test_an_edit_without_a_mask_restyles_the_whole_image(client: httpx.AsyncClient) -> None:
    source = Image.linear_gradient("L").resize((1024, 1024)).convert("RGB")
    answer = await client.post(EDITS, data=PROMPT, files=[part(encoded(source))])
    changed = _difference(opened(first_bytes(answer)).convert("RGB"), source)
    assert sum(changed.histogram()[4:]) > 0.8 * 1024 * 1024
