"""Every field of a request: what is accepted, what is refused and how the refusal reads."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DarkroomError
from shared.images.request import ImageRequest, parse
from shared.images.sources import Source
from tests.unit.images.outcomes import outcome

DEPLOYMENTS = {"main": "gpt-image-1", "mini": "gpt-image-1-mini", "two": "gpt-image-2", "flare": "gpt-image-2.5-flare"}
DATA = b64encode(b"not looked at here").decode()
STORED = Source(stored="source-0")


def ask(kind: str | None = "generate", /, **fields: Any) -> ImageRequest:
    return parse({"prompt": "a heron", **fields}, kind=kind, deployments=DEPLOYMENTS)


def refusal(kind: str | None = "generate", /, **fields: Any) -> DarkroomError:
    with pytest.raises(DarkroomError) as caught:
        ask(kind, **fields)
    assert 400 <= caught.value.status < 500
    return caught.value


def test_a_prompt_alone_gets_the_defaults():
    request = ask()
    assert (request.kind, request.model, request.n, request.size, request.quality) == (
        "generate",
        "main",
        1,
        "1024x1024",
        "high",
    )
    assert (request.output_format, request.output_compression, request.background) == ("png", None, "auto")
    assert (request.moderation, request.input_fidelity, request.stream, request.metadata) == ("auto", None, False, {})
    assert request.adapted == ()


def test_every_field_of_the_contract_is_kept():
    fields = {
        "prompt": "Ein Reiher\nim Schilf \N{BIRD}",
        "model": "main",
        "n": 3,
        "size": "1536x1024",
        "quality": "low",
        "output_format": "jpeg",
        "output_compression": 80,
        "background": "opaque",
        "input_fidelity": "high",
        "user": "u-1",
        "metadata": {"ключ": "значение"},
        "response_format": "url",
    }
    request = ask("edit", images=[{"blob": "uploads/heron.png"}, {"data": DATA}], mask={"data": DATA}, **fields)
    assert {name: getattr(request, name) for name in fields} == fields
    assert request.images == (Source(blob="uploads/heron.png"), Source(data=DATA))
    assert request.mask == Source(data=DATA)


def test_null_is_the_same_as_leaving_a_field_out():
    assert ask(n=None, size=None, user=None, metadata=None, images=None, style=None) == ask()


def test_an_unknown_field_is_refused_by_name():
    error = refusal(seed=7)
    assert (error.code, error.param, error.message) == ("unknown_parameter", "seed", "Unknown parameter: 'seed'.")


def test_a_missing_prompt_is_said_to_be_missing():
    with pytest.raises(DarkroomError) as caught:
        parse({}, kind="generate", deployments=DEPLOYMENTS)
    assert (caught.value.code, caught.value.param) == ("missing_required_parameter", "prompt")


@pytest.mark.parametrize("data", [None, [], "text", 3, True])
def test_a_body_that_is_no_object_is_refused(data: Any):
    with pytest.raises(DarkroomError) as caught:
        parse(data, kind=None, deployments=DEPLOYMENTS)
    assert caught.value.code == "invalid_type"


WRONG_TYPES = [
    *(("n", value) for value in ("1", 1.0, True, [1], {})),
    *(("output_compression", value) for value in ("80", 1.5, False)),
    *(("partial_images", value) for value in ("1", True)),
    *(("stream", value) for value in ("true", 0, 1)),
    *((name, 5) for name in ("prompt", "model", "size", "quality", "output_format", "background", "moderation")),
    *((name, ["x"]) for name in ("user", "style", "response_format", "callback_url", "metadata", "kind")),
    ("metadata", "{}"),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_not_converted(name: str, value: Any):
    error = refusal(**{name: value})
    assert (error.code, error.param) == ("invalid_type", name)
    assert error.message.startswith(f"Invalid type for '{name}': expected ")


def test_a_wrong_type_reads_as_the_service_says_it():
    assert refusal(n="1").message == "Invalid type for 'n': expected an integer, but got a string instead."


WRONG_VALUES = [
    *(("n", value) for value in (0, -1, 11, 10**30, -(10**30))),
    *(("size", value) for value in ("512x512", "", "1024", "0x0", "١٠٢٤x1024", "auto ")),
    *(("quality", value) for value in ("best", "xhigh", "HIGH")),
    *(("output_format", value) for value in ("webp", "gif")),
    *(("output_compression", value) for value in (-1, 101)),
    *((name, "x") for name in ("background", "moderation", "style", "response_format", "kind")),
    *(("prompt", value) for value in ("", " \n", "x" * 4_001, "a\x00b", "a\x1bb", "half \ud83d pair")),
    *(("user", value) for value in ("", "x" * 513, "\ud800")),
]


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_a_value_out_of_range_is_refused(name: str, value: Any):
    error = refusal(**{name: value})
    assert (error.code, error.param) == ("invalid_value", name)


def test_a_prompt_in_error_is_never_repeated():
    assert "secret" not in refusal(prompt="secret \x00").message
    assert "secret" not in refusal(prompt="secret" * 1_000).message


def test_a_prompt_at_the_limit_in_any_script_is_accepted():
    prompt = "\N{BIRD}" * 4_000
    assert ask(prompt=prompt).prompt == prompt


def test_the_default_deployment_is_the_first_and_others_go_by_name():
    assert ask().model == "main"
    assert ask(model="two").model == "two"


def test_an_unknown_deployment_is_a_404_that_names_the_configured_ones():
    error = refusal(model="gpt-image-9")
    assert (error.status, error.code, error.param) == (404, "deployment_not_found", "model")
    assert "'main'" in error.message


def test_the_deployment_of_the_route_passes_over_the_model_of_the_body():
    data = {"prompt": "a heron", "model": "gpt-image-1"}
    assert parse(data, kind="generate", deployments=DEPLOYMENTS, deployment="two").model == "two"
    with pytest.raises(DarkroomError) as caught:
        parse(data, kind="generate", deployments=DEPLOYMENTS, deployment="none")
    assert caught.value.status == 404


def test_no_deployment_at_all_is_said_to_be_a_matter_of_configuration():
    with pytest.raises(DarkroomError) as caught:
        parse({"prompt": "a heron"}, kind="generate", deployments={})
    assert caught.value.code == "misconfigured"


def test_images_make_an_edit_where_nothing_says_which():
    assert ask(None).kind == "generate"
    assert ask(None, images=[DATA]).kind == "edit"
    assert ask(None, kind="edit", image=DATA).kind == "edit"


def test_a_kind_against_the_route_is_refused():
    assert refusal("generate", kind="edit").param == "kind"
    assert ask("generate", kind="generate").kind == "generate"


@pytest.mark.parametrize("fields", [{}, {"images": []}, {"mask": DATA}])
def test_an_edit_without_an_image_is_told_so(fields: dict[str, Any]):
    error = refusal("edit", **fields)
    assert (error.code, error.param) == ("missing_required_parameter", "image")


@pytest.mark.parametrize("name", ["images", "image", "mask"])
def test_images_on_a_generation_are_refused(name: str):
    error = refusal("generate", **{name: DATA})
    assert (error.code, error.param) == ("unsupported_parameter", name)


def test_seventeen_images_are_too_many_wherever_they_came_from():
    assert refusal("edit", images=[DATA] * 17).param == "images"
    stored = [Source(stored=f"source-{number}") for number in range(16)]
    with pytest.raises(DarkroomError) as caught:
        parse({"prompt": "x", "image": DATA}, kind="edit", deployments=DEPLOYMENTS, images=stored)
    assert caught.value.param == "images"
    assert len(ask("edit", images=[DATA] * 16).images) == 16


def test_stored_files_stand_before_sources_of_the_text():
    request = parse(
        {"prompt": "x", "image": [DATA]},
        kind="edit",
        deployments=DEPLOYMENTS,
        images=[STORED],
        mask=Source(stored="mask"),
    )
    assert request.images == (STORED, Source(data=DATA))
    assert request.mask == Source(stored="mask")


def test_a_mask_as_file_and_as_text_is_refused():
    with pytest.raises(DarkroomError) as caught:
        parse({"prompt": "x", "mask": DATA}, kind="edit", deployments=DEPLOYMENTS, images=[STORED], mask=STORED)
    assert caught.value.param == "mask"


def test_a_stored_source_cannot_come_from_outside():
    error = refusal("edit", images=[{"stored": "source-0"}])
    assert (error.code, error.param) == ("unknown_parameter", "images[0].stored")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"output_compression": 80}, "output_compression"),
        ({"output_format": "jpeg", "background": "transparent"}, "background"),
        ({"model": "mini", "input_fidelity": "high"}, "input_fidelity"),
        ({"model": "two", "input_fidelity": "high"}, "input_fidelity"),
        ({"moderation": "low"}, "moderation"),
        ({"model": "two", "background": "transparent"}, "background"),
    ],
)
def test_fields_wrong_together_or_for_the_model_are_refused(fields: dict[str, Any], param: str):
    assert refusal("edit", image=DATA, **fields).param == param


def test_input_fidelity_belongs_to_edits():
    assert refusal("generate", input_fidelity="high").param == "input_fidelity"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"partial_images": 2}, "partial_images"),
        ({"stream": True, "response_format": "url"}, "response_format"),
    ],
)
def test_what_does_not_go_with_or_without_a_stream_is_refused_by_name(fields: dict[str, Any], param: str):
    assert refusal(None, **fields).param == param


def test_urls_are_taken_as_they_are_written():
    url = "https://example.com/heron%20.png?sig=a%2Bb"
    request = ask(None, images=[{"url": url}], mask=url, callback_url=url)
    assert (request.images[0].url, request.mask.url, request.callback_url) == (url, url, url)


@pytest.mark.parametrize("url", ["http://example.com/?s3cret", "https://u@example.com/?s3cret", "s3cret", "https://"])
def test_a_callback_url_that_is_not_plain_https_is_refused_unrepeated(url: str):
    error = refusal(callback_url=url)
    assert (error.code, error.param) == ("invalid_value", "callback_url")
    assert "s3cret" not in error.message


def test_stream_false_is_fine():
    assert ask(stream=False, partial_images=0).stream is False


def test_a_request_survives_its_own_json():
    request = ask(
        "edit", images=[{"blob": "uploads/a.png"}, DATA], mask=DATA, metadata={"a": "\n"}, style="vivid", quality="hd"
    )
    assert ImageRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


def test_the_public_form_shows_blob_names_and_no_data():
    request = ask("edit", images=[{"blob": "uploads/a.png"}, DATA], mask=DATA)
    public = request.public_dict(["requests/j/source-0", "requests/j/source-1"], "requests/j/mask")
    assert public["images"] == [{"blob": "requests/j/source-0"}, {"blob": "requests/j/source-1"}]
    assert public["mask"] == {"blob": "requests/j/mask"}
    assert DATA not in json.dumps(request.public_dict())
    assert request.public_dict()["images"][0] == {"blob": "uploads/a.png"}
    assert "callback_url" not in public


def test_the_public_form_hides_query_strings():
    url = "https://example.com/a?sig=s3cret"
    request = ImageRequest("edit", "x", "main", images=(Source(url=url),), callback_url=url)
    public = request.public_dict()
    assert public["images"] == [{"url": "https://example.com/a?…"}]
    assert public["callback_url"] == "https://example.com/a?…"
    assert "s3cret" not in json.dumps(public)


def test_no_repr_shows_prompt_data_metadata_or_urls():
    request = ImageRequest(
        "edit",
        "s3cret",
        "main",
        images=(Source(url="https://e.com/?s3cret"), Source(data="s3cret")),
        metadata={"a": "s3cret"},
        callback_url="https://e.com/?s3cret",
    )
    assert "s3cret" not in repr(request)


def test_equal_requests_share_a_hash_and_others_do_not():
    assert ask(metadata={"a": "1", "b": "2"}).canonical_hash() == ask(metadata={"b": "2", "a": "1"}).canonical_hash()
    assert ask(n=1).canonical_hash() == ask().canonical_hash()
    hashes = {
        ask().canonical_hash(),
        ask(n=2).canonical_hash(),
        ask(prompt="another").canonical_hash(),
        ask(metadata={"a": "1"}).canonical_hash(),
        ask("edit", image=DATA).canonical_hash(),
        ask("edit", image=[DATA, DATA]).canonical_hash(),
        ask("edit", image=DATA, mask=DATA).canonical_hash(),
        ask("edit", image=DATA).canonical_hash(["ab" * 32]),
    }
    assert len(hashes) == 8


def test_the_same_bytes_hash_alike_however_they_came():
    stored = ask("edit", image=DATA).with_sources([STORED], None)
    assert stored.canonical_hash(["ab" * 32]) == ask("edit", image=DATA).canonical_hash(["ab" * 32])


def test_a_stored_file_without_its_hash_has_no_request_hash():
    with pytest.raises(ValueError, match="hash"):
        ask("edit", image=DATA).with_sources([STORED], None).canonical_hash()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1024x1024", DATA]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*ImageRequest.__dataclass_fields__, "image", "style"]) | st.text(max_size=5)


@given(st.dictionaries(NAMES, JSON, max_size=6) | JSON, st.sampled_from([None, "generate", "edit"]))
def test_any_json_is_either_a_request_or_a_refusal_that_can_be_sent(data: Any, kind: str | None):
    result = outcome(parse, data, kind=kind, deployments=DEPLOYMENTS)
    assert json.dumps(result.to_dict(), ensure_ascii=False).encode()
    if isinstance(result, DarkroomError):
        assert isinstance(data, dict) == (result.param is not None)
    else:
        assert result.canonical_hash() == ImageRequest.from_dict(result.to_dict()).canonical_hash()


@given(st.sampled_from(sorted(ImageRequest.__dataclass_fields__.keys() - {"adapted", "prompt"})), JSON)
def test_a_wrong_value_is_laid_at_the_door_of_its_own_field(name: str, value: Any):
    data = {"prompt": "a heron", "images": [DATA], name: value}
    result = outcome(parse, data, kind=None, deployments=DEPLOYMENTS)
    if isinstance(result, DarkroomError):
        own = result.param is not None and (result.param == name or result.param.startswith((f"{name}.", f"{name}[")))
        consequence = (name, result.param) in {
            ("images", "image"),
            ("kind", "images"),
            ("output_format", "background"),
            ("stream", "stream"),
        }
        assert own or consequence


def test_reading_requests_and_headers_loads_no_imaging_or_modelling_library():
    rooms = ["request", "form", "sources", "metadata", "capabilities", "pixels", "masks", "pricing", "estimates"]
    imports = ", ".join(f"shared.images.{room}" for room in rooms)
    code = f"import sys, {imports}; print([name for name in ('PIL', 'pydantic', 'pybase64') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_not_a_number_is_no_integer():
    assert refusal(n=math.nan).param == "n"
